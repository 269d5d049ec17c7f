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

# The C library and certificates, and no shell: of the same Debian as the build.
FROM gcr.io/distroless/cc-debian12:nonroot
# The benchmark starts the binary that lies beside it: docker run --entrypoint surety-bench -e DATABASE_URL surety …
COPY --from=build /src/target/dist/app /src/target/dist/surety-bench /usr/local/bin/
LABEL org.opencontainers.image.title="surety" \
      org.opencontainers.image.description="Takes payment webhooks, and applies each exactly once to a double-entry ledger" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# A number, since Kubernetes' runAsNonRoot believes no name; the one of deploy/kubernetes/.
USER 10001:10001
# Workers, the relay and the bank answer probes here unless they are told otherwise; `serve` answers them where it listens.
ENV APP_PROBE_LISTEN=127.0.0.1:9100
EXPOSE 8000
# Asks at APP_PROBE_LISTEN, and where nobody listens there, at APP_LISTEN or 127.0.0.1:8000: what was started of these. By
# `--alive`, since whoever restarts what is unhealthy should not do so for a database that is away. A command that ends by
# itself, such as `migrate run`, has ended before it is first asked, or runs with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["app", "probe", "--alive"]
# The first SIGTERM drains; leave more time than --grace before killing.
STOPSIGNAL SIGTERM
ENTRYPOINT ["app"]
CMD ["serve"]
