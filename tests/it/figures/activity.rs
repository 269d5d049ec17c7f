//! Stored activity as operators read it.

use std::time::Duration;

use surety::jobs::{self, Services};
use surety::operations::activity::{self, Span};
use surety::operations::verify;
use surety::queue::{Worker, WorkerSettings};

use crate::support::{App, Binary as _, TestApi, TestDb, event};

#[tokio::test]
async fn webhooks_are_counted_by_their_answer_and_stored_when_the_process_ends() {
    let mut api = TestApi::start().await;
    for id in ["a", "b", "a"] {
        api.post(event(id)).await;
    }
    api.post("no json").await;
    api.stop().await;

    let mut conn = api.pool.acquire().await.unwrap();
    for span in [Span::Hour, Span::Day, Span::Week] {
        let points = activity::intake(&mut conn, span).await.unwrap();
        assert_eq!(points.len(), usize::from(span.points()));
        let sum = |of: fn(&activity::IntakePoint) -> i64| points.iter().map(of).sum::<i64>();
        let counted = (sum(|it| it.accepted), sum(|it| it.duplicate), sum(|it| it.refused));
        assert_eq!(counted, (2, 1, 1), "{span:?}");
    }
    let silences = activity::silences(&mut conn).await.unwrap();
    assert_eq!(silences.len(), 1);
    assert!(silences[0].since < Duration::from_secs(60), "{silences:?}");
}

#[tokio::test]
async fn a_batch_of_webhooks_that_is_sent_again_is_added_once() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let process = uuid::Uuid::now_v7();
    let counts = [activity::IntakeCount {
        age_secs: 5.0,
        last_age_secs: 1.0,
        source: "transactions".to_owned(),
        outcome: "accepted",
        webhooks: 3,
    }];
    for number in [1, 1, 2] {
        activity::record_intake(&mut conn, process, number, &counts).await.unwrap();
    }
    let points = activity::intake(&mut conn, Span::Hour).await.unwrap();
    assert_eq!(points.iter().map(|it| it.accepted).sum::<i64>(), 6);
}

#[tokio::test]
async fn ended_attempts_are_there_for_all_spans() {
    let api = TestApi::start().await;
    api.post(event("a")).await;
    let registry = jobs::registry(Services::of_database(api.pool.clone()));
    let worker = Worker::new(api.pool.clone(), registry, WorkerSettings::default()).unwrap();
    worker.run_until_idle().await.unwrap();
    worker.record_activity().await.unwrap();

    let mut conn = api.pool.acquire().await.unwrap();
    for span in [Span::Hour, Span::Day, Span::Week] {
        let kind = Some("settle_transaction");
        let points = activity::jobs(&mut conn, span, None, kind).await.unwrap();
        assert_eq!(points.len(), usize::from(span.points()));
        let with_jobs: Vec<_> = points.iter().filter(|point| point.completed > 0).collect();
        let [point] = with_jobs.as_slice() else { panic!("{with_jobs:?}") };
        assert_eq!((point.completed, point.retried, point.discarded), (1, 0, 0));
        assert!(point.run.p50.is_some_and(|secs| secs > 0.0), "{point:?}");
        let others = activity::jobs(&mut conn, span, Some("nowhere"), None).await.unwrap();
        assert!(others.iter().all(|point| point.completed == 0 && point.wait.p99.is_none()));
    }
    let depths = activity::depth(&mut conn, Span::Week, None).await.unwrap();
    assert_eq!(depths.len(), 168);
}

#[tokio::test]
async fn a_span_that_there_is_not_is_refused() {
    let api = TestApi::start().await;
    let answer = api.get("/v1/activity?span=1y").await;
    assert_eq!(answer.status, 401, "strangers learn nothing");
    assert!("1y".parse::<Span>().is_err());
    for span in [Span::Hour, Span::Day, Span::Week] {
        assert_eq!(span.as_str().parse(), Ok(span));
    }
}

#[tokio::test]
async fn the_result_of_a_verification_is_kept() {
    let db = TestDb::new().await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(verify::last(&mut conn).await.unwrap().is_none());
    let run = async || App::command(["verify"]).env("DATABASE_URL", &db.url).run().await;
    assert!(run().await.0.success());

    let last = verify::last(&mut conn).await.unwrap().unwrap();
    assert!(last.ok && last.violations == 0 && last.broken.is_empty(), "{last:?}");

    // A job that nobody's transaction is about.
    sqlx::query(
        "insert into queue.jobs (kind, args) values ('settle_transaction', '{\"transaction\": 7}')",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    assert_eq!(run().await.0.code(), Some(1));
    let last = verify::last(&mut conn).await.unwrap().unwrap();
    assert!(!last.ok && last.violations >= 1, "{last:?}");
    assert_eq!(last.broken.iter().map(|it| it.rows).sum::<i64>(), last.violations);
}
