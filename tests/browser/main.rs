//! The operator's pages in a real browser: no fault that axe finds, keys, no script, live pages,
//! text as text, and Swagger UI beside them.
//!
//! A test target of its own, because it needs Chromium, Node and two packages of npm, which nothing
//! else does: `cargo test --test browser`. The tests themselves are in `pages.mjs`, for Playwright;
//! here are the three servers that they visit. `SURETY_PICTURES=docs/screenshots` makes the
//! pictures of the README.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

#[path = "../it/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::PgPool;
use surety::operations::jobs::{ChangeJobs, JobAction, JobId, change};
use surety::operations::{Actor, Identity, Mode};

use support::money::TestWorker;
use support::{TestApi, event, eventually_async};

/// Text that would be a script, were it not shown as text.
const HOSTILE: &str = r#"<script>alert(1)</script>"'><img src=x onerror=alert(1)>"#;
/// The secret that webhooks to the third server are signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
/// The jobs that failed for one cause.
const FAILED: i64 = 10_000;
/// Their error.
const ERROR: &str = "the report server refused: connection reset by peer";

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_in_a_real_browser() {
    let modules = install();
    let (empty, full) =
        (TestApi::start_with_open_pages().await, TestApi::start_with_open_pages().await);
    let signed =
        TestApi::start_with(|settings| settings.webhook_secrets = Some(SECRET.to_owned().into()))
            .await;
    let worker = TestWorker::start(&full.pool, None);
    let seen = fill(&full).await;
    let (empty_url, full_url) = (empty.url(""), full.url(""));
    // By another name than the server has for itself.
    let signed_url = signed.url("").replace("127.0.0.1", "localhost");
    let run = move || {
        let mut node = Command::new("node");
        node.args(["--test", "--test-reporter=spec", "pages.mjs"])
            .current_dir(modules)
            .env("SURETY_EMPTY_URL", empty_url)
            .env("SURETY_FULL_URL", full_url)
            .env("SURETY_SIGNED_URL", signed_url)
            .env("SURETY_SECRET", SECRET)
            .env("SURETY_SEEN", seen.to_string());
        if let Ok(pictures) = std::env::var("SURETY_PICTURES") {
            node.env("SURETY_PICTURES", Path::new(env!("CARGO_MANIFEST_DIR")).join(pictures));
        }
        node.status().unwrap()
    };
    let status = tokio::task::spawn_blocking(run).await.unwrap();
    worker.stop().await;
    assert!(status.success(), "see above what failed");
}

/// The folder with the tests and the packages that they need.
fn install() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", "pages.mjs"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let npm = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
        .current_dir(&folder)
        .status();
    assert!(npm.expect("there is npm").success(), "the packages cannot be installed");
    folder
}

/// Fills the database, and says what is in it.
async fn fill(api: &TestApi) -> Value {
    for number in 0..60 {
        assert_eq!(api.post(event(&format!("txn_{number}"))).await.status, 202);
    }
    // Its arguments are none of its kind's: the worker gives it up, with an error.
    let discarded = enqueue(&api.pool, "settle_transaction", "{}", "default").await;
    let args = json!({ "text": HOSTILE, "amount": "10000000000000000000000.10" }).to_string();
    let hostile = enqueue(&api.pool, HOSTILE, &args, HOSTILE).await;
    let failed = give_up_many(&api.pool).await;
    eventually_async("the job is given up", async || {
        let sql =
            "select exists (select from queue.all_jobs where id = $1 and state = 'discarded')";
        sqlx::query_scalar(sql).bind(discarded).fetch_one(&api.pool).await.unwrap()
    })
    .await;
    let mut conn = api.pool.acquire().await.unwrap();
    let failures = surety::operations::failures::list(&mut conn, 10).await.unwrap();
    let fingerprint = failures.into_iter().find(|it| it.kind == "export_report");
    json!({
        "discarded": discarded,
        "hostile": hostile,
        "queue": HOSTILE,
        "error": ERROR,
        "failed": failed,
        "fingerprint": fingerprint.unwrap().fingerprint,
    })
}

async fn enqueue(pool: &PgPool, kind: &str, args: &str, queue: &str) -> i64 {
    let sql = "select job_id from queue.enqueue($1, $2::jsonb, queue => $3, max_attempts => 1)";
    sqlx::query_scalar(sql).bind(kind).bind(args).bind(queue).fetch_one(pool).await.unwrap()
}

/// Many jobs that an operator gave up, all for the same reason.
async fn give_up_many(pool: &PgPool) -> usize {
    let sql = "select job_id from generate_series(1, $1) as n, \
               queue.enqueue('export_report', jsonb_build_object('n', n))";
    let ids: Vec<i64> = sqlx::query_scalar(sql).bind(FAILED).fetch_all(pool).await.unwrap();
    let ids: Vec<JobId> = ids.into_iter().map(JobId).collect();
    let actor = Actor { identity: Identity::command_line("ada"), reason: ERROR.parse().unwrap() };
    let mut conn = pool.acquire().await.unwrap();
    let request = ChangeJobs { action: JobAction::Discard, ids: &ids, mode: Mode::Commit };
    let results = change::change(&mut conn, request, &actor).await.unwrap();
    results.iter().filter(|result| result.outcome.is_ok()).count()
}
