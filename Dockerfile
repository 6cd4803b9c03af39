# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin station \
 && install -d -o station -g station -m 0700 /data
COPY --from=build /source/target/release/agentstation /usr/local/bin/agentstation
USER station
WORKDIR /data
VOLUME /data
EXPOSE 8700
# Other machines reach a container only through the port that its operator publishes: put a TLS proxy in front and set
# AGENTSTATION_PUBLIC_URL. The root file system may be read-only (`docker run --read-only`): only /data is written.
ENV AGENTSTATION_DATA=/data \
    AGENTSTATION_LISTEN=0.0.0.0:8700 \
    AGENTSTATION_INSECURE_LISTEN=true
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["agentstation", "health", "--address", "127.0.0.1:8700"]
ENTRYPOINT ["agentstation"]
CMD ["serve"]
