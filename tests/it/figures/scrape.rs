//! `/metrics` of real processes, and figures of the whole system.

use std::collections::HashSet;

use surety::metrics::{Format, Metrics};
use surety::operations::figures::{self, LedgerMark};
use surety_postgres::testing::Proxy;

use super::value;
use crate::support::{App, Binary as _, TestApi, TestDb, event, eventually_async};

/// The address that a line tells, with this path.
fn url_in(line: &str, path: &str) -> String {
    let (_, after) = line.split_once("http://").unwrap();
    let address = after.split(['/', ',', '"']).next().unwrap();
    format!("http://{address}{path}")
}

#[tokio::test]
async fn the_whole_system_is_in_the_scrape_of_any_process() {
    let api = TestApi::start().await;
    api.post(event("a")).await;
    eventually_async("the database was looked at", async || {
        let scrape = api.get("/metrics").await.text;
        value(&scrape, "app_jobs{queue=\"default\",state=\"available\"}") == Some(1.0)
    })
    .await;

    let scrape = api.get("/metrics").await.text;
    let is = |series: &str, expected: f64| {
        let found = value(&scrape, series);
        assert!(found.is_some_and(|it| (it - expected).abs() < 0.1), "{series}: {found:?}");
    };
    is("app_database_up", 1.0);
    is("app_transactions_processing", 1.0);
    is("app_dead_letters", 0.0);
    is("app_workers{state=\"working\"}", 0.0);
    is("app_bank_breaker{state=\"closed\"}", 1.0);
    is("app_endpoints{state=\"healthy\"}", 0.0);
    is("app_schedule_lag_seconds", 0.0);
    for series in [
        "app_queue_oldest_ready_age_seconds{queue=\"default\"}",
        "app_transaction_oldest_processing_age_seconds",
        "app_pg_xmin_age_seconds",
        "app_pg_database_size_bytes",
        "app_pg_connections_max",
        "app_sample_duration_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(value(&scrape, series).is_some(), "{series} is missing:\n{scrape}");
    }
}

#[tokio::test]
async fn while_the_database_is_away_a_scrape_is_answered_without_figures_of_before() {
    let db = TestDb::new().await;
    let network = Proxy::start(&db.url).await;
    let mut app = App::command(["serve", "--listen", "127.0.0.1:0"])
        .env("APP_SAMPLE_INTERVAL", "100ms")
        .env("DATABASE_URL", network.url(&db.url))
        .spawn();
    let line = app.wait_for_line("/docs").await;
    let url = url_in(&line, "/metrics");
    let scrape = async || reqwest::get(&url).await.unwrap().text().await.unwrap();
    eventually_async("it is there", async || {
        value(&scrape().await, "app_database_up") == Some(1.0)
    })
    .await;
    assert!(scrape().await.contains("app_dead_letters"));

    network.go_dark();
    eventually_async("it is away", async || value(&scrape().await, "app_database_up") == Some(0.0))
        .await;
    let away = scrape().await;
    assert!(!away.contains("app_dead_letters") && away.contains("process_cpu_seconds_total"));

    network.heal();
    eventually_async("it is back", async || value(&scrape().await, "app_database_up") == Some(1.0))
        .await;
}

#[tokio::test]
async fn a_worker_answers_probes_and_shows_what_it_does() {
    let db = TestDb::new().await;
    let mut worker = App::command(["work", "--poll", "20ms", "--probe-listen", "127.0.0.1:0"])
        .env("APP_SAMPLE_INTERVAL", "100ms")
        .env("DATABASE_URL", &db.url)
        .spawn();
    let line = worker.wait_for_line("metrics at http://").await;
    let base = url_in(&line, "");
    let get = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap();
    let api = TestApi::start_on(db.pool.clone(), |_| {}).await;
    api.post(event("a")).await;

    let attempts = "app_job_attempts_total{queue=\"default\",kind=\"settle_transaction\",\
                    outcome=\"completed\"}";
    eventually_async("the job is shown", async || {
        value(&get("/metrics").await.text().await.unwrap(), attempts) == Some(1.0)
    })
    .await;
    eventually_async("the worker is registered", async || {
        let scrape = get("/metrics").await.text().await.unwrap();
        value(&scrape, "app_workers{state=\"working\"}") == Some(1.0)
    })
    .await;
    // The job that announces the outcome may be under way.
    eventually_async("the worker has nothing to do", async || {
        let scrape = get("/metrics").await.text().await.unwrap();
        value(&scrape, "app_worker_slots{state=\"free\"}") == Some(1024.0)
    })
    .await;
    let scrape = get("/metrics").await.text().await.unwrap();
    assert!(value(&scrape, "app_claim_jobs_total").is_some_and(|jobs| jobs >= 1.0));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(path).await.status(), 200, "{path}");
    }
    assert_eq!(get("/other").await.status(), 404);
}

#[tokio::test]
async fn figures_are_not_on_the_api_when_they_have_a_listener_of_their_own() {
    let db = TestDb::new().await;
    let mut app = App::command(["serve", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &db.url)
        .spawn();
    let line = app.wait_for_line("metrics at http://").await;
    let own = url_in(&line, "/metrics");
    let line = app.wait_for_line("/docs").await;
    let api = url_in(&line, "/metrics");

    assert_eq!(reqwest::get(&own).await.unwrap().status(), 200, "{own}");
    assert_eq!(reqwest::get(&api).await.unwrap().status(), 404, "{api}");
}

#[tokio::test]
async fn the_series_of_a_large_system_are_few() {
    let db = TestDb::new().await;
    sqlx::query(
        "insert into queue.jobs (queue, kind, run_at, attempt)
         select format('queue-%s', queue), format('kind-%s', queue), now() + delay, attempt
         from generate_series(1, 200) as queue
         cross join (values (interval '0', 0), ('1 h', 0), ('1 h', 1)) as states (delay, attempt)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let metrics = Metrics::new();
    let families = figures::sample(&mut conn, &mut LedgerMark::default()).await.unwrap();
    metrics.collect(move || families.clone());

    let text = Format::Text.write(&metrics.gather()).text;
    let series: HashSet<&str> = text
        .lines()
        .filter(|it| !it.starts_with('#'))
        .map(|it| it.rsplit_once(' ').unwrap().0)
        .collect();
    assert!(series.len() < 300, "{} series", series.len());
    // What is not told apart is not left out.
    let other = value(&text, "app_jobs{queue=\"_other\",state=\"available\"}");
    assert_eq!(other, Some(150.0));
}
