//! Large arguments, slow ways to the database, and claims whose answer is lost: none of it stops
//! other jobs (G9), and no job pays for a run that never began.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use surety_queue::groups::Batch;
use surety_queue::operate::discarded::{Decision, redrive};
use surety_queue::{NewJob, QueueError, Unique, WorkerSettings, enqueue, enqueue_many};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::kinds::{
    Act, End, Gates, Pay, assert_invariants_hold, attempts_of, count, database, effects,
    enqueue_job, enqueue_new, eventually, idle_worker, state_of, worker,
};
use super::statements;

const LIMIT: usize = 256 * 1024;

/// Arguments of about as many bytes of JSON.
fn args_of(bytes: usize) -> Value {
    json!({ "pad": "x".repeat(bytes - 12) })
}

fn act_of(name: &str, bytes: usize) -> NewJob {
    let mut args = json!({"name": name, "end": "Complete", "gated": false, "pad": ""});
    let rest = bytes - args.to_string().len() - 16;
    args["pad"] = "x".repeat(rest).into();
    NewJob::raw("act", args)
}

fn constraint_of(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|error| error.constraint())
}

#[tokio::test]
async fn arguments_beyond_the_limit_are_refused_by_every_way_in() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let fits = || NewJob::raw("k", args_of(LIMIT - 100));
    let too_long = || NewJob::raw("k", args_of(LIMIT + 100));
    enqueue_many(&mut conn, &[fits(), fits()]).await.unwrap();
    enqueue(&mut conn, fits().unique(Unique::by_value(1))).await.unwrap();
    for jobs in
        [vec![too_long()], vec![fits(), too_long()], vec![too_long().unique(Unique::by_value(2))]]
    {
        let refused = enqueue_many(&mut conn, &jobs).await.unwrap_err();
        let QueueError::ArgsTooLong { kind, bytes, max_bytes } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!((kind.as_str(), *max_bytes), ("k", LIMIT as u64));
        assert!((LIMIT as u64..LIMIT as u64 + 200).contains(bytes), "{bytes}");
    }
    let batch = Batch::new().on_done(too_long()).enqueue(&mut conn, vec![fits()]).await;
    assert!(matches!(batch, Err(QueueError::ArgsTooLong { .. })), "{batch:?}");

    let by_sql = sqlx::query("select * from queue.enqueue('k', $1)").bind(args_of(LIMIT + 100));
    let refused = by_sql.execute(&mut *conn).await.unwrap_err();
    assert_eq!(constraint_of(&refused), Some("args_are_short"));
    let said = refused.to_string();
    assert!(said.contains("of kind k have 262") && said.contains("at most 262144"), "{said}");
    // Few bytes as they are stored, and many as they are sent.
    let numbers =
        "select * from queue.enqueue('k', '{\"a\": 1e131071, \"b\": 1e131071, \"c\": 1}')";
    let refused = sqlx::query(numbers).execute(&mut *conn).await.unwrap_err();
    assert_eq!(constraint_of(&refused), Some("args_are_short"));
    // What does not come through the door meets a bound, too.
    let inserted = sqlx::query("insert into queue.jobs (kind, args) values ('k', $1)")
        .bind(args_of(4 * 1024 * 1024))
        .execute(&mut *conn)
        .await
        .unwrap_err();
    assert_eq!(constraint_of(&inserted), Some("job_is_2_mib_at_most"));
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 3);
}

#[tokio::test]
async fn arguments_beyond_the_limit_leave_the_callers_transaction_as_it_was() {
    let db = database().await;
    sqlx::query("update queue.settings set max_args_bytes = 2048").execute(&db.pool).await.unwrap();
    let fits = || NewJob::raw("k", args_of(100));
    let mut tx = db.pool.begin().await.unwrap();
    enqueue(&mut tx, fits()).await.unwrap();
    let mut zeros = json!({});
    // Few bytes as they are sent, and more as they are stored.
    for name in 0..10 {
        zeros[name.to_string()] = serde_json::from_str("1e250").unwrap();
    }
    let lists = json!({ "a": vec![1; 900] });
    // White space that nobody would send, and that is not sent.
    let padded = format!("{{{}}}", " ".repeat(17 * 1024 * 1024));
    let padded: surety_queue::JsonText = padded.parse().unwrap();
    for too_long in [
        NewJob::raw("k", args_of(2100)),
        NewJob::raw("k", zeros),
        NewJob::raw("k", lists),
        NewJob::raw("k", args_of(40 * 1024 * 1024)),
        NewJob::raw("k", padded),
    ] {
        let unique = too_long.clone().unique(Unique::by_value(1));
        for jobs in [vec![fits(), too_long.clone()], vec![fits(), unique]] {
            let refused = enqueue_many(&mut tx, &jobs).await.unwrap_err();
            assert!(matches!(refused, QueueError::ArgsTooLong { .. }), "{refused:?}");
        }
        let batch = Batch::new().on_done(too_long).enqueue(&mut tx, vec![fits()]).await;
        assert!(matches!(batch, Err(QueueError::ArgsTooLong { .. })), "{batch:?}");
    }
    // Short once it is stored.
    let padded = format!("{{{}}}", " ".repeat(100_000));
    let padded: surety_queue::JsonText = padded.parse().unwrap();
    enqueue(&mut tx, NewJob::raw("k", padded)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db.pool, "select count(*) from queue.jobs").await, 2, "none but those");
}

