//! Actions: each has its effect, is kept with who and why, and says what it did.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::visitor::Visitor;
use crate::support::TestApi;

/// The latest entry of the audit log: actor, action and reason.
async fn audited(api: &TestApi) -> (String, String, Option<String>) {
    let sql = "select actor, action, reason from audit.entries order by seq desc limit 1";
    sqlx::query_as(sql).fetch_one(&api.pool).await.unwrap()
}

async fn enqueue(api: &TestApi, kind: &str) -> i64 {
    let sql = "select job_id from queue.enqueue($1, '{}', run_at => now() + interval '1 hour')";
    sqlx::query_scalar(sql).bind(kind).fetch_one(&api.pool).await.unwrap()
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
async fn a_job_is_run_now_cancelled_and_discarded() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    let due = "select count(*) from queue.jobs where run_at <= clock_timestamp()";
    for (action, audited_as, sql, told) in [
        ("run", "job.retry", due, "is due now"),
        (
            "cancel",
            "job.cancel",
            "select count(*) from queue.all_jobs where state = 'cancelled'",
            "is cancelled, and will not run again",
        ),
        (
            "discard",
            "job.discard",
            "select count(*) from queue.all_jobs where state = 'discarded'",
            "is discarded. Retry takes this back",
        ),
    ] {
        let job = enqueue(&api, "send_notice").await;
        let (page, path) = (format!("/ui/jobs/{job}"), format!("/ui/jobs/{job}/{action}"));
        let fields = [("reason", "a test"), ("back", page.as_str())];
        assert_eq!(visitor.act(&page, &path, &fields).await.status, 303, "{action}");
        assert_eq!(api.count(sql).await, 1, "{action}");
        assert_eq!(audited(&api).await.1, audited_as);
        let shown = visitor.get(&page).await.text;
        assert!(shown.contains(&format!("Job {job} {told}.")), "{shown}");
    }
    let missing = visitor.act("/ui/queues", "/ui/jobs/999999/cancel", &[("reason", "x")]).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn all_jobs_of_a_filter_are_changed_after_a_look_at_how_many() {
    let api = TestApi::start_with_open_pages().await;
    for _ in 0..3 {
        enqueue(&api, "send_notice").await;
    }
    enqueue(&api, "another").await;
    let mut visitor = Visitor::new(&api);
    let list = visitor.get("/ui/jobs?kind=send_notice").await.text;
    assert!(list.contains("/ui/jobs/bulk?kind=send_notice&#38;action=cancel"), "{list}");
    assert!(!visitor.get("/ui/jobs").await.text.contains("/ui/jobs/bulk"), "not for all there are");

    let path = "/ui/jobs/bulk?kind=send_notice&action=cancel";
    let preview = visitor.get(path).await.text;
    assert!(preview.contains("3 jobs"), "{preview}");
    let wrong = [("reason", "a test"), ("eligible", "3"), ("typed", "4")];
    assert_eq!(visitor.act(path, path, &wrong).await.status, 422);
    assert_eq!(api.count("select count(*) from queue.jobs where kind = 'send_notice'").await, 3);

    let right = [("reason", "a test"), ("eligible", "3"), ("typed", "3")];
    let begun = visitor.act(path, path, &right).await;
    assert_eq!(begun.status, 303, "{begun:?}");
    let place = begun.header("location").to_owned();
    assert!(place.starts_with("/ui/operations/"), "{place}");
    assert!(visitor.get(&place).await.text.contains("0 of 3"));
    assert_eq!(audited(&api).await.1, "bulk_operation.start");
    let cancelled = visitor.act(&place, &format!("{place}/cancel"), &[("reason", "enough")]).await;
    assert_eq!(cancelled.status, 303, "{cancelled:?}");
    assert!(visitor.get(&place).await.text.contains("enough"));
}

#[tokio::test]
async fn failures_are_one_line_each_and_lead_to_their_jobs() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    for _ in 0..2 {
        let job = enqueue(&api, "send_notice").await;
        let page = format!("/ui/jobs/{job}");
        visitor
            .act(&page, &format!("{page}/discard"), &[("reason", "no <such> mailbox 550")])
            .await;
    }
    let list = visitor.get("/ui/failures").await.text;
    let links: Vec<&str> = list.split("href=\"/ui/failures/").skip(1).collect();
    assert_eq!(links.len(), 1, "{list}");
    let fingerprint = links[0].split('"').next().unwrap();
    let one = visitor.get(&format!("/ui/failures/{fingerprint}")).await;
    assert_eq!(one.status, 200, "{one:?}");
    assert!(one.text.contains("&#60;such&#62;"), "{}", one.text);
    assert!(one.text.contains(&format!("fingerprint={fingerprint}&#38;action=retry")));
    let overview = visitor.get("/ui").await.text;
    assert!(overview.contains(&format!("/ui/failures/{fingerprint}")), "{overview}");
}

