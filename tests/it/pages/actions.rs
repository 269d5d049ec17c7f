//! Actions: each has its effect, is kept with who and why, and says what it did.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::visitor::Visitor;
use crate::support::TestApi;

/// The latest entry of the audit log: actor, action and reason.
async fn audited(api: &TestApi) -> (String, String, Option<String>) {
    sqlx::query_as("select actor, action, reason from audit.entries order by recorded_at desc limit 1")
        .fetch_one(&api.pool)
        .await
        .unwrap()
}

async fn enqueue(api: &TestApi, kind: &str) -> i64 {
    sqlx::query_scalar("select job_id from queue.enqueue($1, '{}', run_at => now() + interval '1 hour')")
        .bind(kind)
        .fetch_one(&api.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_with_who_and_why() {
    let api = TestApi::start().await;
    let mut visitor = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    let without = visitor.act("/ui/queues", "/ui/queues/mail/pause", &[]).await;
    assert_eq!(without.status, 422, "a pause has a reason");

    let fields = [("reason", "the server is <down>"), ("back", "/ui/queues/mail")];
    let answer = visitor.act("/ui/queues/mail", "/ui/queues/mail/pause", &fields).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/ui/queues/mail"));
    let (actor, action, reason) = audited(&api).await;
    assert!(actor.starts_with("key:"), "{actor}");
    assert_eq!((action.as_str(), reason.as_deref()), ("queue.pause", Some("the server is <down>")));

    let page = visitor.get("/ui/queues/mail").await.text;
    assert!(page.contains("Queue mail: paused."), "it is told once: {page}");
    assert!(page.contains("the server is &#60;down&#62;"), "{page}");
    assert!(!visitor.get("/ui/queues/mail").await.text.contains("Queue mail: paused."));

    visitor.act("/ui/queues/mail", "/ui/queues/mail/resume", &[]).await;
    assert_eq!(audited(&api).await.1, "queue.resume");
    assert_eq!(api.count("select count(*) from queue.pauses").await, 0);
}

#[tokio::test]
async fn all_queues_are_paused_together() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    let reason = [("reason", "a restore")];
    visitor.act("/ui/queues", "/ui/queues/%2A/pause", &reason).await;
    assert_eq!(audited(&api).await.0, "page:local");
    assert!(visitor.get("/ui/queues").await.text.contains("All queues are paused since"));
    visitor.act("/ui/queues", "/ui/queues/%2A/resume", &[]).await;
    assert_eq!(api.count("select count(*) from queue.pauses").await, 0);
}

#[tokio::test]
async fn a_queue_gets_limits_as_people_write_them() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    let path = "/ui/queues/mail/limits";
    let wrong = visitor.act("/ui/queues/mail", path, &[("rate", "many")]).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("a number and a period"), "{}", wrong.text);
    let set = [("max_running", "5"), ("rate", "100/1m")];
    assert_eq!(visitor.act("/ui/queues/mail", path, &set).await.status, 303);
    let page = visitor.get("/ui/queues/mail").await.text;
    assert!(page.contains(r#"name="max_running" inputmode="numeric" pattern="[0-9]+" value="5""#));
    assert!(page.contains(r#"name="rate" value="100/1m""#), "{page}");
}

#[tokio::test]
async fn a_job_is_cancelled_run_now_and_discarded() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    let reason = [("reason", "a test")];
    for (action, sql, told) in [
        ("retry", "select count(*) from queue.jobs where run_at <= clock_timestamp()", "is due now"),
        ("cancel", "select count(*) from queue.all_jobs where state = 'cancelled'", "is cancelled"),
        ("discard", "select count(*) from queue.all_jobs where state = 'discarded'", "is discarded"),
    ] {
        let job = enqueue(&api, "send_notice").await;
        let (page, path) = (format!("/ui/jobs/{job}"), format!("/ui/jobs/{job}/{action}"));
        let fields = [reason[0], ("back", page.as_str())];
        assert_eq!(visitor.act(&page, &path, &fields).await.status, 303, "{action}");
        assert_eq!(api.count(sql).await, 1, "{action}");
        assert_eq!(audited(&api).await.1, format!("job.{action}"));
        let shown = visitor.get(&page).await.text;
        assert!(shown.contains(&format!("Job {job} {told}.")), "{shown}");
    }
    let missing = visitor.act("/ui/queues", "/ui/jobs/999999/cancel", &reason).await;
    assert_eq!(missing.status, 404);
}
