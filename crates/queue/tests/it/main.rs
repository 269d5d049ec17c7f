//! The queue as a library, with kinds of its own: what it guarantees, each with a test that fails
//! without it.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

mod activity;
mod batch_handlers;
mod batch_turns;
mod cancelling;
mod claim_sizes;
mod claiming;
mod clocks;
mod deciding;
mod enqueueing;
mod exact_args;
mod fences;
mod fencing;
mod flow;
mod following_up;
mod groups;
mod hooks;
mod hostile;
mod kinds;
mod lost_commits;
mod model;
mod operators;
mod operators_list;
mod outcomes;
mod progress;
mod queue_slots;
mod readme;
mod redaction;
mod retention;
mod run_transactions;
mod schema;
#[cfg(feature = "sealing")]
mod sealing;
mod shutdown;
mod statements;

mod testing;
mod unique;
mod why_not_run;
mod without_history;
mod workers;
