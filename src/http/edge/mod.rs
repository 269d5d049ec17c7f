//! The edge: accepting connections, and what every request or many operations need.
//!
//! - [`server`]: the accept loop, with its limits for connections and slow clients;
//!   [`open_files`]: the number of connections that the process can afford.
//! - [`trace`]: the SERVER span, the log line and the id of each request. [`request_metrics`]: how
//!   many there are, and how long they take.
//! - [`audience`]: the callers that are answered at all. [`pages_or_api`]: whether the operator's
//!   pages answer them, or the API.
//! - [`intake`]: inbound webhooks by their answer. [`rejections`]: those that sources of a shape of
//!   their own were refused.
//! - [`cors`], [`security_headers`]: headers for browsers.
//! - [`client_address`], [`rate_limits`]: the address a request comes from, and the quota of its
//!   caller.
//! - [`caller`], [`sign_ins`]: the identity of the caller, looked up at every request.
//!   [`password_sign_ins`]: sessions begun with a password. [`signature`]: signatures of inbound
//!   webhooks.
//! - [`database`], [`shared_commit`]: transactions within a deadline, one per request or one for
//!   all that arrive together. [`reads`]: reads that may be a little behind. [`idempotency`]:
//!   claims of keys, and stored answers.
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
pub mod intake;
pub mod open_files;
pub mod pages_or_api;
pub mod password_sign_ins;
mod protocol_errors;
pub mod rate_limits;
pub mod reads;
pub mod rejections;
pub mod request_metrics;
pub mod security_headers;
pub mod server;
pub mod shared_commit;
pub mod sign_ins;
pub mod signature;
pub mod trace;
pub mod well_formed;
