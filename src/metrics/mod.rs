//! Figures of a process: counted where things happen, read by whoever asks.
//!
//! - [`instruments`]: the table of all figures, with names, units and labels. A figure that is not
//!   in it does not exist.
//! - [`registry`]: [`Metrics`], which knows where figures are kept and gathers them.
//! - [`tallies`]: counters and times that are kept in memory, by label.
//! - [`exposition`]: a gathering as text, in the format that the asking Prometheus prefers.
//! - [`process`]: what the system says of this process.
//!
//! Names are those of OpenTelemetry; Prometheus sees them with underscores, unit and `_total`
//! ([`Instrument::prometheus_name`]). The same gathering is exported by OTLP (`telemetry`).
//!
//! Guaranteed: to gather reads memory and `/proc` alone, so it waits for nobody, whatever is away.
//! Distributions of nothing are left out, and no label has an id or free text.
//!
//! One registry of our own and not that of `prometheus-client`, which writes OpenMetrics only,
//! while three formats are wanted of one set of points.
//!
//! A word for every layer: it knows none of them.

pub mod exposition;
pub mod instruments;
pub mod process;
pub mod registry;
pub mod tallies;

pub use exposition::{Exposition, Format};
pub use instruments::{Instrument, Kind};
pub use registry::{Family, Metrics, Point, Value, show_pool};
pub use tallies::{Counter, Durations, Tallies, Timings};
