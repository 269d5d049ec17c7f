//! How many requests pass, on one node and on several, and what it costs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use surety::http::edge::rate_limits::LimitClass;
use surety::http::wire::problem::Code;
use time::OffsetDateTime;

use super::{Limited, api_with, limit, post, sum_of};
use crate::support::{App, Binary as _, PATIENCE, TestApi, TestDb, WEBHOOKS, event, send};

#[tokio::test]
async fn a_small_quota_is_kept_exactly() {
    let api = api_with("10/d").await;
    let mut statuses = Vec::new();
    for _ in 0..15 {
        statuses.push(post(&api).await.status);
    }
    assert_eq!(statuses, [[202; 10].as_slice(), &[429; 5]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_concurrent_requests_exactly_the_quota_passes() {
    let api = api_with("10/d").await;
    let answers = join_all((0..100).map(|_| post(&api))).await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 10);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 90);
}

#[tokio::test]
async fn a_hundred_requests_of_one_caller_at_once_take_one_lease() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| args.limit_api = limit("10/d"));

    let verdicts = join_all((0..100).map(|_| limited.admit(LimitClass::Api, "user:1"))).await;

    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 10);
    assert_eq!(verdicts.iter().filter(|it| **it == Err(Code::RateLimited)).count(), 90);
    assert!((limited.leases() - 1.0).abs() < 0.5);
}

/// A process of its own, with a limit for inbound webhooks.
async fn serve(db: &TestDb, webhooks: &str) -> (App, SocketAddr) {
    let mut app = App::command(["serve", "--listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &db.url)
        .env("APP_LIMIT_INBOUND_WEBHOOKS", webhooks)
        .spawn();
    let line = app.wait_for_line("serving http://").await;
    let after = line.split("serving http://").nth(1).unwrap();
    let address = after.split([',', '"', ' ', '/']).next().unwrap().parse().unwrap();
    (app, address)
}

/// Webhooks that passed because the database had not answered in time, which it may not on a busy
/// machine.
async fn passed_unasked(client: &reqwest::Client, address: SocketAddr) -> bool {
    let figures = client.get(format!("http://{address}/metrics")).send().await.unwrap();
    let figures = figures.error_for_status().unwrap().text().await.unwrap();
    let of = r#"app_rate_limit_decisions_total{class="inbound-webhooks",decision="unknown"} "#;
    figures.lines().filter_map(|line| line.strip_prefix(of)).any(|count| count != "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_together_keep_the_quota_exactly() {
    for _ in 0..10 {
        if keep_the_quota_exactly().await {
            return;
        }
    }
    panic!("the database was never asked in time");
}

/// False when that cannot be told.
async fn keep_the_quota_exactly() -> bool {
    let db = TestDb::new().await;
    let nodes = [serve(&db, "30/d").await, serve(&db, "30/d").await];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |place: usize| {
        let url = format!("http://{}{WEBHOOKS}", nodes[place % 2].1);
        send(client.post(url).header("content-type", "application/json").body(event("txn_1")))
    };

    let answers = join_all((0..120).map(post)).await;
    for (_, address) in &nodes {
        if passed_unasked(&client, *address).await {
            return false;
        }
    }

    let of_node = |node: usize| {
        let passed = answers.iter().skip(node).step_by(2).filter(|answer| answer.status == 202);
        passed.count()
    };
    assert_eq!(of_node(0) + of_node(1), 30);
    assert!(answers.iter().all(|answer| [202, 429].contains(&answer.status)));
    // What the one leased, the other knows of.
    assert_eq!((post(0).await.status, post(1).await.status), (429, 429));
    true
}

#[tokio::test]
async fn what_was_taken_comes_back_when_it_was_said_to() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| args.limit_api = limit("2/2s"));
    assert_eq!(limited.passes(LimitClass::Api, "user:1", 5).await, 2);

    let refused = limited.limits.admit(LimitClass::Api, "user:1").await.unwrap_err();
    let response = refused.response("/");
    assert_eq!(response.header("retry-after"), Some("1"));

    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(limited.passes(LimitClass::Api, "user:1", 5).await, 1);
}

#[tokio::test]
async fn a_thousand_requests_take_few_statements_whether_they_pass_or_not() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| args.limit_balance = limit("10/d"));

    assert_eq!(limited.passes(LimitClass::Api, "user:1", 1000).await, 1000);
    let for_passing = limited.leases();
    assert_eq!(limited.passes(LimitClass::Balance, "user:1", 10).await, 10);
    let before = limited.leases();
    assert_eq!(limited.passes(LimitClass::Balance, "user:1", 1000).await, 0);
    let for_refusing = limited.leases() - before;

    assert!(for_passing <= 25.0, "{for_passing} leases for 1,000 that passed");
    assert!(for_refusing <= 2.0, "{for_refusing} leases for 1,000 that were refused");
}

