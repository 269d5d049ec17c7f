//! The connections of runs: they go from one run to the next, and none that is lost costs an
//! attempt.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgPool};
use surety_postgres::connect;
use surety_postgres::testing::Proxy;
use surety_queue::{
    Backoff, Committed, Job, JobContext, JobError, NewJob, Registry, Worker, WorkerSettings,
    WorkerSummary, enqueue,
};

use super::kinds::count;
use super::support::{TestDb, eventually_async};

/// Has two transactions, does something to the connection between them, and notes the connections
/// of both.
#[derive(Serialize, Deserialize)]
struct Steps(Act);

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Act {
    Nothing,
    /// Ends the session that the first one had.
    EndSession,
    /// Loses the `BEGIN` of the second one on its way.
    LoseBegin,
    /// Undoes a part of what the second one writes.
    UndoAPart,
    /// Gives up the beginning of a part of the second one, in the first attempt.
    GiveUpAPart,
}

#[derive(Clone)]
struct Office {
    admin: PgPool,
    network: Arc<Proxy>,
}

impl Job for Steps {
    const KIND: &'static str = "steps";
    const BACKOFF: Backoff = Backoff { base: Duration::ZERO, ..Backoff::DEFAULT };
    type State = Office;

    async fn run(self, office: &Office, cx: JobContext) -> Result<Committed, JobError> {
        let mut tx = cx.begin().await?;
        let first: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        match self.0 {
            Act::EndSession => {
                let end = "select pg_terminate_backend($1, 5000)";
                sqlx::query(end).bind(first).execute(&office.admin).await?;
            }
            Act::LoseBegin => office.network.swallow("BEGIN"),
            Act::Nothing | Act::UndoAPart | Act::GiveUpAPart => {}
        }
        let note = "insert into public.steps (attempt, first, second)
            values ($1, $2, pg_backend_pid())";
        let note = || sqlx::query(note).bind(cx.attempt()).bind(first);
        let mut tx = cx.begin().await?;
        note().execute(&mut *tx).await?;
        match self.0 {
            Act::UndoAPart => {
                let mut part = tx.begin().await?;
                note().execute(&mut *part).await?;
                part.rollback().await?;
            }
            Act::GiveUpAPart if cx.attempt() == 1 => {
                assert!(poll_immediate(tx.begin()).await.is_none());
            }
            _ => {}
        }
        cx.complete(tx).await
    }
}

struct Ran {
    db: TestDb,
    pool: PgPool,
    network: Arc<Proxy>,
    summary: WorkerSummary,
}

/// Runs these one after another, over a network of their own.
async fn run(acts: &[Act]) -> Ran {
    let db = TestDb::new().await;
    let table = "create table public.steps (
        id bigint generated always as identity, attempt smallint, first int, second int
    )";
    sqlx::query(table).execute(&db.pool).await.unwrap();
    let network = Arc::new(Proxy::start(&db.url).await);
    let pool = connect(&network.url(&db.url), 4, "test").await.unwrap();
    // The pool hands them out in turn.
    let others = join_all((0..4).map(|_| pool.acquire())).await;
    drop(others);
    for act in acts {
        let mut conn = db.pool.acquire().await.unwrap();
        enqueue(&mut conn, NewJob::new(&Steps(*act)).unwrap()).await.unwrap();
    }
    let office = Office { admin: db.pool.clone(), network: Arc::clone(&network) };
    let registry = Registry::new(office).register::<Steps>();
    let settings = WorkerSettings { concurrency: 1, ..WorkerSettings::default() };
    let worker = Worker::new(pool.clone(), registry, settings).unwrap();
    let summary = worker.run_until_idle().await.unwrap();
    assert_eq!(summary.completed, acts.len() as u64);
    Ran { db, pool, network, summary }
}

#[tokio::test]
async fn transactions_that_follow_each_other_share_a_connection_and_the_pool_gets_it_back() {
    let ran = run(&[Act::Nothing; 20]).await;

    let shared = "select count(*) from public.steps where first = second";
    let shared = count(&ran.db.pool, shared).await;
    // A connection goes back to the pool after a while, and when this test does not get to run.
    assert!(shared > 10, "{shared} of 20");
    eventually_async("all connections are the pool's again", async || {
        ran.pool.num_idle() == ran.pool.size() as usize
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_was_lost_between_two_transactions_costs_no_attempt() {
    use Act::{EndSession, LoseBegin, Nothing};
    let ran = run(&[Nothing, EndSession, LoseBegin, EndSession]).await;

    assert!(ran.network.has_swallowed());
    assert_eq!(ran.summary.failed, 0);
    assert_eq!(count(&ran.db.pool, "select count(*) from public.steps").await, 4);
}

#[tokio::test]
async fn a_transaction_inside_that_of_a_run_is_a_savepoint() {
    let ran = run(&[Act::UndoAPart, Act::Nothing]).await;
    assert_eq!(count(&ran.db.pool, "select count(*) from public.steps").await, 2);
}

#[tokio::test]
async fn a_run_that_gave_up_the_beginning_of_a_part_completes_nothing() {
    let ran = run(&[Act::GiveUpAPart, Act::Nothing]).await;
    assert_eq!(ran.summary.failed, 1);
    assert_eq!(count(&ran.db.pool, "select count(*) from public.steps").await, 2);
    assert_eq!(count(&ran.db.pool, "select sum(attempt) from public.steps").await, 3);
}
