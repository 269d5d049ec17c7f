//! The integration tests: one binary, so that they share one PostgreSQL and link once. One module per feature.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

mod bad_bodies;
mod embedded_postgres;
mod inbound_webhooks;
mod openapi;
mod queue;
mod serve;
mod signatures;
mod slow_clients;
mod system;
mod telemetry;
mod transactions_api;
