//! The figures of this process, for Prometheus.
//!
//! - Here: [`Metrics`], where each part of the program registers what it counts.
//! - `requests`: the middleware that counts and times requests.
//! - `scrape`: the text format of what was read.
//!
//! What is counted on the way of a request is an atomic that was looked up before ([`Tally`]).
//! Everything else is read when somebody scrapes. Labels have few values and never an id.

mod requests;
mod scrape;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use sqlx::PgPool;

use self::requests::Durations;
pub use self::requests::RequestMetrics;
use self::scrape::{Figures, Scrape};
use crate::bank::breaker::{self, Phase};
use crate::jobs::BANK_BREAKER;

/// The media type of a scrape.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The prefix of all names.
const PREFIX: &str = "surety";
/// The time to read a figure; one that takes longer is missing from the scrape.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// The registry of figures. Clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Family>>>);

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicU64>);

/// A figure with its labels.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// Names and values, which must be few.
    pub labels: Vec<(&'static str, String)>,
    /// The figure itself.
    pub value: f64,
}

/// The figures of one name.
struct Family {
    /// Without the prefix, and without the suffix `_total` of counters.
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    sources: Vec<Source>,
}

type Labels = Vec<(&'static str, String)>;
type Readings = Pin<Box<dyn Future<Output = Vec<Reading>> + Send>>;

#[derive(Clone)]
enum Source {
    Tally(Labels, Tally),
    Durations(Labels, Arc<Durations>),
    Read(Arc<dyn Fn() -> Readings + Send + Sync>),
}

impl Tally {
    /// Counts one.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Reading {
    /// A figure without labels.
    pub fn plain(value: f64) -> Self {
        Self { labels: Vec::new(), value }
    }

    /// A figure with one label.
    pub fn of(label: &'static str, value_of_label: &str, value: f64) -> Self {
        Self { labels: vec![(label, value_of_label.to_owned())], value }
    }
}

impl Metrics {
    /// A registry without figures.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter to keep; `surety_{name}_total` on the wire. One name may have many, by their
    /// labels.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Tally {
        let tally = Tally::default();
        let source = Source::Tally(owned(labels), tally.clone());
        self.add(name, help, MetricType::Counter, source);
        tally
    }

    /// Counters that are kept elsewhere, read at each scrape.
    pub fn counters_at_scrape(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<Reading> + Send + Sync + 'static,
    ) {
        let read = Arc::new(move || Box::pin(std::future::ready(read())) as Readings);
        self.add(name, help, MetricType::Counter, Source::Read(read));
    }

    /// Gauges that are read at each scrape, be it from memory or from the database. What takes
    /// longer than a second, or says nothing, is missing from the scrape: better than an old figure
    /// or a wrong zero.
    pub fn gauges_at_scrape<F>(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Vec<Reading>> + Send + 'static,
    {
        let read = Arc::new(move || Box::pin(read()) as Readings);
        self.add(name, help, MetricType::Gauge, Source::Read(read));
    }

    /// Registers the connections of this pool by state.
    pub fn watch_pool(&self, pool: &PgPool) {
        let pool = pool.clone();
        let help = "Connections to the database by state, of the pool for reads";
        self.gauges_at_scrape("database_connections", help, move || {
            let (open, idle) = (pool.size(), pool.num_idle());
            let in_use = f64::from(open) - idle as f64;
            let readings = vec![
                Reading::of("state", "in_use", in_use),
                Reading::of("state", "idle", idle as f64),
            ];
            std::future::ready(readings)
        });
    }

    /// Registers the state of the bank's circuit breaker, which all workers share.
    pub fn watch_bank(&self, pool: &PgPool) {
        let pool = pool.clone();
        let help = "Circuit breaker of the bank by state, 1 for the one it is in";
        self.gauges_at_scrape("bank_breaker", help, move || {
            let pool = pool.clone();
            async move {
                let Ok(mut conn) = pool.acquire().await else { return Vec::new() };
                let Ok(phase) = breaker::phase_of(&mut conn, BANK_BREAKER).await else {
                    return Vec::new();
                };
                let is_in = |state| f64::from(u8::from(phase.as_str() == state));
                Phase::NAMES.map(|state| Reading::of("state", state, is_in(state))).into()
            }
        });
    }

    fn add(&self, name: &'static str, help: &'static str, kind: MetricType, source: Source) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.sources.push(source),
            None => families.push(Family { name, help, kind, sources: vec![source] }),
        }
    }

    /// Everything, in the text format of OpenMetrics.
    pub async fn scrape(&self) -> String {
        let asked: Vec<_> = {
            let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let one =
                |family: &Family| (family.name, family.help, family.kind, family.sources.clone());
            families.iter().map(one).collect()
        };
        let read = asked.into_iter().map(|(name, help, kind, sources)| async move {
            let points = join_all(sources.into_iter().map(Source::read)).await.concat();
            Figures { name, help, kind, points }
        });
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Scrape(join_all(read).await)));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("writing to a string cannot fail");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}