#[tokio::test]
async fn a_limit_that_is_set_later_keeps_nothing_from_going_on() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let pad = "x".repeat(200 * 1024);
    let mut failing = NewJob::new(&Pay(Act::new(&pad, End::Fail))).unwrap().max_attempts(1);
    failing = failing.priority(1);
    let id = enqueue_new(&db.pool, failing).await;
    let done = act_of("done", 200 * 1024);
    let members = vec![NewJob::new(&Act::new("member", End::Complete)).unwrap()];
    Batch::new().on_done(done).enqueue(&mut conn, members).await.unwrap();

    sqlx::query("update queue.settings set max_args_bytes = 2048").execute(&db.pool).await.unwrap();
    assert!(enqueue(&mut conn, NewJob::raw("k", args_of(3000))).await.is_err());
    enqueue(&mut conn, NewJob::raw("k", args_of(1000))).await.unwrap();

    idle_worker(&db.pool).run_until_idle().await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "discarded");
    let effects = effects(&db.pool).await;
    assert!(effects.iter().any(|name| name.starts_with("released pay")), "the follow-up ran");
    assert!(effects.contains(&"done".to_owned()), "the callback ran");
    let by = Decision { by: "ada", reason: "again" };
    let _done = redrive(&mut conn, id, by).await.unwrap();
    assert_eq!(state_of(&db.pool, id).await, "available");
}

#[tokio::test]
async fn a_claim_takes_as_many_jobs_as_there_is_room_for_in_bytes_and_one_at_least() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let sizes = [100, 50_000, 50_000, 50_000, 200_000, 100];
    let mut jobs = Vec::new();
    for size in sizes {
        let id = enqueue_new(&db.pool, NewJob::raw("k", args_of(size.max(20)))).await;
        jobs.push(id.0);
    }
    let (queues, kinds) = (["default".to_owned()], ["k".to_owned()]);
    for expected in [&jobs[..3], &jobs[3..4], &jobs[4..5], &jobs[5..]] {
        let worker = Uuid::new_v4();
        let claimed =
            statements::claim(&mut conn, &queues, &kinds, 500, worker, 60.0, 110_000).await;
        let ids: Vec<i64> = claimed.iter().map(|job| job.id).collect();
        assert_eq!(ids, expected);
    }
    // A checkpoint is sent, too.
    for _ in 0..2 {
        enqueue_new(&db.pool, NewJob::raw("k", args_of(100))).await;
    }
    sqlx::query("update queue.jobs set checkpoint = $1 where not running")
        .bind(args_of(60_000))
        .execute(&db.pool)
        .await
        .unwrap();
    let worker = Uuid::new_v4();
    let claimed = statements::claim(&mut conn, &queues, &kinds, 500, worker, 60.0, 110_000).await;
    assert_eq!(claimed.len(), 1);
}

#[tokio::test]
async fn keys_take_turns_over_claims_that_are_cut() {
    let db = database().await;
    let mut conn = db.pool.acquire().await.unwrap();
    for n in 0..12 {
        let key = format!("key {}", n % 4);
        enqueue_new(&db.pool, NewJob::raw("k", args_of(50_000)).key(key)).await;
    }
    let mut after: Option<String> = None;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let rows: Vec<(Option<i64>, Option<String>, Option<bool>)> = sqlx::query_as(
            "select id, key, is_cut
             from queue.claim_by_key('default', '{k}', 500, gen_random_uuid(), 60, $1, 110000)",
        )
        .bind(&after)
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        let (last, jobs) = rows.split_last().unwrap();
        assert_eq!(jobs.len(), 2, "as many as there is room for");
        seen.extend(jobs.iter().map(|(_, key, _)| key.clone().unwrap()));
        assert_eq!(last.2, Some(seen.len() < 12), "it says that there are more");
        after.clone_from(&last.1);
    }
    seen.truncate(8);
    for key in 0..4 {
        let turns = seen.iter().filter(|seen| **seen == format!("key {key}")).count();
        assert!(turns >= 1, "key {key} had no turn: {seen:?}");
    }
}

/// A way to the database.
struct Way {
    mode: Arc<AtomicU8>,
    pool: PgPool,
}

const OPEN: u8 = 0;
/// The next answer that has `unheard` in it does not arrive.
const DEAF: u8 = 1;
/// 64 Mbit/s.
const SLOW: u8 = 2;

