# syntax=docker/dockerfile:1
# One image for every process: docker run surety serve | work | migrate run | …; and the benchmark.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies first, with empty crates around them: they change seldom and take minutes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY crates/bench/Cargo.toml crates/bench/
COPY crates/postgres/Cargo.toml crates/postgres/
COPY crates/queue/Cargo.toml crates/queue/
RUN for crate in . crates/*; do mkdir $crate/src && touch $crate/src/lib.rs; done \
 && echo 'fn main() {}' | tee src/main.rs > crates/bench/src/main.rs \
 && cargo build --locked --profile dist \
 && rm -r src crates

COPY . .
# A file from git may be older than the empty one that was just built.
RUN find src crates -name '*.rs' -exec touch {} + \
 && cargo build --locked --profile dist

FROM debian:bookworm-slim
# Certificates, for telemetry collectors and other servers by https.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
# The benchmark starts the binary that lies beside it: docker run --entrypoint surety-bench -e DATABASE_URL surety …
COPY --from=build /src/target/dist/app /src/target/dist/surety-bench /usr/local/bin/
LABEL org.opencontainers.image.title="surety" \
      org.opencontainers.image.description="Takes payment webhooks, and applies each exactly once to a double-entry ledger" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
USER 10001:10001
EXPOSE 8000
# The first SIGTERM drains; leave more time than --grace before killing. No HEALTHCHECK: what to ask is another thing for
# each command, so compose.yaml and deploy/kubernetes/ have theirs.
STOPSIGNAL SIGTERM
ENTRYPOINT ["app"]
CMD ["serve"]
