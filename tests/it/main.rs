//! Integration tests: one binary.
mod queue;
mod support;
