//! The integration tests: one binary, so that they share one PostgreSQL and link once. One module
//! per feature.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

mod cli;
mod dev;
mod embedded_postgres;
mod faults;
mod ledger;
mod migrate;
mod queue;
mod settle;
mod telemetry;
mod tidy;
mod verify;
