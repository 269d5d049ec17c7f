//! Stub.
pub mod request_id;
mod route_names;
mod server_span;
pub mod trace;
