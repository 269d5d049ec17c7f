//! The edge: accepting connections, and what every request or many operations need.
//!
//! - [`server`]: the accept loop, with its limits for connections and slow clients;
//!   [`open_files`]: the number of connections that the process can afford.
//! - [`trace`]: the SERVER span, the log line and the id of each request. [`metrics`]: figures for
//!   Prometheus.
//! - [`audience`]: the callers that are answered at all.
//! - [`cors`], [`security_headers`]: headers for browsers.
//! - [`client_address`], [`rate_limits`]: the address a request comes from, and the quota of its
//!   caller.
//! - [`caller`], [`sign_ins`]: the identity of the caller, looked up at every request.
//!   [`signature`]: signatures of inbound webhooks.
//! - [`database`], [`shared_commit`]: transactions within a deadline, one per request or one for
//!   all that arrive together. [`idempotency`]: claims of keys, and stored answers.
//!
//! Guaranteed: nothing is answered before its commit (G1); each wait has a limit; a known caller is
//! known at this moment, from the database.
//!
//! Deliberately absent: operations (`api`) and the forms of bodies (`wire`).

pub mod audience;
pub mod caller;
pub mod client_address;
pub mod cors;
pub mod database;
pub mod idempotency;
pub mod metrics;
pub mod open_files;
mod protocol_errors;
pub mod rate_limits;
pub mod security_headers;
pub mod server;
pub mod shared_commit;
pub mod sign_ins;
pub mod signature;
pub mod trace;
pub mod well_formed;
