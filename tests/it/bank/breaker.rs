//! The circuit breaker that all workers share.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use surety::bank::breaker::{
    BankHealth, Breaker, BreakerSettings, BreakerState, Pass, Permit, Phase, states,
};
use surety::bank::{BankArgs, BankError, InvalidAnswer, Unavailable};
use surety::db;
use tokio::task::JoinSet;

use crate::support::TestDb;

fn breaker() -> Breaker {
    Breaker::new("bank", BankArgs::default().breaker())
}

async fn conn(db: &TestDb) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    db.pool.acquire().await.unwrap()
}

async fn fail(conn: &mut PgConnection, times: usize) {
    for _ in 0..times {
        breaker().record(conn, Pass::Go, BankHealth::Fails).await.unwrap();
    }
}

async fn state(conn: &mut PgConnection) -> BreakerState {
    states(conn).await.unwrap().into_iter().find(|state| state.name == "bank").unwrap()
}

/// Lets the time that it is open pass.
async fn let_it_half_open(conn: &mut PgConnection) {
    sqlx::query("update bank.breakers set open_until = clock_timestamp()")
        .execute(conn)
        .await
        .unwrap();
}

/// Lets the lease of the probe pass.
async fn let_the_probe_expire(conn: &mut PgConnection) {
    sqlx::query("update bank.breakers set probe_expires_at = clock_timestamp()")
        .execute(conn)
        .await
        .unwrap();
}

async fn take_probe(conn: &mut PgConnection) -> Pass {
    match breaker().permit(conn).await.unwrap() {
        Permit::Call(pass @ Pass::Probe(_)) => pass,
        other => panic!("no probe but {other:?}"),
    }
}

async fn waits(conn: &mut PgConnection) -> Duration {
    match breaker().permit(conn).await.unwrap() {
        Permit::Wait(time) => time,
        other => panic!("no wait but {other:?}"),
    }
}

async fn goes(conn: &mut PgConnection) -> bool {
    breaker().permit(conn).await.unwrap() == Permit::Call(Pass::Go)
}

#[tokio::test]
async fn it_opens_after_five_failures_in_a_row_for_sixty_seconds() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    assert!(goes(&mut conn).await);
    fail(&mut conn, 4).await;
    assert!(goes(&mut conn).await);
    assert_eq!(state(&mut conn).await.failures, 4);
    fail(&mut conn, 1).await;

    let wait = waits(&mut conn).await;
    assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(50), "{wait:?}");
    let opened = state(&mut conn).await;
    assert!(matches!(opened.phase, Phase::Open { .. }), "{opened:?}");
    assert_eq!(opened.failures, 5);
    assert!(opened.opened_at.is_some());
}

#[tokio::test]
async fn a_success_in_between_starts_the_count_anew() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    fail(&mut conn, 4).await;
    breaker().record(&mut conn, Pass::Go, BankHealth::Works).await.unwrap();
    fail(&mut conn, 4).await;
    assert!(goes(&mut conn).await);
}

#[tokio::test]
async fn only_failures_of_the_banks_count() {
    let failures = [
        BankError::Unavailable(Unavailable::NotAccepted),
        BankError::TimedOut,
        BankError::Malformed(InvalidAnswer::Cut),
    ];
    for error in failures {
        assert_eq!(BankHealth::of(&Err::<(), _>(error)), BankHealth::Fails);
    }
    let declined = BankError::Declined { reason: "insufficient-funds".to_owned() };
    assert_eq!(BankHealth::of(&Err::<(), _>(declined)), BankHealth::Works);
    assert_eq!(BankHealth::of(&Err::<(), _>(BankError::Pending)), BankHealth::Works);
    assert_eq!(BankHealth::of(&Ok(())), BankHealth::Works);
}

