//! Stub.
pub mod migrate;
pub mod send;
pub mod verify;
