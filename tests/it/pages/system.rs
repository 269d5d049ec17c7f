//! The audit log and the health of the system.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::browsing::rows;
use super::pages_shown::{HOSTILE, is_sound};
use super::visitor::Visitor;
use crate::support::{TestApi, event};

#[tokio::test]
async fn the_log_is_filtered_and_an_entry_shows_before_and_after() {
    let api = TestApi::start_with_open_pages().await;
    let mut visitor = Visitor::new(&api);
    for queue in ["mail", "bank"] {
        let path = format!("/ui/queues/{queue}/pause");
        visitor.act("/ui/queues", &path, &[("reason", HOSTILE)]).await;
    }
    visitor.act("/ui/queues", "/ui/queues/bank/resume", &[]).await;
    for (query, count) in [
        ("", 3),
        ("?actor=page:local", 3),
        ("?actor=cli:ada", 0),
        ("?action=queue.pause", 2),
        ("?action=queue.", 3),
        ("?subject_kind=queue&subject_id=bank", 2),
        ("?action=queue.pause&subject_kind=queue&subject_id=bank", 1),
        ("?since=1h", 3),
        ("?until=1h", 0),
        ("?by_whom=all", 3),
    ] {
        assert_eq!(rows(&api, &format!("/ui/audit{query}")).await, count, "{query}");
    }
    let list = visitor.get("/ui/audit?action=queue.pause").await;
    let (_, rest) = list.text.split_once(r#"href="/ui/audit/"#).expect("an entry");
    let path = format!("/ui/audit/{}", rest.split('"').next().unwrap());
    let page = visitor.get(&path).await;
    is_sound(&page, &path);
    for part in ["queue.pause", "page:local", "<h2>Before</h2>", "<h2>After</h2>", "127.0.0.1"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(!page.text.contains("<img") && page.text.contains("&#60;img"), "{}", page.text);
    for missing in ["/ui/audit/999999", "/ui/audit/x"] {
        assert_eq!(visitor.get(missing).await.status, 404);
    }
    assert_eq!(visitor.get("/ui/audit?since=x").await.status, 400);
}

#[tokio::test]
async fn health_says_what_is_wrong_and_the_command_that_mends_it() {
    let api = TestApi::start_with_open_pages().await;
    api.post(event("txn_1")).await;
    let mut visitor = Visitor::new(&api);
    visitor.act("/ui/queues", "/ui/queues/mail/pause", &[("reason", "a test")]).await;
    let page = visitor.get("/ui/health").await;
    is_sound(&page, "/ui/health");
    for part in ["To be mended", "app queues resume mail", "In order", "PostgreSQL", "Calls pass"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
}

#[tokio::test]
async fn an_open_breaker_is_shown_with_the_time_until_it_asks_again() {
    let api = TestApi::start_with_open_pages().await;
    let sql = "insert into bank.breakers (name, failures, opened_at, open_until)
               values ('bank', 5, clock_timestamp(), clock_timestamp() + interval '30 s')";
    sqlx::query(sql).execute(&api.pool).await.unwrap();
    let page = api.get("/ui/health").await;
    assert!(page.text.contains("nobody calls, after 5 failures"), "{}", page.text);
}

#[tokio::test]
async fn an_operator_reads_the_log_of_everybody() {
    let api = TestApi::start().await;
    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    operator.act("/ui/queues", "/ui/queues/mail/pause", &[("reason", "a test")]).await;
    let page = operator.get("/ui/audit").await;
    assert!(page.text.contains("key:") && page.text.contains("queue.pause"), "{}", page.text);
}
