//! Telemetry of the process: log lines, and spans for an OpenTelemetry collector.
//!
//! - `otlp` exports spans as the standard `OTEL_*` variables say, and not at all unless they name a
//!   collector; `figures` does the same for figures, [`export_metrics`];
//! - `logs` collects what an event says with what its enclosing spans say, and writes one line of
//!   it to stderr;
//! - `formats` are the three looks of a line: [`LogFormat`];
//! - `log_filter` says which events are written, and takes up another filter at any time;
//! - `setting_doubts` tells which `OTEL_*` variables the SDK could not use.
//!
//! The way in is [`init`], called once by `main`; [`Telemetry::shutdown`] is the last thing that it
//! does.
//!
//! # Spans
//!
//! `http::edge::trace` and `queue::telemetry` make their spans through the OpenTelemetry API, which
//! gives exact names, links and kinds, and costs some 100 ns per span when nothing is
//! exported. A trace context that comes with a request then goes on to the job row and to whatever
//! the job calls as it came in: a process that exports nothing makes no sampling decision for those
//! that do. Spans that handlers make with `tracing` become their children while an exporter is
//! there.
//!
//! # Log lines
//!
//! `APP_LOG`, else `RUST_LOG`, else `info` (`warn` for commands that end by themselves) says which
//! events are written, in the syntax of `tracing-subscriber`. Filters do not touch the fields that
//! tell which request or job a line belongs to, nor the export of spans. Log lines carry `trace_id`
//! inside of any trace, `span_id` inside of a span of this process, `request_id` inside of a
//! request, `job_id`, `kind`, `queue` and `attempt` inside of a job.
//!
//! The two events that every request and every run ends with are described where they are made:
//! `http::edge::trace` and `queue::telemetry`. Deliberately absent: bodies, headers, query strings,
//! secrets.

mod collector_client;
mod figures;
mod formats;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod log_filter;
mod logs;
mod otlp;
mod resource_attributes;
mod setting_doubts;

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, ParseError, Targets};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

pub use self::figures::{FiguresExport, export_metrics};
use self::formats::LineFormat;
pub use self::log_filter::{VARIABLES as FILTERS, reload_part};
use self::logs::LogLayer;
use crate::queue::commits::{WARNINGS_TARGET, note_warning};
use crate::queue::telemetry::LOG_CONTEXT_TARGET;

/// The time that the last spans have to reach the collector when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The targets of the exporter itself, which is not traced, or it would never end.
const UNTRACED: [&str; 5] = [LOG_CONTEXT_TARGET, "hyper", "hyper_util", "h2", "opentelemetry"];

/// The settings of telemetry beside the `OTEL_*` variables.
#[derive(Clone, Copy, Debug)]
pub struct TelemetrySettings {
    /// The name of this process in traces, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES`
    /// gives one.
    pub service_name: &'static str,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The filter that holds when neither `APP_LOG` nor `RUST_LOG` is set.
    pub default_filter: DefaultFilter,
}

/// The filter that holds when no variable is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultFilter {
    /// Everything of note, for a process that runs until told to stop.
    Service,
    /// The same, but for what `app dev` says at its start.
    Dev,
    /// Warnings and errors, for a command that ends by itself.
    Command,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// Aligned text for people.
    Pretty,
    /// One JSON object per line, for programs.
    Json,
    /// One short line per webhook and job, as `app dev` and its workers show them.
    #[value(hide = true)]
    Console,
}

impl LogFormat {
    /// The format for `app dev`, whose output is meant for people also when it does not go to a
    /// terminal.
    #[must_use]
    pub const fn for_dev(self) -> Self {
        match self {
            Self::Auto => Self::Console,
            chosen @ (Self::Pretty | Self::Json | Self::Console) => chosen,
        }
    }
}

/// The protocols that there are, as a refusal of others says.
const PROTOCOLS: &str = if cfg!(feature = "otlp-grpc") {
    "`http/protobuf` and the endpoint to the collector's HTTP port, usually 4318, or to `grpc` and \
     that port, usually 4317"
} else {
    "`http/protobuf` and the endpoint to the collector's HTTP port, usually 4318; `grpc` is in \
     builds with the feature `otlp-grpc`"
};

