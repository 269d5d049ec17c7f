# syntax=docker/dockerfile:1
# One image for every process: docker run surety serve | work | migrate run | …

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies first, with an empty crate around them: they change seldom and take minutes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir -p src tests/it migrations \
 && echo 'fn main() {}' | tee src/main.rs > tests/it/main.rs \
 && touch src/lib.rs \
 && cargo build --locked --profile dist \
 && rm -r src tests

COPY . .
# A file from git may be older than the empty one that was just built.
RUN touch src/lib.rs src/main.rs \
 && cargo build --locked --profile dist

FROM debian:bookworm-slim
# Certificates, for telemetry collectors and other servers by https.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/dist/app /usr/local/bin/app
LABEL org.opencontainers.image.title="surety" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
USER 10001:10001
EXPOSE 8000
# The first SIGTERM drains; leave more time than --grace before killing.
STOPSIGNAL SIGTERM
ENTRYPOINT ["app"]
CMD ["serve"]