#[tokio::test]
async fn successes_write_nothing() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    assert!(goes(&mut conn).await);
    breaker().record(&mut conn, Pass::Go, BankHealth::Works).await.unwrap();
    assert_eq!(states(&mut conn).await.unwrap(), []);

    fail(&mut conn, 1).await;
    breaker().record(&mut conn, Pass::Go, BankHealth::Works).await.unwrap();
    let version = "select ctid::text || xmin::text from bank.breakers";
    let before: String = sqlx::query_scalar(version).fetch_one(&mut *conn).await.unwrap();
    for _ in 0..10 {
        assert!(goes(&mut conn).await);
        breaker().record(&mut conn, Pass::Go, BankHealth::Works).await.unwrap();
    }
    let after: String = sqlx::query_scalar(version).fetch_one(&mut *conn).await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn of_fifty_that_ask_at_once_exactly_one_probes() {
    let db = TestDb::new().await;
    let other_pool = db::connect(&db.url, 10, "another worker").await.unwrap();
    let mut conn = conn(&db).await;
    fail(&mut conn, 5).await;
    for _ in 0..5 {
        let_it_half_open(&mut conn).await;
        let mut asks = JoinSet::new();
        for number in 0..50 {
            let pool: PgPool = if number % 2 == 0 { db.pool.clone() } else { other_pool.clone() };
            asks.spawn(async move {
                let mut conn = pool.acquire().await.unwrap();
                breaker().permit(&mut conn).await.unwrap()
            });
        }
        let mut probes = Vec::new();
        for permit in asks.join_all().await {
            match permit {
                Permit::Call(pass @ Pass::Probe(_)) => probes.push(pass),
                Permit::Call(Pass::Go) => panic!("it is not closed"),
                Permit::Wait(time) => assert!(time > Duration::ZERO),
            }
        }
        let [probe] = probes.as_slice() else { panic!("{probes:?}") };
        assert_eq!(state(&mut conn).await.phase, Phase::HalfOpen { probing: true });
        breaker().record(&mut conn, *probe, BankHealth::Fails).await.unwrap();
    }
    other_pool.close().await;
}

#[tokio::test]
async fn a_probe_that_succeeds_closes_it() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    fail(&mut conn, 5).await;
    let_it_half_open(&mut conn).await;
    assert_eq!(state(&mut conn).await.phase, Phase::HalfOpen { probing: false });
    let probe = take_probe(&mut conn).await;
    breaker().record(&mut conn, probe, BankHealth::Works).await.unwrap();

    let closed = state(&mut conn).await;
    assert_eq!((closed.phase, closed.failures, closed.opened_at), (Phase::Closed, 0, None));
    assert!(goes(&mut conn).await);
    // And it takes five failures to open it again.
    fail(&mut conn, 4).await;
    assert!(goes(&mut conn).await);
}

#[tokio::test]
async fn a_probe_that_fails_opens_it_again_for_the_whole_time() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    fail(&mut conn, 5).await;
    let since = state(&mut conn).await.opened_at;
    let_it_half_open(&mut conn).await;
    let probe = take_probe(&mut conn).await;
    breaker().record(&mut conn, probe, BankHealth::Fails).await.unwrap();

    assert!(waits(&mut conn).await > Duration::from_secs(50));
    // For an operator it has been open since the first time.
    assert_eq!(state(&mut conn).await.opened_at, since);
}

#[tokio::test]
async fn a_killed_prober_does_not_block_for_ever_and_no_longer_counts() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    fail(&mut conn, 5).await;
    let_it_half_open(&mut conn).await;
    let lost = take_probe(&mut conn).await;
    assert!(waits(&mut conn).await > Duration::ZERO);
    let lease: f64 = sqlx::query_scalar(
        "select extract(epoch from probe_expires_at - clock_timestamp())::float8
         from bank.breakers",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    assert!(lease <= breaker_lease().as_secs_f64() && lease > 15.0, "{lease}");
    let_the_probe_expire(&mut conn).await;
    let next = take_probe(&mut conn).await;
    assert_ne!(next, lost);

    // What the first says now is about another time, either way.
    breaker().record(&mut conn, lost, BankHealth::Works).await.unwrap();
    assert_eq!(state(&mut conn).await.phase, Phase::HalfOpen { probing: true });
    breaker().record(&mut conn, lost, BankHealth::Fails).await.unwrap();
    assert_eq!(state(&mut conn).await.phase, Phase::HalfOpen { probing: true });
    breaker().record(&mut conn, next, BankHealth::Works).await.unwrap();
    assert!(goes(&mut conn).await);
}

fn breaker_lease() -> Duration {
    BankArgs::default().breaker().probe_lease
}