/// The reason that telemetry could not be set up. Each message names the variable and what to do
/// about it.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter cannot be read.
    #[error("{variable} is no log filter such as `info` or `warn,surety::http=debug`")]
    Filter {
        /// The variable it came from.
        variable: &'static str,
        /// The error of the filter.
        source: ParseError,
    },
    /// Spans are to be sent in a way that this build cannot.
    #[error("what {variable} asks for is not supported; set it to {}", PROTOCOLS)]
    Protocol {
        /// The variable that asks for it.
        variable: String,
    },
    /// Spans are to be sent by an exporter that this build has not.
    #[error("the exporter of {variable} is not supported; set it to `otlp` or `none`")]
    Exporter {
        /// The variable that asks for it.
        variable: String,
    },
    /// Bodies are to be compressed in a way that this build cannot.
    #[error("what {variable} asks for is not supported; set it to `gzip` or `none`")]
    Compression {
        /// The variable that asks for it.
        variable: String,
    },
    /// The file of authorities cannot be read, or holds none.
    #[error(
        "the file that OTEL_EXPORTER_OTLP_CERTIFICATE names cannot be read, or holds no \
         certificate in PEM"
    )]
    Certificate,
    /// The thread that carries calls cannot be started.
    #[error("the export by gRPC cannot be started")]
    Threads(#[source] std::io::Error),
    /// The interval of figures is no number.
    #[error("OTEL_METRIC_EXPORT_INTERVAL is no number of milliseconds such as 60000")]
    Interval,
    /// The `OTEL_EXPORTER_OTLP_*` variables are contradictory or unreadable. The reason is not
    /// shown: it repeats their values, which may be secret.
    #[error(
        "spans cannot be exported as the OTEL_EXPORTER_OTLP_* variables say: an endpoint is a URL, \
         headers are name=value, separated by commas"
    )]
    Otlp,
    /// The process has a subscriber already.
    #[error("the telemetry of this process is already set up")]
    AlreadySetUp(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sets up the log lines and the export of spans of this process.
///
/// # Errors
///
/// [`TelemetryError`]; then there is no telemetry, and its message is for stderr.
pub fn init(settings: TelemetrySettings) -> Result<Telemetry, TelemetryError> {
    let [filter, filter_of_export] = log_filter::start(settings.default_filter)?;
    let look = look(settings.log_format);
    // What the SDK finds wrong with its variables must be seen, but not as it says it: with their
    // values.
    let doubts = setting_doubts::Doubts::default();
    let registry = Registry::default().with(doubts.clone().with_filter(LevelFilter::WARN));
    let resource = otlp::resource(settings.service_name);
    figures::configure(&resource)?;
    let (export, exported_lines) = tracing::subscriber::with_default(registry, || {
        Ok::<_, TelemetryError>((otlp::from_env(resource.clone())?, otlp::logs_from_env(resource)?))
    })?;

    let spans = export.as_ref().map(|export| span_layer(export.provider.tracer("surety")));
    let to_collector = exported_lines.as_ref().map(|provider| {
        // Lines of the exporter itself would be exported for ever.
        let lines = Targets::new()
            .with_default(LevelFilter::TRACE)
            .with_targets(UNTRACED.map(|target| (target, LevelFilter::OFF)));
        OpenTelemetryTracingBridge::new(provider).with_filter(filter_of_export.and(lines))
    });
    let logs = LogLayer::to_stderr(look).with_filter(filter.and(OncePerMinute::default()));
    if let Some(export) = &export {
        opentelemetry::global::set_tracer_provider(export.provider.clone());
    }
    let registry = Registry::default().with(spans).with(logs).with(to_collector);
    tracing::subscriber::set_global_default(registry.with(commit_warnings()))?;
    doubts.tell();
    if let Some(export) = &export {
        tracing::info!(collector = export.collector, "spans are exported");
    }
    if exported_lines.is_some() {
        tracing::info!("log lines are exported");
    }
    Ok(Telemetry { export, lines: exported_lines })
}

/// The running telemetry. When it is dropped, too, the last spans are sent first.
#[derive(Debug)]
#[must_use = "dropping it ends the export of spans"]
pub struct Telemetry {
    export: Option<otlp::Export>,
    lines: Option<SdkLoggerProvider>,
}

impl Telemetry {
    /// The address that spans are sent to; `None` when they are not.
    pub fn collector(&self) -> Option<&str> {
        self.export.as_ref().map(|export| export.collector.as_str())
    }

    /// Sends what spans there are left, for five seconds at most, and sends none after that. The
    /// last thing that a process does: it blocks, and whatever runs on is not traced.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // Both at once, because both may take all of the time.
        let lines = self.lines.take();
        let flushing = std::thread::spawn(move || {
            lines.and_then(|lines| lines.shutdown_with_timeout(FLUSH_TIMEOUT).err())
        });
        if let Some(export) = self.export.take()
            && let Err(error) = export.provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            let collector = export.collector;
            tracing::warn!(%error, collector, "the last spans were not exported");
        }
        if let Ok(Some(error)) = flushing.join() {
            tracing::warn!(%error, "the last log lines were not exported");
        }
    }
}

