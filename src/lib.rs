//! Surety.
#![warn(missing_docs)]
pub mod cli;
pub mod db;
pub mod dev;
pub mod embedded_postgres;
pub mod http;
pub mod ids;
pub mod invariants;
pub mod jobs;
pub mod money;
pub mod payments;
pub mod queue;
pub mod serve;
pub mod telemetry;
pub mod work;
