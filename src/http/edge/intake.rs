//! Inbound webhooks by their answer: counted in memory, and stored by time a batch every ten
//! seconds, for charts.

use std::collections::BTreeMap;
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
/// The name of that source.
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
    /// Refused with another 4xx.
    Refused,
    /// Refused with 503: the sender will come again.
    Unavailable,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Duplicate, Self::Conflict, Self::Refused, Self::Unavailable];

    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The numbers of inbound webhooks by their answer, since the start, and those that are not stored
/// yet.
#[derive(Debug)]
pub struct Intake {
    began: Instant,
    totals: [AtomicU64; Answer::ALL.len()],
    pending: Mutex<BTreeMap<u64, Slot>>,
}

/// The counts of ten seconds, each with the moment of the last.
type Slot = [Option<(u64, Instant)>; Answer::ALL.len()];

impl Default for Intake {
    fn default() -> Self {
        Self { began: Instant::now(), totals: Default::default(), pending: Mutex::default() }
    }
}

impl Intake {
    /// Counts a webhook whose transaction was recorded.
    pub fn count(&self, recorded: Recorded) {
        self.count_answer(match recorded {
            Recorded::New(_) => Answer::Accepted,
            Recorded::Duplicate => Answer::Duplicate,
            Recorded::Conflict => Answer::Conflict,
        });
    }

    /// Counts what was refused, wherever on its way it was. Conflicts are counted when they are
    /// recorded.
    pub fn count_refusal(&self, path: &str, code: Code) {
        if path != TRANSACTIONS_PATH || code == Code::TransactionConflict {
            return;
        }
        match code.status() {
            503 => self.count_answer(Answer::Unavailable),
            400..500 => self.count_answer(Answer::Refused),
            _ => {}
        }
    }

    /// The number of webhooks that were answered so since the start.
    pub fn total(&self, answer: Answer) -> u64 {
        self.totals[answer as usize].load(Ordering::Relaxed)
    }

    /// Shows the totals among the figures of the process.
    pub fn show(self: &Arc<Self>, metrics: &Metrics) {
        let intake = Arc::clone(self);
        metrics.collect(move || {
            let total = |answer: Answer| {
                Point::of(&[TRANSACTIONS, answer.as_str()], intake.total(answer) as f64)
            };
            vec![Family::new(&WEBHOOK_EVENTS, Answer::ALL.map(total).into())]
        });
    }

    fn count_answer(&self, answer: Answer) {
        self.totals[answer as usize].fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let slot = now.duration_since(self.began).as_secs() / EVERY.as_secs();
        let mut pending = self.lock();
        if pending.len() >= MAX_SLOTS && !pending.contains_key(&slot) {
            pending.pop_first();
        }
        let count = &mut pending.entry(slot).or_default()[answer as usize];
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
        let of_slot = |(slot, counts): (&u64, &Slot)| {
            let began = self.began + Duration::from_secs(slot * EVERY.as_secs());
            let counted = Answer::ALL.into_iter().zip(*counts);
            let counts = counted.filter_map(move |(answer, count)| {
                let (webhooks, last) = count?;
                Some(IntakeCount {
                    age_secs: began.elapsed().as_secs_f64(),
                    last_age_secs: last.elapsed().as_secs_f64(),
                    source: TRANSACTIONS,
                    outcome: answer.as_str(),
                    webhooks,
                })
            });
            counts.collect::<Vec<_>>()
        };
        slots.iter().flat_map(of_slot).collect()
    }
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
