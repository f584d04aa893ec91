# An S3 server over a folder, for the examples.
FROM scratch
COPY versitygw /bin/versitygw
ENV PATH=/bin
CMD ["versitygw"]
