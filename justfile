# `just` without arguments lists the recipes.

_default:
    @just --list --unsorted

# Everything in one process, with a PostgreSQL of its own
dev *args:
    cargo run --release -- dev {{ args }}

# The API, on DATABASE_URL
serve *args:
    cargo run --release -- serve {{ args }}

# A worker, on DATABASE_URL
work *args:
    cargo run --release -- work {{ args }}

# Bring the schema of DATABASE_URL up to date; or: just migrate status
migrate *args="run":
    cargo run --release -- migrate {{ args }}

# All tests, or those whose name contains the arguments; they start their own PostgreSQL
test *args:
    cargo test {{ args }}

# The tests that need PgBouncer
test-pooler *args:
    cargo test --test pooler {{ args }}

# Tests with NATS and RabbitMQ, which must be installed
test-brokers *args:
    cargo test --test brokers {{ args }}

# Format, clippy, documentation and the OpenAPI document, warnings denied
lint:
    cargo fmt --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
    .ci/openapi-lint

# Write openapi/ anew after a change of the API
openapi:
    cargo run -- openapi

# Follow the links of the book and run its commands, or those of some pages: just book tour backup
book *pages="":
    cargo build --workspace --examples --bins
    .ci/docs/run {{ pages }}

# Generate clients from openapi/ in Rust, Python and TypeScript, and send requests with each
clients:
    .ci/clients/run

# Check the Dockerfile, the systemd units and the Kubernetes manifests
deploy:
    .ci/deploy/run

# The archive that people install, its SBOM and checksums; or of binaries that are built: just release --binaries FOLDER
release *args:
    deploy/release {{ args }}

# Build the packages by which other languages enqueue, and test each on a real database
enqueue-clients:
    .ci/enqueue-clients/run

# What dependencies bring: licences, bans, sources, advisories
deny:
    .ci/deny

# Write .sqlx/ anew after a change of a query or of the schema
sqlx:
    .ci/sqlx-prepare

# Measure: just bench ingest | money | enqueue | drain | steady | latency
bench *args="ingest":
    cargo build --release
    target/release/surety-bench {{ args }}

# What the build server runs
ci:
    .ci/run
