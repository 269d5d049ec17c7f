//! The spans and the log lines of the queue: one PRODUCER span per enqueued job, one CONSUMER span
//! per run, CLIENT spans of claims and of completions, and one log line per run that ends.
//!
//! Names and attributes follow the messaging conventions of OpenTelemetry 1.44, which are still in
//! development, hence the schema URL on the scope. All goes to whatever tracer provider the process
//! has installed; without one, nothing is recorded, and a trace context that came in from outside
//! is handed on as it is.
//!
//! ```text
//! POST /v1/…  SERVER ── enqueue default  PRODUCER ─┬─ process default  CONSUMER  attempt 1
//!                       (its context is stored     └─ process default  CONSUMER  attempt 2,
//!                        with the job)                                 linked to attempt 1
//! ```
//!
//! The line of an ended run is a `tracing` event named [`JOB_ENDED`], target [`LOG_TARGET`], with
//! the fields `job_id`, `kind`, `queue`, `attempt`, `max_attempts`, `outcome`, `duration_ms` and,
//! where they apply, `error`, `error_type`, `delay_ms` and the [`request_id`](REQUEST_ID) of the
//! request that caused the job. Every line that a handler logs carries `job_id`, `kind`, `queue`,
//! `attempt` and `request_id`.

#[cfg(any(test, feature = "testing"))]
pub mod collected;
pub(crate) mod engine_spans;
mod run;
mod spans;
#[cfg(test)]
mod tests;
mod trace_context;

pub use run::{Ending, Failure, JOB_ENDED, LOG_TARGET, Run};
pub use spans::{EnqueueSpan, LOG_CONTEXT_TARGET, ProcessSpan};
pub use trace_context::{REQUEST_ID, TraceContext};
