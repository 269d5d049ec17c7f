//! What was told long ago is dropped, and nothing that somebody still needs.

use serde_json::json;
use sqlx::PgPool;
use surety::events::{self, EventType, NewEvent};
use surety::ids::EventId;
use surety::jobs::history_keeper::{HistoryKeeper, Pruned};
use surety::operations::health::{Examine, Level, examine};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::support::{RETENTION, doubt_the_clock, trust_the_clock};

async fn prune(pool: &PgPool) -> Pruned {
    let keeper = HistoryKeeper { pool: pool.clone(), retention: RETENTION };
    keeper.prune().await.unwrap()
}

/// Events that happened so many days ago, in their order; gives their numbers.
async fn events_of(pool: &PgPool, days: &[i64]) -> Vec<i64> {
    let mut tx = pool.begin().await.unwrap();
    let new: Vec<NewEvent> = days
        .iter()
        .map(|days| NewEvent {
            id: EventId(Uuid::now_v7()),
            event_type: EventType::TransactionCompleted,
            subject: "txn_old".to_owned(),
            body: "{}".to_owned(),
            occurred_at: OffsetDateTime::now_utc() - time::Duration::days(*days),
            trace_context: None,
        })
        .collect();
    events::record(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    let newest = "select seq from events.events order by seq desc limit $1";
    let newest = sqlx::query_scalar(newest).bind(days.len() as i64);
    let mut seqs: Vec<i64> = newest.fetch_all(pool).await.unwrap();
    seqs.reverse();
    seqs
}

/// Has every reader take all that there is.
async fn take_all(pool: &PgPool) {
    let readers: Vec<String> =
        sqlx::query_scalar("select name from events.readers").fetch_all(pool).await.unwrap();
    for reader in readers {
        let mut tx = pool.begin().await.unwrap();
        events::take(&mut tx, &reader, 10_000).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// A delivery that ended so many days ago, with an attempt; or that is pending.
async fn delivery(pool: &PgPool, endpoint: &str, event: i64, made: i32, ended: Option<i32>) {
    sqlx::query(
        "with made as (
           insert into deliveries.deliveries
             (event_seq, endpoint_id, state, attempts, created_at, finished_at)
           select $1, $2::uuid,
             case when $4 is null then 'pending' else 'delivered' end::deliveries.state,
             1, now() - make_interval(days => $3), now() - make_interval(days => $4)
         )
         insert into deliveries.attempts (event_seq, endpoint_id, status, duration_ms, answer)
         values ($1, $2::uuid, 200, 1, '')",
    )
    .bind(event)
    .bind(endpoint)
    .bind(made)
    .bind(ended)
    .execute(pool)
    .await
    .unwrap();
}

async fn numbers(pool: &PgPool, statement: &'static str) -> Vec<i64> {
    sqlx::query_scalar(statement).fetch_all(pool).await.unwrap()
}

/// An API without a worker, and an endpoint.
async fn idle() -> (World, String) {
    let api = TestApi::start().await;
    let operator = Person::new(&api, Role::Operator).await;
    let world = World { api, worker: None, operator };
    let (endpoint, _) = world.endpoint(&world.operator, "http://127.0.0.1:9/", json!({})).await;
    (world, endpoint)
}

#[tokio::test]
async fn what_ended_long_ago_is_dropped_with_its_attempts_and_the_rest_is_kept() {
    let (world, endpoint) = idle().await;
    let pool = &world.api.pool;
    let seqs = events_of(pool, &[400, 400, 400, 400, 100, 10]).await;
    take_all(pool).await;
    delivery(pool, &endpoint, seqs[0], 400, Some(399)).await;
    // Pending, however old; asked for again lately; ended lately.
    delivery(pool, &endpoint, seqs[1], 400, None).await;
    delivery(pool, &endpoint, seqs[2], 400, Some(1)).await;
    delivery(pool, &endpoint, seqs[4], 100, Some(95)).await;
    delivery(pool, &endpoint, seqs[5], 10, Some(9)).await;

    let pruned = prune(pool).await;

    // The event of the first delivery goes with it, and the one that nobody wanted.
    assert_eq!(pruned, Pruned { deliveries: 2, events: 2, ..Pruned::default() });
    let kept = [seqs[1], seqs[2], seqs[5]];
    for statement in [
        "select event_seq from deliveries.deliveries order by event_seq",
        "select event_seq from deliveries.attempts order by event_seq",
    ] {
        assert_eq!(numbers(pool, statement).await, kept);
    }
    let kept = [seqs[1], seqs[2], seqs[4], seqs[5]];
    assert_eq!(numbers(pool, "select seq from events.events order by seq").await, kept);
    assert_eq!(prune(pool).await, Pruned::default(), "it was all");
}

#[tokio::test]
async fn more_than_a_step_is_dropped_behind_what_is_kept() {
    let (world, endpoint) = idle().await;
    let pool = &world.api.pool;
    let seqs = events_of(pool, &[400; 3_500]).await;
    take_all(pool).await;
    sqlx::query(
        "insert into deliveries.deliveries (event_seq, endpoint_id, state, created_at, finished_at)
         select seq, $1::uuid,
           case when is_ended then 'delivered' else 'pending' end::deliveries.state,
           now() - interval '400 days', case when is_ended then now() - interval '400 days' end
         from (
           select seq, row_number() over (order by seq) > 1500 as is_ended from events.events
         ) as event",
    )
    .bind(&endpoint)
    .execute(pool)
    .await
    .unwrap();

    let pruned = prune(pool).await;

    assert_eq!(pruned, Pruned { deliveries: 2_000, events: 2_000, ..Pruned::default() });
    assert_eq!(numbers(pool, "select max(seq) from events.events").await, [seqs[1_499]]);
}

#[tokio::test]
async fn an_event_that_a_reader_has_not_taken_is_kept_and_the_doctor_names_the_reader() {
    let (world, _) = idle().await;
    let pool = &world.api.pool;
    let mut tx = pool.begin().await.unwrap();
    events::take(&mut tx, "relay:gone", 1).await.unwrap();
    tx.commit().await.unwrap();
    events_of(pool, &[400]).await;
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(events::take(&mut tx, "announcements", 10).await.unwrap().len(), 1);
    tx.commit().await.unwrap();

    assert_eq!(prune(pool).await, Pruned::default());
    let report = examine(pool, Examine::default()).await.unwrap();
    let told: Vec<_> =
        report.findings.iter().filter(|finding| finding.check == "event-readers").collect();
    assert!(told.len() == 1 && told[0].level == Level::Warn, "{told:?}");
    assert!(told[0].found.contains("relay:gone"), "{told:?}");

    sqlx::query("delete from events.readers where name = 'relay:gone'")
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(prune(pool).await, Pruned { events: 1, ..Pruned::default() });
}

#[tokio::test]
async fn snapshots_are_dropped_once_every_reader_has_passed_them() {
    let (world, _) = idle().await;
    let pool = &world.api.pool;
    let mut tx = pool.begin().await.unwrap();
    events::take(&mut tx, "relay:slow", 1).await.unwrap();
    tx.commit().await.unwrap();
    events_of(pool, &[1; 1_100]).await;
    let count = async || {
        let count = sqlx::query_scalar("select count(*) from events.snapshots");
        let count: i64 = count.fetch_one(pool).await.unwrap();
        count
    };
    let kept = count().await;
    assert!(kept >= 2, "{kept}");
    let take = async |reader: &str| {
        let mut tx = pool.begin().await.unwrap();
        while !events::take(&mut tx, reader, 1_000).await.unwrap().is_empty() {}
        tx.commit().await.unwrap();
        prune(pool).await;
    };
    take("announcements").await;
    assert_eq!(count().await, kept);
    take("relay:slow").await;
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn nothing_drops_or_changes_an_event_that_is_young_or_needed() {
    let (world, endpoint) = idle().await;
    let pool = &world.api.pool;
    let seqs = events_of(pool, &[29, 400, 400]).await;
    let delete = "delete from events.events where seq = $1";
    let refused = async |statement: &'static str, seq: i64| {
        let refusal = sqlx::query(statement).bind(seq).execute(pool).await.unwrap_err();
        assert!(refusal.to_string().contains("what was told stays"), "{statement}: {refusal}");
    };
    for seq in &seqs {
        refused(delete, *seq).await;
    }
    take_all(pool).await;
    delivery(pool, &endpoint, seqs[1], 1, Some(0)).await;
    refused(delete, seqs[0]).await;
    refused(delete, seqs[1]).await;
    refused("update events.events set body = '' where seq = $1", seqs[2]).await;
    let refusal = sqlx::query("truncate events.events").execute(pool).await.unwrap_err();
    assert!(refusal.to_string().contains("what was told stays"), "{refusal}");
    sqlx::query(delete).bind(seqs[2]).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_reader_of_a_restored_database_needs_everything_until_it_has_read_again() {
    let (world, _) = idle().await;
    let pool = &world.api.pool;
    events_of(pool, &[400]).await;
    take_all(pool).await;
    sqlx::query("update events.readers set seen = '9000000000:9000000000:'")
        .execute(pool)
        .await
        .unwrap();

    assert_eq!(prune(pool).await, Pruned::default());
    take_all(pool).await;
    take_all(pool).await;
    assert_eq!(prune(pool).await, Pruned { events: 1, ..Pruned::default() });
}

#[tokio::test]
async fn a_list_goes_on_behind_a_delivery_that_was_dropped_meanwhile() {
    let (world, endpoint) = idle().await;
    let pool = &world.api.pool;
    let seqs = events_of(pool, &[400, 50, 40]).await;
    take_all(pool).await;
    delivery(pool, &endpoint, seqs[0], 50, None).await;
    delivery(pool, &endpoint, seqs[1], 100, Some(99)).await;
    delivery(pool, &endpoint, seqs[2], 40, Some(40)).await;
    let path = format!("/v1/webhook-endpoints/{endpoint}/deliveries?limit=1");
    let page = async |cursor: &Value| {
        let path = format!("{path}&cursor={}", cursor.as_str().unwrap());
        world.operator.get(&world.api, &path).await.json()
    };
    let first = world.operator.get(&world.api, &path).await.json();
    let second = page(&first["next_cursor"]).await;
    let dropped = second["deliveries"][0]["event_id"].as_str().unwrap().to_owned();

    assert_eq!(prune(pool).await.deliveries, 1);

    // Both the list that was about to show it and the one that goes on behind it.
    let last = page(&second["next_cursor"]).await;
    assert_eq!(last["deliveries"][0]["state"], "pending");
    assert_eq!(page(&first["next_cursor"]).await["deliveries"], last["deliveries"]);
    let one = format!("/v1/webhook-endpoints/{endpoint}/deliveries/{dropped}");
    assert_eq!(world.operator.get(&world.api, &one).await.status, 404);
}

#[tokio::test]
async fn mails_and_bulk_operations_are_dropped_by_their_ends() {
    let (world, _) = idle().await;
    let pool = &world.api.pool;
    sqlx::raw_sql(
        "insert into notices.mails
           (event_id, user_id, subject_kind, subject_id, email, status, attempts, ended_at)
         select format('00000000-0000-7000-8000-%s', lpad(days::text, 12, '0'))::uuid,
           gen_random_uuid(), 'transfer', days::text, 'ada@example.com', 'switched_off', 1,
           now() - make_interval(days => days)
         from unnest(array[31, 29]) as days;
         insert into operations.bulk_operations
           (action, filter, filter_text, newest, eligible, eligible_is_more, sample, jobs_left,
            made_by, reason, state, finished_at)
         select 'cancel', '{}', '', 1, 1, false, '[]', 0, 'ada', 'why',
           state::operations.bulk_state, finished_at
         from (
           values
             ('completed', now() - interval '366 days'),
             ('completed', now() - interval '364 days'),
             ('running', null)
         ) as operation (state, finished_at)",
    )
    .execute(pool)
    .await
    .unwrap();

    let pruned = prune(pool).await;

    assert_eq!(pruned, Pruned { mails: 1, operations: 1, ..Pruned::default() });
    let kept: Vec<String> =
        sqlx::query_scalar("select subject_id from notices.mails").fetch_all(pool).await.unwrap();
    assert_eq!(kept, ["29"]);
    assert_eq!(numbers(pool, "select count(*) from operations.bulk_operations").await, [2]);
}

#[tokio::test]
async fn nothing_is_dropped_while_the_clock_is_in_doubt() {
    let (world, endpoint) = idle().await;
    let pool = &world.api.pool;
    let seqs = events_of(pool, &[400, 400]).await;
    take_all(pool).await;
    delivery(pool, &endpoint, seqs[0], 400, Some(399)).await;
    doubt_the_clock(pool).await;

    assert_eq!(prune(pool).await, Pruned::default());
    trust_the_clock(pool).await;
    assert_eq!(prune(pool).await, Pruned { deliveries: 1, events: 2, ..Pruned::default() });
}
