# One image with the operator and the mover: no shell, no package manager, not root, nothing to write to.
#
#   docker build -t IMAGE .                    compiles in the build stage
#   docker build -t IMAGE --target local .     takes dist/, laid out by deploy/image-root.sh from programs built outside

FROM scratch AS base
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["relocation-operator"]
LABEL org.opencontainers.image.title="relocation-operator" \
      org.opencontainers.image.description="Moves data from one place to another in six ordered steps that people can pause, cancel and recover" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM base AS local
COPY dist/ /

FROM docker.io/library/rust:1.95-bookworm AS build
# Both are for the bill of materials.
RUN apt-get update && apt-get install --yes --no-install-recommends jq
COPY deploy/cargo-tool.sh /source/deploy/
RUN /source/deploy/cargo-tool.sh cargo-cyclonedx
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin relocation-operator --bin relocation-mover
RUN deploy/image-root.sh /dist target/release/relocation-operator target/release/relocation-mover

FROM base
COPY --from=build /dist/ /
