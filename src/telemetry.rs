//! Stub.

/// What the telemetry of a process depends on beside the `OTEL_*` variables.
#[derive(Clone, Copy, Debug)]
pub struct TelemetrySettings {
    /// The name of this process in traces.
    pub service_name: &'static str,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// Aligned text for people.
    Pretty,
    /// One JSON object per line, for programs.
    Json,
    /// One short line per webhook and job, as `app dev` shows them.
    #[value(skip)]
    Console,
}

impl LogFormat {
    /// For `app dev`, whose output is meant for people also when it does not go to a terminal.
    #[must_use]
    pub const fn for_dev(self) -> Self {
        match self {
            Self::Auto => Self::Console,
            chosen => chosen,
        }
    }
}

/// Why the telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the telemetry cannot be set up")]
pub struct TelemetryError;

/// Sets up the log lines and the export of spans of this process.
///
/// # Errors
///
/// None yet.
pub fn init(_settings: TelemetrySettings) -> Result<Telemetry, TelemetryError> {
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
    Ok(Telemetry)
}

/// The running telemetry.
#[derive(Debug)]
pub struct Telemetry;

impl Telemetry {
    /// Where spans are sent; `None` when they are not.
    pub fn collector(&self) -> Option<&str> {
        None
    }

    /// Sends what spans there are left.
    pub fn shutdown(self) {}
}
