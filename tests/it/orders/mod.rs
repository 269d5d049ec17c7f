//! Orders: whatever is placed, executed, failed and tried again, alone, at once or after a crash,
//! no money is lost, made or promised twice (G3, G7).

mod api_races;
mod giving_up;
mod model;
mod placement;
mod races;
mod sequences;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::PgPool;
use surety::operations::verify;
use tokio::sync::Barrier;

use crate::support::TestDb;

/// Begins all of these at the same moment; what became of them, in their order.
async fn at_once<T: Send + 'static>(tasks: Vec<BoxFuture<'static, T>>) -> Vec<T> {
    let start = Arc::new(Barrier::new(tasks.len()));
    let mut running = Vec::new();
    for task in tasks {
        let start = Arc::clone(&start);
        running.push(tokio::spawn(async move {
            start.wait().await;
            task.await
        }));
    }
    let mut outcomes = Vec::new();
    for task in running {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// How many outcomes are like this one.
fn times<T: PartialEq>(outcomes: &[T], wanted: &T) -> usize {
    outcomes.iter().filter(|outcome| *outcome == wanted).count()
}

/// Connections for so many at once.
async fn wide_pool(db: &TestDb, connections: u32) -> PgPool {
    surety::db::connect(&db.url, connections, "test").await.unwrap()
}

/// Everything that `app verify` checks holds.
async fn assert_all_holds(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    for invariant in verify::invariants() {
        let finding = invariant.check(&mut conn).await.unwrap();
        assert_eq!(finding.violations, 0, "{}: {:?}", invariant.claim, finding.samples);
    }
}

/// The same of the money alone, for orders that were placed without their jobs.
async fn assert_money_holds(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    let of_orders = surety::payments::orders::verify::INVARIANTS;
    for invariant in surety::payments::verify::INVARIANTS.iter().chain(of_orders) {
        let finding = invariant.check(&mut conn).await.unwrap();
        assert_eq!(finding.violations, 0, "{}: {:?}", invariant.claim, finding.samples);
    }
}