#[tokio::test]
async fn calls_that_were_under_way_when_it_opened_change_nothing() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    fail(&mut conn, 5).await;
    let before = state(&mut conn).await;
    fail(&mut conn, 3).await;
    breaker().record(&mut conn, Pass::Go, BankHealth::Works).await.unwrap();
    let after = state(&mut conn).await;
    assert_eq!((after.failures, after.opened_at), (before.failures, before.opened_at));
    assert!(waits(&mut conn).await > Duration::ZERO);
}

#[tokio::test]
async fn concurrent_failures_are_all_counted() {
    let db = TestDb::new().await;
    let settings = BreakerSettings { threshold: 1000, ..BankArgs::default().breaker() };
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let pool = db.pool.clone();
        calls.spawn(async move {
            let mut conn = pool.acquire().await.unwrap();
            let breaker = Breaker::new("bank", settings);
            breaker.record(&mut conn, Pass::Go, BankHealth::Fails).await.unwrap();
        });
    }
    calls.join_all().await;
    assert_eq!(state(&mut *conn(&db).await).await.failures, 100);
}

#[tokio::test]
async fn a_threshold_of_one_opens_at_the_first_failure_and_names_are_apart() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    let settings = BreakerSettings { threshold: 1, ..BankArgs::default().breaker() };
    let touchy = Breaker::new("touchy", settings);
    touchy.record(&mut conn, Pass::Go, BankHealth::Fails).await.unwrap();
    assert!(matches!(touchy.permit(&mut conn).await.unwrap(), Permit::Wait(_)));
    assert!(goes(&mut conn).await);
}

/// What the breaker should do, in a few lines and without a clock.
#[derive(Clone, Copy, Debug)]
enum Model {
    Closed {
        failures: u16,
    },
    Open,
    /// Until another takes over, the result of the last probe counts, even after its lease.
    HalfOpen {
        last: Option<Pass>,
        probing: bool,
    },
}

#[tokio::test]
async fn it_does_what_the_model_does_whatever_happens() {
    let db = TestDb::new().await;
    let mut conn = conn(&db).await;
    let settings = BreakerSettings { threshold: 3, ..BankArgs::default().breaker() };
    let breaker = Breaker::new("bank", settings);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::Closed { failures: 0 };
    // Calls under way, probes whose lease is over included.
    let mut passes = Vec::new();
    for step in 0..600 {
        let at = format!("seed {seed}, step {step}, {model:?}");
        match random.u8(..10) {
            0..3 => match (breaker.permit(&mut conn).await.unwrap(), &mut model) {
                (Permit::Call(Pass::Go), Model::Closed { .. }) => passes.push(Pass::Go),
                (
                    Permit::Call(pass @ Pass::Probe(_)),
                    Model::HalfOpen { last, probing: probing @ false },
                ) => {
                    assert!(!passes.contains(&pass), "{at}");
                    passes.push(pass);
                    (*last, *probing) = (Some(pass), true);
                }
                (Permit::Wait(_), Model::Open | Model::HalfOpen { probing: true, .. }) => {}
                (permit, _) => panic!("{at}: {permit:?}"),
            },
            3..8 if !passes.is_empty() => {
                let pass = passes.swap_remove(random.usize(..passes.len()));
                let verdict =
                    if random.u8(..3) == 0 { BankHealth::Works } else { BankHealth::Fails };
                breaker.record(&mut conn, pass, verdict).await.unwrap();
                model = match (model, pass, verdict) {
                    (Model::Closed { .. }, Pass::Go, BankHealth::Works) => {
                        Model::Closed { failures: 0 }
                    }
                    (Model::Closed { failures: 2 }, Pass::Go, BankHealth::Fails) => Model::Open,
                    (Model::Closed { failures }, Pass::Go, BankHealth::Fails) => {
                        Model::Closed { failures: failures + 1 }
                    }
                    (Model::HalfOpen { last, .. }, probe, verdict) if last == Some(probe) => {
                        match verdict {
                            BankHealth::Works => Model::Closed { failures: 0 },
                            BankHealth::Fails => Model::Open,
                        }
                    }
                    (unmoved, _, _) => unmoved,
                };
            }
            8 if matches!(model, Model::Open) => {
                let_it_half_open(&mut conn).await;
                model = Model::HalfOpen { last: None, probing: false };
            }
            9 => {
                if let Model::HalfOpen { probing: probing @ true, .. } = &mut model {
                    let_the_probe_expire(&mut conn).await;
                    *probing = false;
                }
            }
            _ => {}
        }
    }
}
