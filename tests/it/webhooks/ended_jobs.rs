//! Deliveries whose job is ended by somebody else than the endpoint's answers.

use serde_json::json;
use surety::queue::JobId;

use super::*;
use crate::support::{App, Binary as _};

/// An endpoint that does not take anything yet, with one delivery that waits for its next attempt.
struct Waiting {
    world: World,
    inbox: Inbox,
    admin: Person,
    endpoint: String,
    event: String,
    job: JobId,
}

impl Waiting {
    async fn new() -> Self {
        let world = World::with_retries("1h,1h").await;
        let inbox = Inbox::answering(|n, _| Some(if n < 1 { 500 } else { 200 })).await;
        let admin = Person::new(&world.api, Role::Admin).await;
        let (endpoint, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
        let event = test_event(&world, &endpoint).await;
        let deadline = Instant::now() + PATIENCE;
        let waits = "select id from queue.jobs
                     where kind = 'deliver_webhook' and not running and attempt = 1";
        let job = loop {
            let found: Option<i64> =
                sqlx::query_scalar(waits).fetch_optional(&world.api.pool).await.unwrap();
            if let Some(job) = found {
                break JobId(job);
            }
            assert!(Instant::now() < deadline, "it does not wait for its next attempt");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { world, inbox, admin, endpoint, event, job }
    }

    /// The reason of the delivery's failure.
    async fn reason(&self) -> Value {
        let failed = self.world.delivery(&self.endpoint, &self.event, "failed").await;
        assert!(!failed["delivery"]["finished_at"].is_null(), "{failed}");
        failed["delivery"]["reason"].clone()
    }

    /// Asks for the delivery again, which takes it this time.
    async fn is_sent_again(&self) {
        let (endpoint, event) = (&self.endpoint, &self.event);
        let path = format!("/v1/webhook-endpoints/{endpoint}/deliveries/{event}/retry");
        let answer = post(&self.world.api, &self.world.operator, &path, &json!({})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        self.world.delivery(endpoint, event, "delivered").await;
        assert!(self.inbox.seen().iter().all(|seen| seen.id() == *event));
    }

    async fn post(&self, path: &str, body: Value) {
        let answer = post(&self.world.api, &self.admin, path, &body).await;
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    }

    async fn execute(&self, statement: &'static str) {
        let done = sqlx::query(statement).bind(self.job.0).execute(&self.world.api.pool).await;
        done.unwrap();
    }
}

#[tokio::test]
async fn a_delivery_whose_job_is_cancelled_has_failed_and_is_sent_again_when_asked() {
    let by_http = Waiting::new().await;
    let path = format!("/v1/jobs/{}/cancel", by_http.job);
    by_http.post(&path, json!({ "reason": "case 1" })).await;
    assert_eq!(by_http.reason().await, "job-cancelled");
    by_http.is_sent_again().await;

    let by_command = Waiting::new().await;
    let (url, id) = (&by_command.world.api.db.as_ref().unwrap().url, by_command.job.0.to_string());
    let args = ["jobs", "cancel", &id, "--reason", "case 2", "--yes"];
    let (status, output) = App::command(args).env("DATABASE_URL", url).run().await;
    assert!(status.success(), "{output}");
    assert_eq!(by_command.reason().await, "job-cancelled");
    by_command.is_sent_again().await;

    let in_bulk = Waiting::new().await;
    let body = json!({ "action": "cancel", "kinds": ["deliver_webhook"], "reason": "case 3" });
    in_bulk.post("/v1/operations", body).await;
    assert_eq!(in_bulk.reason().await, "job-cancelled");
    in_bulk.is_sent_again().await;

    let by_sql = Waiting::new().await;
    by_sql.execute("select queue.cancel($1, 'ada', 'case 4')").await;
    assert_eq!(by_sql.reason().await, "job-cancelled");
    by_sql.is_sent_again().await;
}

#[tokio::test]
async fn a_delivery_whose_job_is_cancelled_while_it_runs_has_failed() {
    let world = World::start().await;
    let inbox = Inbox::answering(|n, _| (n > 0).then_some(200)).await;
    let (endpoint, _) = world.endpoint(&world.operator, &inbox.url, json!({})).await;
    let event = test_event(&world, &endpoint).await;
    inbox.after(1).await;

    sqlx::query("select queue.cancel(id, 'ada', 'it hangs') from queue.jobs where running")
        .execute(&world.api.pool)
        .await
        .unwrap();

    let failed = world.delivery(&endpoint, &event, "failed").await;
    assert_eq!(failed["delivery"]["reason"], "job-cancelled");
}

#[tokio::test]
async fn a_delivery_whose_job_is_discarded_has_failed_and_goes_on_when_that_is_redriven() {
    let again = Waiting::new().await;
    let discard = format!("/v1/jobs/{}/discard", again.job);
    again.post(&discard, json!({ "reason": "case 1" })).await;
    assert_eq!(again.reason().await, "job-discarded");
    again.is_sent_again().await;

    let redriven = Waiting::new().await;
    let discard = format!("/v1/jobs/{}/discard", redriven.job);
    redriven.post(&discard, json!({ "reason": "case 2" })).await;
    assert_eq!(redriven.reason().await, "job-discarded");
    let redrive = format!("/v1/jobs/{}/retry", redriven.job);
    redriven.post(&redrive, json!({ "reason": "case 2" })).await;
    redriven.world.delivery(&redriven.endpoint, &redriven.event, "delivered").await;
    assert_eq!(redriven.inbox.seen().len(), 2);
}

#[tokio::test]
async fn what_retention_moves_does_not_fail_a_delivery_that_was_asked_for_again() {
    let waiting = Waiting::new().await;
    let discard = format!("/v1/jobs/{}/discard", waiting.job);
    waiting.post(&discard, json!({ "reason": "case 1" })).await;
    waiting.reason().await;
    waiting
        .execute(
            "update deliveries.deliveries
             set state = 'pending', reason = null, finished_at = null
             where $1 > 0",
        )
        .await;

    waiting
        .execute(
            "with moved as (delete from queue.finished_jobs_discarded where id = $1 returning *)
             insert into queue.finished_jobs_discarded select * from moved",
        )
        .await;

    waiting.world.delivery(&waiting.endpoint, &waiting.event, "pending").await;
}

#[tokio::test]
async fn a_job_that_names_no_delivery_ends_like_any_other() {
    let world = World::start().await;
    for args in [
        json!({}),
        json!({ "event": "99999999999999999999", "endpoint": 7 }),
        json!({ "event": 1, "endpoint": "not an id" }),
        json!({ "event": -1, "endpoint": { "nested": true } }),
    ] {
        let ids: Vec<i64> = sqlx::query_scalar(
            "insert into queue.jobs (queue, kind, args, run_at)
             select 'nobody', kind, $1, now() + interval '1 day'
             from unnest(array['deliver_webhook', 'send_notice', 'send_transaction_email']) as kind
             returning id",
        )
        .bind(args)
        .fetch_all(&world.api.pool)
        .await
        .unwrap();
        for id in ids {
            let cancelled: String = sqlx::query_scalar("select queue.cancel($1, 'ada', 'why')")
                .bind(id)
                .fetch_one(&world.api.pool)
                .await
                .unwrap();
            assert_eq!(cancelled, "cancelled");
        }
    }
}
