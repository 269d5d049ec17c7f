//! The filter of log lines: `APP_LOG`, else `RUST_LOG`, else one of ours. It can be replaced while
//! the process runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, callsite};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Context, Filter};

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
    /// Of lines, and of exported lines.
    filters: [LineFilter; 2],
}

/// A filter that can be replaced. Clones are the same filter.
///
/// Spans are followed only while it asks for what happens inside of some (`[name]`), which it
/// seldom does: each entering and leaving of a span, of which a job has many, would take a lock.
#[derive(Clone)]
pub(super) struct LineFilter(Arc<Replaceable>);

struct Replaceable {
    filter: RwLock<EnvFilter>,
    follows_spans: AtomicBool,
}

/// The filters of lines and of exported lines, both by the variables.
///
/// # Errors
///
/// [`TelemetryError::Filter`].
pub(super) fn start(default: DefaultFilter) -> Result<[LineFilter; 2], TelemetryError> {
    let default = match default {
        DefaultFilter::Service => SERVICE_FILTER,
        DefaultFilter::Dev => DEV_FILTER,
        DefaultFilter::Command => COMMAND_FILTER,
    };
    let (variable, directives) = directives(default, |name| std::env::var(name).ok());
    let filter = || {
        LineFilter::new(&directives).map_err(|source| TelemetryError::Filter { variable, source })
    };
    let filters = [filter()?, filter()?];
    *in_force() = Some(InForce { directives, default, filters: filters.clone() });
    Ok(filters)
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
    for (filter, replacement) in now.filters.iter().zip([lines, exported]) {
        filter.replace(replacement, &directives);
    }
    callsite::rebuild_interest_cache();
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

impl LineFilter {
    /// See [`parse`].
    pub(super) fn new(directives: &str) -> Result<Self, ParseError> {
        let filter = RwLock::new(parse(directives)?);
        let follows_spans = AtomicBool::new(are_of_spans(directives));
        Ok(Self(Arc::new(Replaceable { filter, follows_spans })))
    }

    fn replace(&self, filter: EnvFilter, directives: &str) {
        let mut present = self.0.filter.write().unwrap_or_else(PoisonError::into_inner);
        *present = filter;
        self.0.follows_spans.store(are_of_spans(directives), Ordering::Relaxed);
    }

    fn present(&self) -> RwLockReadGuard<'_, EnvFilter> {
        self.0.filter.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The filter, if it must know of spans.
    fn of_spans(&self) -> Option<RwLockReadGuard<'_, EnvFilter>> {
        self.0.follows_spans.load(Ordering::Relaxed).then(|| self.present())
    }
}

impl<S> Filter<S> for LineFilter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        self.present().enabled(metadata, context.clone())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&*self.present(), metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.present().max_level_hint()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(filter) = self.of_spans() {
            filter.on_new_span(attributes, id, context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(filter) = self.of_spans() {
            filter.on_record(id, values, context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(filter) = self.of_spans() {
            filter.on_enter(id, context);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(filter) = self.of_spans() {
            filter.on_exit(id, context);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(filter) = self.of_spans() {
            filter.on_close(id, context);
        }
    }
}

/// Tells if some of the directives ask for what happens inside of spans: `target[span{field}]`.
fn are_of_spans(directives: &str) -> bool {
    directives.contains('[')
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    /// Counts events.
    struct Events(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Events {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_filter_can_ask_for_what_happens_inside_of_a_span_and_be_replaced() {
        let filter = LineFilter::new("warn,[inside]=debug").unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let events = Events(Arc::clone(&seen)).with_filter(filter.clone());
        tracing::subscriber::with_default(Registry::default().with(events), || {
            let seen_of_four = || {
                let before = seen.load(Ordering::Relaxed);
                for span in [tracing::info_span!("outside"), tracing::info_span!("inside")] {
                    let _entered = span.entered();
                    tracing::debug!("one");
                    tracing::warn!("other");
                }
                seen.load(Ordering::Relaxed) - before
            };
            for (directives, expected) in
                [("warn,[inside]=debug", 3), ("warn", 2), ("debug", 4), ("off,[inside]=info", 1)]
            {
                filter.replace(parse(directives).unwrap(), directives);
                callsite::rebuild_interest_cache();
                assert_eq!(seen_of_four(), expected, "{directives}");
            }
        });
    }
}
