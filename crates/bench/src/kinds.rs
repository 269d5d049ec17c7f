//! Jobs that do nothing, so that only the queue is measured. Only `surety-bench` registers them.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::handling::{Commit, Handler, Handling};
use super::journal::{Pen, now_us};
use surety_queue::{
    BatchContext, BatchJob, Committed, Fence, Job, JobContext, JobError, JobId, NewJob, QueueError,
    Registry,
};

/// The name under which the last job of a past is known: jobs that nobody runs.
pub(crate) const PLAIN_KIND: &str = OneByOne::<true>::KIND;

/// The services that every run gets.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) pen: Pen,
    pub(crate) commit: Commit,
    /// True when handlers write a row in the transaction that completes their job.
    pub(crate) effects: bool,
}

/// A job that is handled by itself; `KEPT` tells whether its kind keeps a history.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OneByOne<const KEPT: bool> {
    /// The moment just before it was enqueued.
    at: u64,
}

/// A job that is handled with others in one database transaction.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InBatches<const KEPT: bool> {
    at: u64,
}

impl<const KEPT: bool> Job for OneByOne<KEPT> {
    const KIND: &'static str = if KEPT { "bench_noop" } else { "bench_noop_unkept" };
    const KEEPS_HISTORY: bool = KEPT;
    type State = Desk;

    async fn run(self, desk: &Desk, cx: JobContext) -> Result<Committed, JobError> {
        let note = desk.pen.begin(vec![(cx.id(), self.at)]);
        let result = match desk.commit {
            Commit::Batch => cx.complete_without_effects().await,
            Commit::PerJob => complete_by_itself(desk, cx).await,
        };
        note.end(&result);
        result
    }
}

impl<const KEPT: bool> BatchJob for InBatches<KEPT> {
    const KIND: &'static str = if KEPT { "bench_noop_batch" } else { "bench_noop_batch_unkept" };
    const KEEPS_HISTORY: bool = KEPT;
    type State = Desk;

    async fn run_batch(
        jobs: Vec<Self>,
        desk: &Desk,
        cx: BatchContext,
    ) -> Result<Committed, JobError> {
        let note = desk.pen.begin(cx.ids().zip(jobs.iter().map(|job| job.at)).collect());
        let result = complete_batch(desk, cx).await;
        note.end(&result);
        result
    }
}

async fn complete_by_itself(desk: &Desk, cx: JobContext) -> Result<Committed, JobError> {
    let mut tx = cx.begin().await?;
    if desk.effects {
        write_effects(&mut tx, &[(cx.id(), cx.fence())]).await?;
    }
    cx.complete(tx).await
}

async fn complete_batch(desk: &Desk, cx: BatchContext) -> Result<Committed, JobError> {
    let mut tx = cx.begin().await?;
    if desk.effects {
        let claims: Vec<_> = cx.claims().collect();
        write_effects(&mut tx, &claims).await?;
    }
    cx.complete(tx).await
}

/// The table of [`write_effects`]. It has no key: a job that took effect twice is to be seen.
pub(crate) const EFFECTS_TABLE: &str =
    "create table public.bench_effects (job_id bigint not null, fence bigint not null)";

async fn write_effects(
    conn: &mut PgConnection,
    claims: &[(JobId, Fence)],
) -> Result<(), sqlx::Error> {
    let (ids, fences): (Vec<i64>, Vec<i64>) =
        claims.iter().map(|(id, fence)| (id.0, fence.0)).unzip();
    sqlx::query(
        "insert into public.bench_effects (job_id, fence)
         select * from unnest($1::bigint[], $2::bigint[])",
    )
    .bind(ids)
    .bind(fences)
    .execute(conn)
    .await?;
    Ok(())
}

/// A job to be handled so, as enqueued now.
pub(crate) fn new_job(handling: Handling) -> Result<NewJob, QueueError> {
    let at = now_us();
    match (handling.handler, handling.keeps_history) {
        (Handler::Batch, true) => NewJob::new(&InBatches::<true> { at }),
        (Handler::Batch, false) => NewJob::new(&InBatches::<false> { at }),
        (Handler::OneByOne(_), true) => NewJob::new(&OneByOne::<true> { at }),
        (Handler::OneByOne(_), false) => NewJob::new(&OneByOne::<false> { at }),
    }
}

/// The one kind that such jobs are of.
pub(crate) fn registry(handling: Handling, pen: Pen, effects: bool) -> Registry<Desk> {
    let commit = match handling.handler {
        Handler::OneByOne(commit) => commit,
        Handler::Batch => Commit::Batch,
    };
    let registry = Registry::new(Desk { pen, commit, effects });
    match (handling.handler, handling.keeps_history) {
        (Handler::Batch, true) => registry.register_batch::<InBatches<true>>(),
        (Handler::Batch, false) => registry.register_batch::<InBatches<false>>(),
        (Handler::OneByOne(_), true) => registry.register::<OneByOne<true>>(),
        (Handler::OneByOne(_), false) => registry.register::<OneByOne<false>>(),
    }
}
