//! Behind PgBouncer in transaction mode: everything works, and nothing depends on which server a
//! statement meets.
//!
//! A test target of its own, because these need PgBouncer, which nothing else does:
//! `cargo test --test pooler`.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

#[path = "../it/support/mod.rs"]
mod support;

mod doctor;
mod flow;
mod restarts;
mod schedules;
mod sessions;
mod statements;
