//! The integration tests: one binary, so that they share one PostgreSQL and link once. One module
//! per feature.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

mod bad_bodies;
mod cli;
mod dev;
mod embedded_postgres;
mod faults;
mod inbound_webhooks;
mod ledger;
mod migrate;
mod openapi;
mod queue;
mod send;
mod serve;
mod settle;
mod signatures;
mod slow_clients;
mod system;
mod telemetry;
mod tidy;
mod transactions_api;
mod verify;