#[tokio::test]
async fn the_leases_that_are_counted_are_the_writes_that_the_database_sees_and_heap_only() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |_| {});
    limited.passes(LimitClass::Api, "user:1", 500).await;
    let leases = limited.leases() as i64;
    // A session reports its figures at the latest when it ends.
    drop(limited);

    let deadline = Instant::now() + PATIENCE;
    loop {
        let (inserted, updated, heap_only): (i64, i64, i64) = sqlx::query_as(
            "select n_tup_ins, n_tup_upd, n_tup_hot_upd from pg_stat_user_tables
             where schemaname = 'rate_limits' and relname = 'buckets'",
        )
        .fetch_one(&db.pool)
        .await
        .unwrap();
        if inserted + updated == leases {
            assert_eq!((inserted, heap_only), (1, updated));
            return;
        }
        assert!(Instant::now() < deadline, "{leases} leases, {inserted} + {updated} writes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_leased_and_not_spent_is_given_back() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| args.limit_api = limit("40/6s"));
    // Leases of 1, 2, 2, and so on: one of the last is left.
    assert_eq!(limited.passes(LimitClass::Api, "user:1", 38).await, 38);
    let full_at = async || -> OffsetDateTime {
        let only_one = "select full_at from rate_limits.buckets";
        sqlx::query_scalar(only_one).fetch_one(&db.pool).await.unwrap()
    };
    let before = full_at().await;

    // A sixth of the window: so long it may be spent.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(limited.passes(LimitClass::Api, "user:1", 1).await, 1);

    assert_eq!(full_at().await, before, "one given back, one taken");
}

#[tokio::test]
async fn users_and_classes_have_buckets_of_their_own() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| {
        args.limit_balance = limit("3/d");
        args.limit_transaction_list = limit("5/d");
    });
    for user in ["user:1", "user:2"] {
        assert_eq!(limited.passes(LimitClass::Balance, user, 10).await, 3);
        assert_eq!(limited.passes(LimitClass::TransactionList, user, 10).await, 5);
    }
}

#[tokio::test]
async fn what_is_off_is_not_limited_and_asks_nothing() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |args| args.limit_api = limit("off"));

    assert_eq!(limited.passes(LimitClass::Api, "user:1", 2000).await, 2000);
    assert_eq!(limited.passes(LimitClass::InboundWebhook, "address:1", 2000).await, 2000);
    assert!(limited.leases() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_bucket_is_stuck_delays_no_other() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |_| {});
    limited.admit(LimitClass::Balance, "user:stuck").await.unwrap();
    let mut lock = db.pool.begin().await.unwrap();
    sqlx::query("select 1 from rate_limits.buckets for update").execute(&mut *lock).await.unwrap();

    let started = Instant::now();
    let stuck = limited.admit(LimitClass::Balance, "user:stuck");
    let others = async {
        assert_eq!(limited.passes(LimitClass::Balance, "user:other", 20).await, 10);
        started.elapsed()
    };
    let (stuck, others) = tokio::join!(stuck, others);

    assert_eq!(stuck, Err(Code::Unavailable));
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(2), "refused only after {waited:?}");
    assert!(others < Duration::from_millis(650), "the others took {others:?}");
    lock.rollback().await.unwrap();
}

#[tokio::test]
async fn buckets_that_are_full_are_forgotten_by_the_database() {
    let db = TestDb::new().await;
    let limited = Limited::start(&db.pool, |_| {});
    limited.admit(LimitClass::Balance, "user:1").await.unwrap();
    sqlx::query(
        "insert into rate_limits.buckets (id, full_at, leased_at, granted)
         select gen_random_uuid(), now() - interval '1 second', now(), 1
         from generate_series(1, 2500)",
    )
    .execute(&db.pool)
    .await
    .unwrap();

    assert_eq!(limited.limits.sweep().await, 2500);

    let left: i64 = sqlx::query_scalar("select count(*) from rate_limits.buckets")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(left, 1, "the one that is in use");
}

#[tokio::test]
async fn a_forged_forwarded_for_changes_nothing() {
    let api = api_with("3/d").await;
    assert_eq!(passes_with_addresses(&api, 10).await, 3);
}

#[tokio::test]
async fn a_trusted_proxy_tells_clients_apart() {
    let api = TestApi::start_for_everybody(|settings| {
        settings.limits.limit_inbound_webhooks = limit("3/d");
        settings.limits.trusted_proxies = "127.0.0.0/8".parse().unwrap();
    })
    .await;
    assert_eq!(passes_with_addresses(&api, 10).await, 10);
    let same = |forged: u8| {
        let chain = format!("198.51.100.{forged}, 203.0.113.200");
        send(api.webhook(event("txn_1")).header("x-forwarded-for", chain))
    };
    let statuses = [same(1).await, same(2).await, same(3).await, same(4).await];
    assert_eq!(statuses.map(|answer| answer.status), [202, 202, 202, 429]);
}

/// How many webhooks pass, each of which says that it comes from another address.
async fn passes_with_addresses(api: &TestApi, requests: u8) -> usize {
    let mut passed = 0;
    for n in 0..requests {
        let webhook = api.webhook(event("txn_1"));
        let answer = send(webhook.header("x-forwarded-for", format!("203.0.113.{n}"))).await;
        passed += usize::from(answer.status == 202);
    }
    passed
}

#[tokio::test]
async fn a_limit_comes_before_the_signature_and_counts_what_is_not_even_json() {
    let api = TestApi::start_with(|settings| {
        settings.limits.limit_inbound_webhooks = limit("2/d");
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=".to_owned();
        settings.webhook_secrets = Some(secret.into());
    })
    .await;
    assert_eq!(post(&api).await.code(), "invalid-signature");
    assert_eq!(api.post("no json").await.status, 401);
    assert_eq!(post(&api).await.code(), "rate-limited");
    let scrape = api.get("/metrics").await.text;
    assert!((sum_of(&scrape, "app_rate_limit_decisions_total") - 3.0).abs() < 0.5, "{scrape}");
}
