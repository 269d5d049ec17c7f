//! A kind of job and its runs: everything that the code of an application touches.
//!
//! - [`Job`] is a struct of arguments with a kind and a `run`; [`BatchJob`] runs many at once.
//! - [`JobContext`] is one run, with the ways to end its job in the transaction of its effects;
//!   [`BatchContext`] is one run of many jobs.
//! - [`RunTransaction`] is the database transaction that a run writes in, on a connection that it
//!   has from the run before it if that was a moment ago.
//! - [`Committed`] proves that a job's outcome was committed. Only a commit that the fence of the
//!   claim allowed makes one, and a run must return one, so no run can forget to complete its job
//!   or complete another worker's (G3, G4).
//! - [`JobError`] is the other way to end: retry, discard, snooze, cancel, or a lost lease.
//!
//! The writes behind them are in `transitions.rs`, each guarded by the fence of a claim.

mod attempt;
mod backoff;
mod batch_context;
mod batch_job;
mod completer;
mod context;
mod engine;
mod error;
mod job;
mod run_transaction;
mod seats;
pub(crate) mod transitions;
mod waker;

pub use attempt::AttemptOutcome;
pub(crate) use attempt::{EndedAttempt, storable};
pub use backoff::Backoff;
pub use batch_context::BatchContext;
pub use batch_job::BatchJob;
pub(crate) use completer::Completer;
pub(crate) use context::CommittedOutcome;
pub use context::{Committed, JobContext};
pub(crate) use engine::Engine;
pub use error::JobError;
pub use job::{FollowUp, Job};
pub use run_transaction::RunTransaction;
pub(crate) use seats::{Seats, Turn};
pub(crate) use transitions::{Completion, FinishedState, Recorded};
pub use waker::Waker;
