//! What a broker was told, against what the database has.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::PgPool;
use surety::events;
use time::OffsetDateTime;

/// A message as a broker has it.
pub(crate) struct Told {
    /// The id by which a second one is known.
    pub(crate) id: String,
    pub(crate) event: Value,
}

/// The ids of all events, in the order of their numbers.
pub(crate) async fn ids(pool: &PgPool) -> Vec<String> {
    let mut conn = pool.acquire().await.unwrap();
    let (mut ids, mut after) = (Vec::new(), 0);
    loop {
        let page = events::since(&mut conn, OffsetDateTime::UNIX_EPOCH, (after, i64::MAX), 1000);
        let page = page.await.unwrap();
        let Some(last) = page.last() else { return ids };
        after = last.seq;
        ids.extend(page.iter().map(|event| format!("evt_{}", event.id.0.simple())));
    }
}

/// Asserts that none is lost, that repeats are repeats, and that the first occurrences of the
/// events of each account are in their order. Gives the number of repeats.
pub(crate) async fn assert_all_told_in_order(pool: &PgPool, told: &[Told]) -> usize {
    let mut first: HashMap<&str, &Value> = HashMap::new();
    let mut next: HashMap<&str, u64> = HashMap::new();
    for message in told {
        assert_eq!(message.event["id"], message.id);
        if let Some(known) = first.insert(&message.id, &message.event) {
            assert_eq!(known, &message.event);
            continue;
        }
        let account = message.event["partitionkey"].as_str().unwrap();
        let number = message.event["data"]["number"].as_u64().unwrap();
        let next = next.entry(account).or_default();
        assert_eq!(number, *next, "{account}");
        *next += 1;
    }
    let written = ids(pool).await;
    let lost: Vec<&String> = written.iter().filter(|id| !first.contains_key(id.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), written.len());
    assert_eq!(first.len(), written.len());
    told.len() - first.len()
}
