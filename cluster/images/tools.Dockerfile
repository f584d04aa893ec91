# A shell and the usual small programs, for loading and comparing data in the demo and the tests.
FROM scratch
COPY rootfs/ /
ENV PATH=/bin
CMD ["sh"]