#[tokio::test]
async fn arguments_are_revealed_to_admins_after_an_entry_in_the_audit_log() {
    let api = TestApi::start().await;
    let job = enqueue(&api, "send_notice").await;
    let (page, path) = (format!("/ui/jobs/{job}"), format!("/ui/jobs/{job}/reveal"));
    let reason = [("reason", "a complaint")];
    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    assert_eq!(operator.act(&page, &path, &reason).await.status, 403);
    assert_eq!(
        api.count("select count(*) from audit.entries where action = 'job.reveal'").await,
        0
    );

    let mut admin = Visitor::with_key(&api, &key(&api, ActsAs::Admin).await).await;
    let revealed = admin.act(&page, &path, &reason).await;
    assert_eq!(revealed.status, 200, "{revealed:?}");
    assert!(revealed.text.contains("<pre>{}</pre>"), "{}", revealed.text);
    assert_eq!(audited(&api).await.1, "job.reveal");
}

/// The version that the form on the page of a job is for.
fn version(page: &str) -> String {
    let (_, rest) = page.split_once(r#"name="version" value=""#).expect("the form is there");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_arguments_of_a_job_are_edited_once_by_whoever_saw_them() {
    let api = TestApi::start().await;
    let mut visitor = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    let job = enqueue(&api, "send_report").await;
    let set = "update queue.jobs set args = '{\"to\": \"</textarea><b>\", \"n\": 1.10}'";
    sqlx::raw_sql(set).execute(&api.pool).await.unwrap();
    let page = format!("/ui/jobs/{job}");
    let shown = visitor.get(&page).await.text;
    assert!(shown.contains("&#60;/textarea&#62;&#60;b&#62;"), "{shown}");
    let version = version(&shown);

    let path = format!("{page}/args");
    let sent = async |visitor: &mut Visitor<'_>, args: &str| {
        let back = ("back", page.as_str());
        let fields = [("reason", "a typo"), ("version", version.as_str()), ("args", args), back];
        visitor.act(&page, &path, &fields).await
    };
    let wrong = sent(&mut visitor, "{\"to\"}").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("The arguments are no JSON"), "{}", wrong.text);
    let done = sent(&mut visitor, "{\r\n  \"to\": \"ann\",\r\n  \"n\": 1.10\r\n}").await;
    assert_eq!((done.status, done.header("location")), (303, page.as_str()), "{done:?}");
    let args = "select args::text from queue.jobs";
    let args: String = sqlx::query_scalar(args).fetch_one(&api.pool).await.unwrap();
    assert_eq!(args, r#"{"n": 1.10, "to": "ann"}"#);
    let (_, action, reason) = audited(&api).await;
    assert_eq!((action.as_str(), reason.as_deref()), ("job.edit", Some("a typo")));
    let after = visitor.get(&page).await.text;
    assert!(after.contains("has other arguments"), "it is told: {after}");
    assert!(after.contains("edit it again to take this back"), "and how it is undone: {after}");

    let late = sent(&mut visitor, "{\"to\": \"bob\"}").await;
    assert_eq!(late.status, 412, "it was for the arguments of before: {late:?}");
}

#[tokio::test]
async fn a_job_about_money_has_no_form_for_its_arguments() {
    let api = TestApi::start_with_open_pages().await;
    api.post(crate::support::event("txn_1")).await;
    let job = api.count("select id from queue.jobs").await;
    let page = api.get(&format!("/ui/jobs/{job}")).await.text;
    assert!(!page.contains(r#"name="args""#), "{page}");
}