impl Way {
    async fn to(pool: &PgPool) -> Self {
        let options = pool.connect_options().as_ref().clone();
        let folder = options.get_socket().expect("tests use a socket");
        let server = folder.join(format!(".s.PGSQL.{}", options.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(OPEN));
        let seen = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&seen)));
            }
        });
        let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(options.get_username())
            .database(options.get_database().unwrap());
        Self { mode, pool: PgPoolOptions::new().connect_with(options).await.unwrap() }
    }

    fn is_now(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: UnixStream, mode: Arc<AtomicU8>) {
    let (mut asked, mut to_client) = client.into_split();
    let (mut answered, mut to_server) = server.into_split();
    let asking = async {
        let _ended = tokio::io::copy(&mut asked, &mut to_server).await;
    };
    let answering = async {
        // Small, as a network's buffers are.
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(length @ 1..) = answered.read(&mut buffer).await else { return };
            match mode.load(Ordering::SeqCst) {
                DEAF if buffer[..length].windows(7).any(|bytes| bytes == b"unheard") => {
                    mode.store(OPEN, Ordering::SeqCst);
                    std::future::pending().await
                }
                SLOW => tokio::time::sleep(Duration::from_micros(length as u64 / 8)).await,
                _ => {}
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

fn started(
    pool: &PgPool,
    settings: WorkerSettings,
) -> (CancellationToken, tokio::task::JoinHandle<surety_queue::WorkerSummary>) {
    let worker = worker(pool, &Gates::new(), settings);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    (stop, tokio::spawn(async move { worker.run(stopped).await }))
}

#[tokio::test]
async fn large_jobs_over_a_slow_way_stop_neither_each_other_nor_the_small_ones() {
    let db = database().await;
    let way = Way::to(&db.pool).await;
    let mut conn = db.pool.acquire().await.unwrap();
    // Four times what the way carries in the time of a claim.
    let jobs: Vec<NewJob> = (0..320).map(|n| act_of(&format!("{n}"), 250_000)).collect();
    for some in jobs.chunks(40) {
        enqueue_many(&mut conn, some).await.unwrap();
    }
    for n in 0..20 {
        enqueue_job(&db.pool, &Act::new(&format!("small {n}"), End::Complete)).await;
    }
    let (stop, run) = started(&way.pool, WorkerSettings::default());
    way.is_now(SLOW);
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(180);
    while count(&db.pool, "select count(*) from queue.jobs").await > 0 {
        assert!(Instant::now() < deadline, "{} are done", effects(&db.pool).await.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.cancel();
    run.await.unwrap();
    let ended = "select count(*) from queue.attempts where outcome <> 'completed'";
    assert_eq!(count(&db.pool, ended).await, 0, "no attempt was lost");
    assert_invariants_hold(&db.pool).await;
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_costs_its_jobs_neither_an_attempt_nor_a_crash() {
    for key in [None, Some("k")] {
        let db = database().await;
        let way = Way::to(&db.pool).await;
        let (stop, run) = started(&way.pool, WorkerSettings::default());
        eventually("the worker is there", async || {
            count(&db.pool, "select count(*) from queue.workers").await == 1
        })
        .await;
        way.is_now(DEAF);
        let jobs: Vec<NewJob> = (0..5)
            .map(|n| {
                let job = Act::new(&format!("unheard {n}"), End::Complete);
                let job = NewJob::new(&job).unwrap();
                if let Some(key) = key { job.key(key) } else { job }
            })
            .collect();
        let mut conn = db.pool.acquire().await.unwrap();
        let jobs = enqueue_many(&mut conn, &jobs).await.unwrap();
        let begun = Instant::now();
        eventually("they are done", async || effects(&db.pool).await.len() == 5).await;
        // Well before the leases of the lost claim are over.
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(way.mode.load(Ordering::SeqCst), OPEN, "an answer was lost");
        stop.cancel();
        run.await.unwrap();
        for job in jobs {
            let attempts: Vec<_> =
                attempts_of(&db.pool, job.id()).await.into_iter().map(|it| (it.0, it.1)).collect();
            assert_eq!(attempts, [(1, "completed".to_owned())]);
        }
        let crashes = "select sum(crash_count)::bigint from queue.finished_jobs";
        assert_eq!(count(&db.pool, crashes).await, 0);
        assert_invariants_hold(&db.pool).await;
    }
}

#[tokio::test]
async fn jobs_that_a_worker_runs_are_not_handed_back_by_it() {
    let db = database().await;
    let way = Way::to(&db.pool).await;
    let gates = Gates::new();
    let worker = worker(&way.pool, &gates, WorkerSettings::default());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let run = tokio::spawn(async move { worker.run(stopped).await });
    let before = enqueue_job(&db.pool, &Act::gated("before", End::Complete)).await;
    gates.wait_begun().await;
    way.is_now(DEAF);
    enqueue_job(&db.pool, &Act::new("unheard", End::Complete)).await;
    eventually("it is done", async || effects(&db.pool).await == ["unheard"]).await;
    assert_eq!(way.mode.load(Ordering::SeqCst), OPEN, "an answer was lost");
    let after = enqueue_job(&db.pool, &Act::gated("after", End::Complete)).await;
    gates.wait_begun().await;
    // Some looks for what was not heard of.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for id in [before, after] {
        assert_eq!(state_of(&db.pool, id).await, "running");
    }
    gates.go_on.add_permits(2);
    eventually("all are done", async || effects(&db.pool).await.len() == 3).await;
    stop.cancel();
    assert_eq!(run.await.unwrap().lease_lost, 0);
    assert_invariants_hold(&db.pool).await;
}
