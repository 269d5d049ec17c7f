//! Stub.
pub mod migrate;
pub mod send;
