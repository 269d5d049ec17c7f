//! The filter of log lines: `APP_LOG`, else `RUST_LOG`, else one of ours. It can be replaced while
//! the process runs.

use std::sync::{Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::reload;

use super::{DefaultFilter, TelemetryError};
use crate::queue::telemetry::LOG_CONTEXT_TARGET;
use crate::settings::reload::{Change, Fresh, Part};

/// The variables, of which the first that is set counts.
pub const VARIABLES: [&str; 2] = ["APP_LOG", "RUST_LOG"];
/// The filter of a service: of OpenTelemetry, not every start, and that the collector is away once
/// per export.
const SERVICE_FILTER: &str = "info,opentelemetry=warn,opentelemetry-otlp=error";
/// The filter of `app dev`, whose banner says where spans go.
const DEV_FILTER: &str = "info,surety::telemetry=warn,opentelemetry=warn,opentelemetry-otlp=error";
/// The filter of a command: someone waits for its result, and wants to hear of trouble only.
const COMMAND_FILTER: &str = "warn,opentelemetry-otlp=error";
/// The target under which the driver logs lines of `.pgpass`, and of a URL what it does not know.
const TARGET_OF_SECRETS: &str = "sqlx_postgres::options";

/// The filters in force; none before there is telemetry.
static IN_FORCE: Mutex<Option<InForce>> = Mutex::new(None);

struct InForce {
    /// The text that they were made of.
    directives: String,
    default: &'static str,
    /// One replaces the filter of lines, one that of exported lines.
    replace: [Replace; 2],
}

/// A filter that can be replaced.
type Replaceable<S> = reload::Layer<EnvFilter, S>;
/// Puts another filter in the place of one.
type Replace = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send>;

/// The filters of lines and of exported lines, both by the variables.
///
/// # Errors
///
/// [`TelemetryError::Filter`].
pub(super) fn start<S: Subscriber, T: Subscriber>(
    default: DefaultFilter,
) -> Result<(Replaceable<S>, Replaceable<T>), TelemetryError> {
    let default = match default {
        DefaultFilter::Service => SERVICE_FILTER,
        DefaultFilter::Dev => DEV_FILTER,
        DefaultFilter::Command => COMMAND_FILTER,
    };
    let (variable, directives) = directives(default, |name| std::env::var(name).ok());
    let filter =
        || parse(&directives).map_err(|source| TelemetryError::Filter { variable, source });
    let (lines, replace_lines) = reload::Layer::new(filter()?);
    let (exported, replace_exported) = reload::Layer::new(filter()?);
    let replace: [Replace; 2] = [
        Box::new(move |filter| replace_lines.reload(filter)),
        Box::new(move |filter| replace_exported.reload(filter)),
    ];
    *in_force() = Some(InForce { directives, default, replace });
    Ok((lines, exported))
}

/// The part of a reload that sees to `APP_LOG`, and to `RUST_LOG` where that is not set.
#[must_use]
pub fn reload_part() -> Part {
    Box::new(|fresh| reload(fresh).into_iter().collect())
}

fn reload(fresh: &Fresh) -> Option<Change> {
    let mut in_force = in_force();
    let now = in_force.as_mut()?;
    let (name, directives) = directives(now.default, |name| fresh.text(name));
    if directives == now.directives {
        return None;
    }
    let refused = |reason: &str| Some(Change::Refused { name, reason: reason.to_owned() });
    let (Ok(lines), Ok(exported)) = (parse(&directives), parse(&directives)) else {
        return refused("it is no log filter such as `info` or `warn,surety::http=debug`");
    };
    for (replace, filter) in now.replace.iter().zip([lines, exported]) {
        // One whose layer there is none of has nobody who would miss it.
        let _replaced = replace(filter);
    }
    now.directives = directives;
    Some(Change::Taken(name))
}

/// The fault of the variables, if there is one.
pub(super) fn fault() -> Option<TelemetryError> {
    let (variable, directives) = directives(SERVICE_FILTER, |name| std::env::var(name).ok());
    let fault = parse(&directives).err();
    fault.map(|source| TelemetryError::Filter { variable, source })
}

fn directives(default: &str, variable: impl Fn(&str) -> Option<String>) -> (&'static str, String) {
    let given = VARIABLES.into_iter().find_map(|name| {
        let value = variable(name).filter(|value| !value.trim().is_empty())?;
        Some((name, value))
    });
    given.unwrap_or((VARIABLES[0], default.to_owned()))
}

/// The events that `directives` ask for, and whatever they say the spans whose fields tell whose a
/// line is.
pub(super) fn parse(directives: &str) -> Result<EnvFilter, ParseError> {
    let parse = |directives: &str| EnvFilter::builder().with_regex(false).parse(directives);
    // First by itself: what is wrong with it must not be blamed on what is added.
    parse(directives)?;
    parse(&format!("{directives},{LOG_CONTEXT_TARGET}=error,{TARGET_OF_SECRETS}=off"))
}

fn in_force() -> std::sync::MutexGuard<'static, Option<InForce>> {
    IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner)
}