/// All that is wrong with the variables of telemetry, other than what the SDK reads alone.
#[must_use]
pub fn faults() -> Vec<TelemetryError> {
    let signals = [otlp::Signal::Traces, otlp::Signal::Logs, otlp::Signal::Metrics];
    let ways = signals.into_iter().filter_map(|signal| {
        let way = otlp::Way::of(signal, otlp::environment);
        way.and_then(|way| way.map(|way| way.client().map(drop)).transpose()).err()
    });
    log_filter::fault().into_iter().chain(ways).collect()
}

/// Lets one line in a minute pass of those that the exporters write: a collector that is away fails
/// every export.
#[derive(Default)]
struct OncePerMinute(Mutex<Option<Instant>>);

impl<S> Filter<S> for OncePerMinute {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if !event.metadata().target().starts_with("opentelemetry") {
            return true;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = last.is_none_or(|at| at.elapsed() >= Duration::from_secs(60));
        if passes {
            *last = Some(Instant::now());
        }
        passes
    }
}

/// Hands on what the server warns of during a commit, whatever is logged.
fn commit_warnings<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    CommitWarnings.with_filter(Targets::new().with_target(WARNINGS_TARGET, LevelFilter::WARN))
}

struct CommitWarnings;

impl<S: Subscriber> Layer<S> for CommitWarnings {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        note_warning();
    }
}

/// Makes the `tracing` spans of handlers children of ours. None of the filters of log lines applies
/// to it.
fn span_layer<S, T>(tracer: T) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    T: Tracer<Span: Send + Sync> + Send + Sync + 'static,
{
    let traced = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(UNTRACED.map(|target| (target, LevelFilter::OFF)));
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(traced)
}

fn look(format: LogFormat) -> LineFormat {
    let terminal = std::io::stderr().is_terminal();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let colored = terminal && !no_color && !dumb;
    match format {
        LogFormat::Auto if terminal => LineFormat::Pretty { colored },
        LogFormat::Pretty => LineFormat::Pretty { colored },
        LogFormat::Auto | LogFormat::Json => LineFormat::Json,
        LogFormat::Console => LineFormat::Console { colored },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::TraceFlags;

    use super::*;
    use crate::queue::JobId;
    use crate::queue::telemetry::collected::{attribute, new_trace, spans_of, within};
    use crate::queue::telemetry::{Ending, EnqueueSpan, ProcessSpan, Run, TraceContext};

    #[test]
    fn a_handlers_own_spans_are_part_of_the_trace_and_the_log_context_is_not() {
        let caller = new_trace(TraceFlags::SAMPLED);
        let trace_context = TraceContext::of(&within(&caller));
        let run = Run {
            job_id: JobId(7),
            queue: "default",
            kind: "settle_transaction",
            attempt: 1,
            max_attempts: 10,
            worker_id: uuid::Uuid::nil(),
            waited: Duration::ZERO,
            trace_context: trace_context.as_ref(),
            last_traceparent: None,
        };
        let spans = span_layer(opentelemetry::global::tracer("surety"));
        // Without a subscriber for the log context, too, its spans would be made by nobody.
        let logs = LogLayer::to_stderr(LineFormat::Json)
            .with_filter(log_filter::parse("warn").expect("it is valid"));
        tracing::subscriber::with_default(Registry::default().with(spans).with(logs), || {
            let process = ProcessSpan::start(&run);
            let handler = process.scope(&run, async {
                let _step = tracing::info_span!("read the account", account = 3).entered();
                EnqueueSpan::start("mail", "send_receipt", None).enqueued(JobId(8));
            });
            futures_util::FutureExt::now_or_never(handler).expect("the handler waits for nothing");
            process.end(&run, Ending::Completed);
        });

        let spans = spans_of(&caller);
        let [enqueue, step, process] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!(process.name, "process default");
        assert_eq!(step.name, "read the account");
        assert_eq!(attribute(step, "account").as_deref(), Some("3"));
        assert_eq!(step.parent_span_id, process.span_context.span_id());
        assert_eq!(enqueue.name, "enqueue mail");
        assert_eq!(enqueue.parent_span_id, step.span_context.span_id());
    }
}
