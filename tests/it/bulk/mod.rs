//! Bulk operations: what they count, what they change, and what is left when somebody kills or
//! cancels them.

mod api;
mod kills;
mod rules;

use sqlx::PgPool;
use surety::operations::bulk::{self, BulkOperationId, BulkView, JobAction, NewBulk};
use surety::operations::jobs::JobSelection;
use surety::operations::{Actor, Identity, Mode};
use surety::queue::JobState;

use crate::support::ledger::run_jobs;

fn actor() -> Actor {
    Actor { identity: Identity::command_line("ada"), reason: "case 1".parse().unwrap() }
}

fn in_states(states: &[JobState]) -> JobSelection {
    JobSelection { states: states.to_vec(), ..JobSelection::default() }
}

fn new(action: JobAction, selection: JobSelection, mode: Mode) -> NewBulk {
    NewBulk { action, selection, limit: None, mode }
}

async fn start(pool: &PgPool, action: JobAction, selection: JobSelection) -> BulkOperationId {
    let begun = bulk::start(pool, new(action, selection, Mode::Commit), &actor()).await.unwrap();
    begun.id.unwrap()
}

async fn find(pool: &PgPool, id: BulkOperationId) -> BulkView {
    bulk::find(&mut pool.acquire().await.unwrap(), id).await.unwrap().unwrap()
}

/// Carries it out in this process, to its end.
async fn carry_out(pool: &PgPool, id: BulkOperationId) -> BulkView {
    run_jobs(pool).await;
    find(pool, id).await
}

/// Discarded jobs of a kind that nobody knows, whose errors say the same but for a number.
async fn give_up(pool: &PgPool, jobs: i64) {
    sqlx::query(
        "with job as (
           insert into queue.finished_jobs
             (id, queue, kind, priority, attempt, max_attempts, crash_count, state, run_at,
              enqueued_at, args, failure)
           select nextval(pg_get_serial_sequence('queue.jobs', 'id')), 'default', 'other', 2, 1, 1,
             0, 'discarded', now(), now(), '{}', queue.failure_of('other', 'refused by host 7')
           from generate_series(1, $1)
           returning id
         )
         insert into queue.attempts
           (job_id, attempt, fence, worker_id, started_at, outcome, error)
         select id, 1, nextval('queue.fence'), gen_random_uuid(), now(), 'discarded',
           format('refused by host %s', id)
         from job",
    )
    .bind(jobs)
    .execute(pool)
    .await
    .unwrap();
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}
