//! Numbers in arguments keep all their digits, whoever touches the arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use surety_queue::groups::Batch;
use surety_queue::operate::discarded::{self, Decision, Filter, redrive};
use surety_queue::operate::interventions::{ArgsChange, InterventionRefusal, edit};
use surety_queue::operate::list::list;
use surety_queue::operate::{ArgsMatch, JobFilter};
use surety_queue::{
    InvalidJob, JobId, JsonText, NewJob, QueueError, Unique, enqueue, enqueue_many,
};

use super::kinds::{count, database, job};

const EXACT: &str = r#"{"a": 1.10, "b": 12345678901234567890.12, "c": [1.0, {"d": 100000}]}"#;
/// The same as it is shown.
const SHOWN: &str = r#"{"a":1.10,"b":12345678901234567890.12,"c":[1.0,{"d":100000}]}"#;
const ADA: Decision<'_> = Decision { by: "ada", reason: "why" };

fn exact() -> NewJob {
    NewJob::raw("k", EXACT.parse::<JsonText>().unwrap())
}

async fn args_of(pool: &PgPool, id: JobId) -> String {
    sqlx::query_scalar("select args::text from queue.all_jobs where id = $1")
        .bind(id)
        .fetch_one(pool)
        .await
        .unwrap()
}

async fn changed(pool: &PgPool, id: JobId, change: ArgsChange) -> Result<(), InterventionRefusal> {
    let mut tx = pool.begin().await.unwrap();
    let edited = edit(&mut tx, id, change, ADA).await.unwrap();
    tx.commit().await.unwrap();
    edited.map(drop)
}

fn fields(set: &[(&str, &str)], unset: &[&str]) -> ArgsChange {
    let set: BTreeMap<String, JsonText> =
        set.iter().map(|(field, value)| ((*field).to_owned(), value.parse().unwrap())).collect();
    ArgsChange::Fields { set, unset: unset.iter().map(|field| (*field).to_owned()).collect() }
}

#[tokio::test]
async fn every_way_in_and_out_keeps_all_digits() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let one = enqueue(&mut conn, exact()).await.unwrap().id();
    let both = enqueue_many(&mut conn, &[exact(), exact()]).await.unwrap();
    let unique = Unique::by_fields(&["b"]).lasting(Duration::from_secs(60));
    let other = enqueue(&mut conn, exact().unique(unique.clone())).await.unwrap();
    let again = enqueue(&mut conn, exact().unique(unique.clone())).await.unwrap();
    assert_eq!(again.id(), other.id());
    let nearly = EXACT.replace(".12", ".13").parse::<JsonText>().unwrap();
    let nearly = enqueue(&mut conn, NewJob::raw("k", nearly).unique(unique)).await.unwrap();
    assert!(!nearly.is_existing(), "they differ in their last digit");
    let batch = Batch::new().on_done(exact().delay(Duration::from_secs(60)));
    batch.enqueue(&mut conn, Vec::new()).await.unwrap();
    sqlx::query("select queue.settle_batches(array(select id from queue.batches))")
        .execute(&db.pool)
        .await
        .unwrap();
    let exactly = "select count(*) from queue.jobs where args::text = '{\"a\": 1.10, \"b\": \
                   12345678901234567890.12, \"c\": [1.0, {\"d\": 100000}]}'";
    assert_eq!(count(&db.pool, exactly).await, 5);

    for id in [one, both[0].id(), other.id()] {
        let found = job(&db.pool, id).await;
        assert_eq!((found.args.get(), found.stored_args.as_json().get()), (SHOWN, SHOWN));
    }
    let filter = JobFilter {
        args: vec![ArgsMatch::new("b", "12345678901234567890.12")],
        ..JobFilter::default()
    };
    let page = list(&mut conn, &filter, None, 10).await.unwrap();
    assert_eq!(page.jobs.len(), 5, "that with another last digit is none of them");
    assert!(page.jobs.iter().all(|job| job.args.get() == SHOWN));
    let written = serde_json::to_string(&page.jobs).unwrap();
    assert_eq!(written.matches("12345678901234567890.12").count(), 5);
}

#[tokio::test]
async fn an_edit_changes_nothing_but_what_it_names() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let waiting = enqueue(&mut conn, exact()).await.unwrap().id();
    let discarded = enqueue(&mut conn, exact()).await.unwrap().id();
    sqlx::query("select queue.discard_waiting(array[$1::bigint], 'ada', 'why')")
        .bind(discarded)
        .execute(&db.pool)
        .await
        .unwrap();
    for id in [waiting, discarded] {
        changed(&db.pool, id, fields(&[("x", "2"), ("y", "0.10")], &["c"])).await.unwrap();
        let now = r#"{"a": 1.10, "b": 12345678901234567890.12, "x": 2, "y": 0.10}"#;
        assert_eq!(args_of(&db.pool, id).await, now);
        let detail = job(&db.pool, id).await.interventions.last().unwrap().detail.clone().unwrap();
        let now = now.replace(' ', "");
        assert_eq!(detail.fields()["old"].get(), SHOWN);
        assert_eq!(detail.fields()["new"].get(), now);
        let replaced = ArgsChange::Replace("{\"z\":1.50}".parse().unwrap());
        changed(&db.pool, id, replaced).await.unwrap();
        assert_eq!(args_of(&db.pool, id).await, "{\"z\": 1.50}");
        changed(&db.pool, id, ArgsChange::Replace("7.0".parse().unwrap())).await.unwrap();
        changed(&db.pool, id, fields(&[("b", "1e3")], &["a"])).await.unwrap();
        assert_eq!(args_of(&db.pool, id).await, "{\"b\": 1000}", "what is no object becomes one");
    }
    let listed = discarded::list(&mut conn, &Filter::default(), None, 10).await.unwrap();
    assert_eq!(listed[0].args.get(), "{\"b\":1000}");
    let _done = redrive(&mut conn, discarded, ADA).await.unwrap();
    assert_eq!(args_of(&db.pool, discarded).await, "{\"b\": 1000}");
}

#[tokio::test]
async fn an_edit_meets_the_bounds_of_new_arguments() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let waiting = enqueue(&mut conn, exact()).await.unwrap().id();
    let discarded = enqueue(&mut conn, exact()).await.unwrap().id();
    sqlx::query("select queue.discard_waiting(array[$1::bigint], 'ada', 'why')")
        .bind(discarded)
        .execute(&db.pool)
        .await
        .unwrap();
    let long = format!("\"{}\"", "x".repeat(300_000));
    // What is refused leaves the caller's transaction as it was.
    let mut conn = db.pool.begin().await.unwrap();
    for id in [waiting, discarded] {
        let change = fields(&[("pad", &long)], &[]);
        let refused = edit(&mut conn, id, change, ADA).await.unwrap_err();
        assert!(matches!(refused, QueueError::ArgsTooLong { .. }), "{refused:?}");
        let by_position = ArgsChange::Replace("[1]".parse().unwrap());
        let refused = edit(&mut conn, id, by_position, ADA).await.unwrap_err();
        assert!(matches!(refused, QueueError::InvalidJob(InvalidJob::List)), "{refused:?}");
        let nul = ArgsChange::Replace(json!({ "a": "\0" }).into());
        let refused = edit(&mut conn, id, nul, ADA).await.unwrap_err();
        assert!(matches!(refused, QueueError::InvalidJob(InvalidJob::Args(_))), "{refused:?}");
        assert_eq!(args_of(&db.pool, id).await, EXACT);
    }
    conn.commit().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.interventions").await, 1);
}
