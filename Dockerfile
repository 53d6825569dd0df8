# The daemon in a small image: built from source, run without root.
#
#   docker build -t tidings .
#   docker run -p 8000:8000 -p 8001:8001 -v ./config.yaml:/etc/tidings/config.yaml:ro tidings
#
# Beyond loopback the broker wants a key (`tidings key NAME` prints one with its entry for `keys`), so without a configuration it
# ends at once and says so. The shipped config.yaml says `dev: true`, which allows no address but loopback: mount your own.
# Publish port 8002 (metrics, health) only where nobody else reaches it: it asks for no key.
#
# Raise the limit on open files for many connections: docker run --ulimit nofile=1048576:1048576.
# SIGTERM drains for up to `drain.grace` (30s): docker stop --time 35.

# With podman: BUILDAH_FORMAT=docker podman build -t tidings . (in its own format of images there is no health check).
#
# It was built so on a machine without a registry, on bases of these names that were made there (Debian's packages, and a newer Rust), with
# less optimisation; it runs, and its health check passes.

# The oldest Rust that the workspace allows (rust-version in Cargo.toml), on the oldest system that the image runs on.
FROM rust:1.90-slim-bookworm AS build
# The allocator is built with make.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package tidings && strip --strip-debug target/release/tidings

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="tidings" org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /source/target/release/tidings /usr/local/bin/tidings
# Whom to believe when keys are fetched (tokens.jwks_url).
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Here it looks for config.yaml. Nothing is ever written.
WORKDIR /etc/tidings
USER 65532:65532
# A container's loopback is its own.
ENV TIDINGS_HTTP__LISTEN=0.0.0.0:8000 TIDINGS_GRPC__LISTEN=0.0.0.0:8001 TIDINGS_ADMIN__LISTEN=0.0.0.0:8002
EXPOSE 8000 8001 8002
# Ready, not only alive; there is no curl in the image, and bash speaks TCP. An orchestrator had better ask /livez and /readyz itself.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD \
    ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8002 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidings"]
