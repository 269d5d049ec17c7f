//! Records how attempts ended, together with the ends of their jobs: those that end at the same
//! moment share one database transaction, and each is told only after its commit.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::{disabling, in_words};
use crate::deliveries::endpoints::{self, DisabledReason};
use crate::deliveries::health::{self, Tally};
use crate::deliveries::outgoing::{self, AttemptRecord, DeliveryKey, Progress};
use crate::deliveries::{Attempt, Outcome, Sent, retry};
use crate::ids::EndpointId;
use crate::queue::batcher::{Batcher, Limits, Processor, Reply, Request};
use crate::queue::commits::commit;
use crate::queue::deadline::{begin, within};
use crate::queue::{BatchContext, Committed, JobContext, JobError};

const LIMITS: Limits = Limits { waiting: 2048, batch: 256 };
/// One writes while the other one waits for its commit.
const TASKS: usize = 2;

/// An attempt that has ended, or a delivery that was given up without one.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    key: DeliveryKey,
    sent: Option<Sent>,
    progress: Progress,
}

impl Ended {
    pub(super) fn new(key: DeliveryKey, sent: Sent, progress: Progress) -> Self {
        Self { key, sent: Some(sent), progress }
    }
}

/// The result for a run: the end of its job, if that was asked for.
type Recorded = Result<Option<Committed>, JobError>;

/// An attempt to be recorded, and its job, if that is done with it.
struct Item {
    ended: Ended,
    completes: Option<JobContext>,
}

/// A handle on the recorder's tasks, which end with the last handle.
#[derive(Clone)]
pub(super) struct Recorder(Batcher<Item, Recorded>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    pub(super) fn start(pool: PgPool, first_rest: Duration) -> Self {
        let recordings = [(); TASKS].map(|()| Recording { pool: pool.clone(), first_rest });
        let (batcher, mut tasks) = Batcher::start(LIMITS, recordings);
        tasks.detach_all();
        Self(batcher)
    }

    /// Records an attempt after which there will be another one.
    pub(super) async fn record(&self, ended: Ended) -> Result<(), JobError> {
        self.ask(Item { ended, completes: None }).await.map(drop)
    }

    /// Records an attempt together with the end of its job.
    pub(super) async fn complete(
        &self,
        ended: Ended,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let committed = self.ask(Item { ended, completes: Some(cx) }).await?;
        committed.ok_or(JobError::LeaseLost)
    }

    /// Gives a delivery up without an attempt, for this reason.
    pub(super) async fn give_up(
        &self,
        key: DeliveryKey,
        reason: &'static str,
        cx: JobContext,
    ) -> Result<Committed, JobError> {
        let ended = Ended { key, sent: None, progress: Progress::Failed(reason) };
        self.complete(ended, cx).await
    }

    async fn ask(&self, item: Item) -> Recorded {
        let unknown = |_| JobError::from(anyhow::anyhow!("the attempt could not be recorded"));
        self.0.ask(item).await.map_err(unknown)?
    }
}

struct Recording {
    pool: PgPool,
    /// The first rest of an endpoint that fails.
    first_rest: Duration,
}

impl Processor for Recording {
    type Item = Item;
    type Answer = Recorded;

    async fn process(&mut self, requests: Vec<Request<Item, Recorded>>) {
        let (items, replies): (Vec<Item>, Vec<Reply<Recorded>>) =
            requests.into_iter().map(Request::into_parts).unzip();
        match self.write(&items).await {
            Ok(recorded) => {
                for (reply, committed) in replies.into_iter().zip(recorded) {
                    reply.send(Ok(committed));
                }
            }
            // One of the jobs belongs to another worker by now, or one of them cannot be written:
            // each by itself, then. One that cannot be recorded is delivered again, under the same
            // id.
            Err(error) => {
                if !matches!(error, JobError::LeaseLost) {
                    let attempts = items.len();
                    tracing::warn!(%error, attempts, "attempts could not be recorded together");
                }
                for (item, reply) in items.iter().zip(replies) {
                    reply.send(self.write_alone(item).await);
                }
            }
        }
    }
}

impl Recording {
    /// Writes one, and that it was made even if its job belongs to another worker by now.
    async fn write_alone(&self, item: &Item) -> Recorded {
        match self.write(std::slice::from_ref(item)).await {
            Err(JobError::LeaseLost) => {
                let mut tx = begin(&self.pool).await?;
                within(record_attempts(&mut tx, &[item])).await?;
                within(commit(tx)).await?;
                Err(JobError::LeaseLost)
            }
            written => Ok(written?.pop().flatten()),
        }
    }

