//! Statements of many connections that share a few servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use surety::db;
use tokio::task::JoinSet;

use crate::support::{PgBouncer, PgBouncerSettings, TestDb};

const CLIENTS: usize = 24;
const SERVERS: u32 = 3;

/// So many statements are run, unless `SURETY_TEST_POOLER_STATEMENTS` says otherwise: `.ci/run`
/// asks for 100,000.
const STATEMENTS: usize = 30_000;

/// Texts that differ in nothing but a number: with the parameters of one, another would run just as
/// well and give a wrong result.
const TEXTS: i64 = 60;

fn statements() -> usize {
    let given = std::env::var("SURETY_TEST_POOLER_STATEMENTS").ok();
    given.map_or(STATEMENTS, |number| number.parse().expect("a number of statements"))
}

/// What went wrong, if anything.
#[derive(Debug, Default)]
struct Findings {
    run: AtomicUsize,
    failed: AtomicUsize,
    wrong: AtomicUsize,
}

impl Findings {
    fn note(&self, result: Result<i64, sqlx::Error>, expected: i64) {
        self.run.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(found) if found == expected => {}
            Ok(_) => _ = self.wrong.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("the first that failed: {error}");
                }
            }
        }
    }
}

/// Each text by itself and in transactions of several, from as many clients at once.
async fn run_statements(pool: &PgPool, total: usize) -> Arc<Findings> {
    let findings = Arc::new(Findings::default());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (pool, findings) = (pool.clone(), Arc::clone(&findings));
        clients.spawn(async move {
            let mut n = i64::try_from(client).unwrap() * 7;
            while findings.run.load(Ordering::Relaxed) < total {
                n += 1;
                let text = |k: i64| AssertSqlSafe(format!("select $1::int8 * 1000 + {k}"));
                let k = n % TEXTS;
                if n % 4 == 0 {
                    let Ok(mut tx) = pool.begin().await else { continue };
                    for k in [k, (k + 1) % TEXTS, (k + 2) % TEXTS] {
                        let query = sqlx::query_scalar(text(k)).bind(n);
                        findings.note(query.fetch_one(&mut *tx).await, n * 1000 + k);
                    }
                    let _ = if n % 8 == 0 { tx.commit().await } else { tx.rollback().await };
                } else {
                    let query = sqlx::query_scalar(text(k)).bind(n);
                    findings.note(query.fetch_one(&pool).await, n * 1000 + k);
                }
            }
        });
    }
    clients.join_all().await;
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_many_clients_meet_no_statement_but_their_own() {
    let db = TestDb::new().await;
    let settings = PgBouncerSettings { servers: Some(SERVERS), ..Default::default() };
    let bouncer = PgBouncer::start(&db.url, settings).await;
    let pool = db::connect(&bouncer.url, CLIENTS as u32, "test pooled").await.unwrap();
    assert!(db::is_pooled(&pool.connect_options()));

    let began = Instant::now();
    let findings = run_statements(&pool, statements()).await;

    let run = findings.run.load(Ordering::Relaxed);
    eprintln!("{run} statements in {:?}", began.elapsed());
    assert!(run >= statements());
    let faults = (findings.failed.load(Ordering::Relaxed), findings.wrong.load(Ordering::Relaxed));
    assert_eq!(faults, (0, 0), "failed, wrong; the pooler says:\n{}", bouncer.log());
    let servers: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'test pooled'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!((1..=i64::from(SERVERS)).contains(&servers), "{servers} servers");
    // Nothing is left to be found by another. A few times, as each time it may be another server.
    for _ in 0..20 {
        let left: i64 = sqlx::query_scalar("select count(*) from pg_prepared_statements")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(left, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_relay_the_same_statements_fail() {
    let db = TestDb::new().await;
    let settings =
        PgBouncerSettings { servers: Some(SERVERS), ignored_parameters: "extra_float_digits" };
    let bouncer = PgBouncer::start(&db.url, settings).await;
    let options: PgConnectOptions = bouncer.url.parse().unwrap();
    let bare = PgPoolOptions::new().max_connections(CLIENTS as u32).connect_lazy_with(options);

    let findings = run_statements(&bare, 5_000).await;

    assert!(findings.failed.load(Ordering::Relaxed) > 0, "the test above could not fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_fail_and_callers_that_give_up_disturb_nobody() {
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db.url, PgBouncerSettings::default()).await;
    let pool = db::connect(&bouncer.url, 8, "test").await.unwrap();
    let mut clients = JoinSet::new();
    for client in 0..8i64 {
        let pool = pool.clone();
        clients.spawn(async move {
            for n in 0..60i64 {
                let bad = AssertSqlSafe(format!("select 1 / ($1::int8 - {n}), {client}"));
                assert!(sqlx::query(bad).bind(n).execute(&pool).await.is_err());
                let unknown = AssertSqlSafe(format!("select $1::int8 from no_such_{client}_{n}"));
                assert!(sqlx::query(unknown).bind(n).execute(&pool).await.is_err());
                // Given up in the middle, within a transaction and without.
                let slow = sqlx::query("select pg_sleep($1)").bind(0.02);
                let gave_up = tokio::time::timeout(Duration::from_millis(3), async {
                    if n % 2 == 0 {
                        let mut tx = pool.begin().await?;
                        slow.execute(&mut *tx).await?;
                        tx.commit().await
                    } else {
                        slow.execute(&pool).await.map(|_| ())
                    }
                });
                let _ = gave_up.await;
                let sum = sqlx::query_scalar::<_, i64>("select $1::int8 + $2::int8");
                let sum = sum.bind(n).bind(client).fetch_one(&pool).await;
                assert_eq!(sum.unwrap(), n + client);
            }
        });
    }
    clients.join_all().await;
}

/// What the engine's connections ask for must hold in each statement of theirs, alone or in a
/// transaction.
#[tokio::test(flavor = "multi_thread")]
async fn every_statement_has_the_settings_of_its_connection() {
    let db = TestDb::new().await;
    // Refused or silently dropped: the settings are there either way.
    for ignored_parameters in ["", "extra_float_digits,options"] {
        let settings = PgBouncerSettings { servers: Some(1), ignored_parameters };
        let bouncer = PgBouncer::start(&db.url, settings).await;
        let pool = db::connect(&bouncer.url, 2, "test").await.unwrap();
        let options = pool.connect_options().as_ref().clone();
        let special = options.options([
            ("plan_cache_mode", "force_generic_plan"),
            ("surety.test", r"a b, 'c\d"),
            ("enable_seqscan", "on"),
        ]);
        let special = PgPoolOptions::new().max_connections(1).connect_lazy_with(special);
        let question = "select concat_ws('|', current_setting('enable_seqscan'),
                          current_setting('statement_timeout'), current_setting('plan_cache_mode'),
                          coalesce(current_setting('surety.test', true), ''), $1::text)";
        let plain = "off|30s|auto||x";
        let other = r"on|30s|force_generic_plan|a b, 'c\d|x";
        for _ in 0..3 {
            for (pool, expected) in [(&pool, plain), (&special, other)] {
                let ask = || sqlx::query_scalar::<_, String>(question).bind("x");
                assert_eq!(ask().fetch_one(pool).await.unwrap(), expected);
                let mut tx = pool.begin().await.unwrap();
                assert_eq!(ask().fetch_one(&mut *tx).await.unwrap(), expected);
                tx.commit().await.unwrap();
                let serializable = "begin isolation level serializable read only";
                let mut tx = pool.begin_with(serializable).await.unwrap();
                assert_eq!(ask().fetch_one(&mut *tx).await.unwrap(), expected);
                let level: String = sqlx::query_scalar("show transaction_isolation")
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
                assert_eq!(level, "serializable");
            }
        }
    }
}
