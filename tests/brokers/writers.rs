//! Those who write events while something is broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety::events::{self, EventType, NewEvent};
use surety::ids::EventId;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Accounts, each with one writer at a time, as its lock sees to it.
pub(crate) const ACCOUNTS: usize = 8;

/// Writers, until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<u64>,
}

/// An event about an account, the `number`-th from 0.
pub(crate) fn event(account: usize, number: u64) -> NewEvent {
    let event_type = EventType::ALL[number as usize % 4];
    let data = json!({ "source_account": format!("account-{account}"), "number": number });
    let body = json!({ "type": event_type.as_str(), "timestamp": "t", "data": data });
    NewEvent {
        id: EventId(Uuid::now_v7()),
        event_type,
        subject: format!("transaction:{number}"),
        body: body.to_string(),
        occurred_at: OffsetDateTime::now_utc(),
        trace_context: None,
    }
}

impl Writers {
    /// Starts one for each account. Their commits overlap, so that numbers are committed in another
    /// order than they were given.
    pub(crate) fn start(pool: &PgPool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for account in 0..ACCOUNTS {
            tasks.spawn(write(pool.clone(), account, Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Stops them; the number of events that they have written.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().sum()
    }
}

async fn write(pool: PgPool, account: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let batch: Vec<NewEvent> = (0..4).map(|it| event(account, written + it)).collect();
        while !is_written(&pool, &batch).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        written += batch.len() as u64;
    }
    written
}

/// False when the database has none of them.
async fn is_written(pool: &PgPool, batch: &[NewEvent]) -> bool {
    let wrote: sqlx::Result<()> = async {
        let mut tx = pool.begin().await?;
        events::record(&mut tx, batch).await?;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..200))).await;
        tx.commit().await
    }
    .await;
    if wrote.is_ok() {
        return true;
    }
    // The commit may have been the last thing that the server did.
    loop {
        let found = async { events::find(&mut *pool.acquire().await?, batch[0].id).await };
        match found.await {
            Ok(found) => return found.is_some(),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