    /// Writes all of them in one transaction, with the ends of the jobs that are done. The answers
    /// are in their order.
    async fn write(&self, items: &[Item]) -> Result<Vec<Option<Committed>>, JobError> {
        let runs: Vec<JobContext> =
            items.iter().filter_map(|item| item.completes.clone()).collect();
        let Some(batch) = BatchContext::of_runs(runs) else {
            let mut tx = begin(&self.pool).await?;
            within(write(&mut tx, items, self.first_rest)).await?;
            within(commit(tx)).await?;
            return Ok(items.iter().map(|_| None).collect());
        };
        let mut tx = batch.begin().await?;
        within(write(&mut tx, items, self.first_rest)).await?;
        let mut committed = batch.complete_each(tx).await?;
        let committed_of = |item: &Item| committed.remove(&item.completes.as_ref()?.id());
        Ok(items.iter().map(committed_of).collect())
    }
}

/// The statements for all of them, whatever their number.
async fn write(
    conn: &mut PgConnection,
    items: &[Item],
    first_rest: Duration,
) -> Result<(), JobError> {
    let items: Vec<&Item> = items.iter().collect();
    record_attempts(&mut *conn, &items).await?;
    let changes: Vec<(DeliveryKey, Progress)> =
        items.iter().map(|item| (item.ended.key, item.ended.progress)).collect();
    outgoing::progress(&mut *conn, &changes).await?;
    let (tallies, gone) = tallies_of(&items);
    let failing = health::note(&mut *conn, &tallies, first_rest).await?;
    for (endpoint, reason) in gone
        .into_iter()
        .map(|endpoint| (endpoint, DisabledReason::Gone))
        .chain(failing.into_iter().map(|endpoint| (endpoint, DisabledReason::Failing)))
    {
        if endpoints::disable(&mut *conn, endpoint, reason).await? {
            tracing::warn!(%endpoint, reason = reason.code(), "an endpoint was disabled");
            disabling::tell(&mut *conn, endpoint, reason, last_failure(&items, endpoint)).await?;
        }
    }
    Ok(())
}

/// The last failure of an endpoint among these, in words.
fn last_failure(items: &[&Item], endpoint: EndpointId) -> Option<String> {
    let of_endpoint = items.iter().rev().filter(|item| item.ended.key.endpoint == endpoint);
    of_endpoint.filter_map(|item| item.ended.sent.as_ref()).map(in_words).next()
}

async fn record_attempts(conn: &mut PgConnection, items: &[&Item]) -> Result<(), JobError> {
    let records: Vec<AttemptRecord> = items
        .iter()
        .filter_map(|item| Some((item.ended.key, item.ended.sent.as_ref()?)))
        .flat_map(|(key, sent)| {
            sent.stale.iter().chain([&sent.attempt]).map(move |attempt| record_of(key, attempt))
        })
        .collect();
    if !records.is_empty() {
        outgoing::record_attempts(conn, &records).await?;
    }
    Ok(())
}

fn record_of(key: DeliveryKey, attempt: &Attempt) -> AttemptRecord {
    AttemptRecord {
        key,
        status: attempt.status,
        error: attempt.error.map(|error| error.code()),
        detail: attempt.detail.clone(),
        duration: attempt.duration,
        address: attempt.address.map(|address| address.to_string()),
        answer: attempt.answer.clone(),
    }
}

/// The results of the attempts on each endpoint, and the endpoints that are gone.
fn tallies_of(items: &[&Item]) -> (BTreeMap<EndpointId, Tally>, Vec<EndpointId>) {
    let mut tallies: BTreeMap<EndpointId, Tally> = BTreeMap::new();
    let mut gone = Vec::new();
    for item in items {
        let Some(sent) = &item.ended.sent else { continue };
        let tally = tallies.entry(item.ended.key.endpoint).or_default();
        match retry::outcome(&sent.attempt) {
            Outcome::Delivered => tally.succeeded = true,
            Outcome::Failed => tally.failures += 1,
            Outcome::Gone => gone.push(item.ended.key.endpoint),
        }
    }
    (tallies, gone)
}
