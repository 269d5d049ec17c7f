//! Stub.
pub mod send;
