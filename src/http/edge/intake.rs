//! Inbound webhooks by their answer: counted in memory, and stored by time a batch every ten
//! seconds, for charts.

use std::collections::BTreeMap;
use std::iter;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::wire::problem::Code;
use crate::metrics::instruments::WEBHOOK_EVENTS;
use crate::metrics::{Family, Metrics, Point};
use crate::operations::activity::{self, ActivityError, IntakeCount};
use crate::payments::transactions::Recorded;
use crate::queue::deadline::within;

/// The path at which transactions come in.
pub const TRANSACTIONS_PATH: &str = "/v1/webhooks/transactions";
/// The path at which those of other sources do, before their names.
const SOURCES_PATH: &str = "/v1/webhooks/sources/";
/// The name of the first source, which is always there.
const TRANSACTIONS: &str = "transactions";

/// The time between two batches, and the time that one count of a batch stands for.
const EVERY: Duration = Duration::from_secs(10);
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// At the end, so long for the last batch.
const LAST_BATCH_WITHIN: Duration = Duration::from_secs(1);
/// While the database is away, counts of so many times ten seconds wait for it, two hours; older
/// ones are given up.
const MAX_SLOTS: usize = 720;

/// The answer to a webhook.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Answer {
    /// A new transaction.
    Accepted,
    /// A transaction that was known already.
    Duplicate,
    /// A known id with other content.
    Conflict,
    /// An event that is none of those that the source is there for.
    Ignored,
    /// Refused with another 4xx.
    Refused,
    /// Refused with 503: the sender will come again.
    Unavailable,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Conflict,
        Self::Ignored,
        Self::Refused,
        Self::Unavailable,
    ];

    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The numbers of inbound webhooks by source and answer, since the start, and those that are not
/// stored yet.
#[derive(Debug)]
pub struct Intake {
    began: Instant,
    /// The names of the sources; the first is that of transactions.
    sources: Vec<String>,
    totals: Vec<[AtomicU64; Answer::ALL.len()]>,
    pending: Mutex<BTreeMap<u64, Slot>>,
}

/// The counts of ten seconds by source, each with the moment of the last.
type Slot = Vec<[Option<(u64, Instant)>; Answer::ALL.len()]>;

/// The place of a source among the counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceIndex(usize);

impl Default for Intake {
    fn default() -> Self {
        Self::new([])
    }
}

impl Intake {
    /// The counts of transactions and of these sources.
    #[must_use]
    pub fn new(others: impl IntoIterator<Item = String>) -> Self {
        let sources: Vec<String> = iter::once(TRANSACTIONS.to_owned()).chain(others).collect();
        let totals = sources.iter().map(|_| Default::default()).collect();
        Self { began: Instant::now(), sources, totals, pending: Mutex::default() }
    }

