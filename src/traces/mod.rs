//! The last traces, kept in memory for people who try things out: a small receiver of spans by
//! OTLP over HTTP, and what it got, as a list and as trees.
//!
//! - `receiver`: takes spans on a loopback port, from this process and from its children.
//! - `decoding`: the spans of an export, cut to a length that can be kept.
//! - [`span`]: one span.
//! - `store`: the last traces; when it is full, the oldest go.
//! - [`tree`]: the spans of one trace under their parents, in the order of a waterfall.
//!
//! Guaranteed: whatever comes, a bounded amount of memory is used, and what was left out is said.
//! Nothing is written to disk. Deliberately absent: gRPC, JSON, metrics and logs, and any search
//! but for a text: whoever wants more runs a collector.

mod decoding;
mod receiver;
pub mod span;
mod store;
#[cfg(test)]
mod tests;
pub mod tree;

pub use receiver::{PATH, Receiver};
pub use span::{Link, Span, SpanKind};
pub use store::{Dropped, MAX_SPANS, MAX_SPANS_OF_TRACE, MAX_TRACES};
pub use store::{TraceFilter, TraceStore, TraceSummary};
pub use tree::{Row, Trace};