    /// The source of this name, if there is one.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<SourceIndex> {
        self.sources.iter().position(|known| known == name).map(SourceIndex)
    }

    /// Counts a webhook whose transaction was recorded.
    pub fn count(&self, source: SourceIndex, recorded: Recorded) {
        let answer = match recorded {
            Recorded::New(_) => Answer::Accepted,
            Recorded::Duplicate => Answer::Duplicate,
            Recorded::Conflict => Answer::Conflict,
        };
        self.count_answer(source, answer);
    }

    /// Counts an event that is none of those that the source is there for.
    pub fn count_ignored(&self, source: SourceIndex) {
        self.count_answer(source, Answer::Ignored);
    }

    /// Counts what was refused, wherever on its way it was. Conflicts are counted when they are
    /// recorded.
    pub fn count_refusal(&self, path: &str, code: Code) {
        let source = match source_of(path) {
            Some(name) => self.source(name),
            None => (path == TRANSACTIONS_PATH).then_some(SourceIndex::default()),
        };
        let Some(source) = source.filter(|_| code != Code::TransactionConflict) else { return };
        match code.status() {
            503 => self.count_answer(source, Answer::Unavailable),
            400..500 => self.count_answer(source, Answer::Refused),
            _ => {}
        }
    }

    /// The number of webhooks of all sources that were answered so since the start.
    pub fn total(&self, answer: Answer) -> u64 {
        self.totals.iter().map(|totals| totals[answer as usize].load(Ordering::Relaxed)).sum()
    }

    /// Shows the totals among the figures of the process.
    pub fn show(self: &Arc<Self>, metrics: &Metrics) {
        let intake = Arc::clone(self);
        metrics.collect(move || {
            let of_source = |(source, totals): (&String, &[AtomicU64; Answer::ALL.len()])| {
                Answer::ALL.map(|answer| {
                    let total = totals[answer as usize].load(Ordering::Relaxed);
                    Point::of(&[source.as_str(), answer.as_str()], total as f64)
                })
            };
            let points = intake.sources.iter().zip(&intake.totals).flat_map(of_source);
            vec![Family::new(&WEBHOOK_EVENTS, points.collect())]
        });
    }

    fn count_answer(&self, source: SourceIndex, answer: Answer) {
        self.totals[source.0][answer as usize].fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let slot = now.duration_since(self.began).as_secs() / EVERY.as_secs();
        let mut pending = self.lock();
        if pending.len() >= MAX_SLOTS && !pending.contains_key(&slot) {
            pending.pop_first();
        }
        let slot =
            pending.entry(slot).or_insert_with(|| vec![Default::default(); self.sources.len()]);
        let count = &mut slot[source.0][answer as usize];
        *count = Some((count.map_or(0, |(webhooks, _)| webhooks) + 1, now));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Slot>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what is counted until `stop` is cancelled, and then what is left.
    pub async fn keep(&self, pool: PgPool, stop: CancellationToken) {
        let mut batches = Batches { process: Uuid::now_v7(), last: 0, unsent: BTreeMap::new() };
        let mut pruned = Instant::now();
        let mut has_failed = false;
        // Spread out, so that processes that started together do not write the same rows together.
        let pause = || tokio::time::sleep(EVERY.mul_f64(0.9 + 0.2 * fastrand::f64()));
        while stop.run_until_cancelled(pause()).await.is_some() {
            match (self.store(&pool, &mut batches).await, has_failed) {
                (Ok(()), _) => has_failed = false,
                (Err(error), false) => {
                    let error = anyhow::Error::new(error);
                    tracing::warn!("counts of webhooks cannot be stored, trying on: {error:#}");
                    has_failed = true;
                }
                (Err(_), true) => {}
            }
            if pruned.elapsed() >= PRUNE_EVERY {
                pruned = Instant::now();
                prune(&pool).await;
            }
        }
        let _late = tokio::time::timeout(LAST_BATCH_WITHIN, self.store(&pool, &mut batches)).await;
    }

    /// A batch whose answer was lost is sent again by the next call, and added once.
    async fn store(&self, pool: &PgPool, batches: &mut Batches) -> Result<(), ActivityError> {
        loop {
            if batches.unsent.is_empty() {
                batches.unsent = mem::take(&mut *self.lock());
                if batches.unsent.is_empty() {
                    return Ok(());
                }
                batches.last += 1;
            }
            let counts = self.counts(&batches.unsent);
            let storing = async {
                let mut conn = pool.acquire().await?;
                activity::record_intake(&mut conn, batches.process, batches.last, &counts).await
            };
            within(storing).await?;
            batches.unsent.clear();
        }
    }

    fn counts(&self, slots: &BTreeMap<u64, Slot>) -> Vec<IntakeCount> {
        let mut all = Vec::new();
        for (slot, sources) in slots {
            let began = self.began + Duration::from_secs(slot * EVERY.as_secs());
            for (source, counts) in self.sources.iter().zip(sources) {
                let counted = Answer::ALL.into_iter().zip(*counts);
                all.extend(counted.filter_map(|(answer, count)| {
                    let (webhooks, last) = count?;
                    Some(IntakeCount {
                        age_secs: began.elapsed().as_secs_f64(),
                        last_age_secs: last.elapsed().as_secs_f64(),
                        source: source.clone(),
                        outcome: answer.as_str(),
                        webhooks,
                    })
                }));
            }
        }
        all
    }
}

/// The name of the source that a path leads to, if it is one of other sources.
pub(super) fn source_of(path: &str) -> Option<&str> {
    path.strip_prefix(SOURCES_PATH)
}

/// The batches of this process, of which one is sent at a time.
struct Batches {
    process: Uuid,
    last: i64,
    unsent: BTreeMap<u64, Slot>,
}

async fn prune(pool: &PgPool) {
    let pruning = async {
        let mut conn = pool.acquire().await?;
        activity::prune_intake(&mut conn).await
    };
    if let Err(error) = within(pruning).await {
        let error = anyhow::Error::new(error);
        tracing::debug!("old counts of webhooks could not be dropped: {error:#}");
    }
}
