//! A COMMIT whose answer is lost: the worker asks by fence what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::kinds::{
    Act, End, assert_invariants_hold, attempts_of, database, effects, enqueue_job, idle_worker,
};

/// What the way to the database loses, once.
#[derive(Clone, Copy)]
pub(super) enum Lost {
    /// The COMMIT does not reach the server.
    Commit,
    /// The COMMIT happens, and nobody is told.
    Answer,
}

/// Which statement it is lost at.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Commit,
    /// Which commits by itself.
    SharedCompletion,
}

/// Another way to the same database, which breaks at the first COMMIT.
pub(super) async fn by_way_that_breaks(pool: &PgPool, lost: Lost) -> PgPool {
    by_way_that_breaks_at(pool, lost, At::Commit).await
}

async fn by_way_that_breaks_at(pool: &PgPool, lost: Lost, at: At) -> PgPool {
    let options = pool.connect_options().as_ref().clone();
    let folder = options.get_socket().expect("tests use a socket");
    let server = folder.join(format!(".s.PGSQL.{}", options.get_port()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let armed = Arc::new(AtomicBool::new(true));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&server).await.unwrap();
            tokio::spawn(relay(client, server, lost, at, Arc::clone(&armed)));
        }
    });
    let url = pool.connect_options().get_database().map(str::to_owned).unwrap();
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(options.get_username())
        .database(&url);
    PgPoolOptions::new().connect_with(options).await.unwrap()
}

async fn relay(
    mut client: TcpStream,
    mut server: UnixStream,
    lost: Lost,
    at: At,
    armed: Arc<AtomicBool>,
) {
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    let mut is_prepared = false;
    let contains =
        |message: &[u8], text: &[u8]| message.windows(text.len()).any(|bytes| bytes == text);
    loop {
        tokio::select! {
            Ok(length) = client.read(&mut asked) => {
                let asked = &asked[..length];
                let commits = match at {
                    At::Commit => contains(asked, b"COMMIT\0"),
                    // What comes after its text, which is sent once, is the first of its runs.
                    At::SharedCompletion => is_prepared,
                };
                is_prepared |= contains(asked, b"queue.end_jobs(");
                if commits && armed.swap(false, Ordering::Relaxed) {
                    if matches!(lost, Lost::Answer) {
                        server.write_all(asked).await.unwrap();
                        server.read_exact(&mut answered[..1]).await.unwrap();
                    }
                    return;
                }
                if length == 0 || server.write_all(asked).await.is_err() {
                    return;
                }
            }
            Ok(length) = server.read(&mut answered) => {
                if length == 0 || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

#[tokio::test]
async fn an_outcome_that_was_committed_holds_though_its_answer_was_lost() {
    for (end, outcome) in [
        (End::Complete, "completed"),
        (End::DiscardInTx, "discarded"),
        (End::CancelInTx, "cancelled"),
    ] {
        let db = database().await;
        let id = enqueue_job(&db.pool, &Act::new("a", end)).await;
        let worker = idle_worker(&by_way_that_breaks(&db.pool, Lost::Answer).await);

        let summary = worker.run_until_idle().await.unwrap();

        assert_eq!((summary.failed, summary.lease_lost), (0, 0), "{end:?}");
        let attempts = attempts_of(&db.pool, id).await;
        assert_eq!(attempts.len(), 1, "{end:?}: {attempts:?}");
        assert_eq!(attempts[0].1, outcome);
        assert_eq!(effects(&db.pool).await, ["a"], "{end:?}");
        assert_invariants_hold(&db.pool).await;
    }
}

#[tokio::test]
async fn an_outcome_that_was_not_committed_is_a_failed_attempt() {
    for (end, outcome) in [
        (End::Complete, "completed"),
        (End::DiscardInTx, "discarded"),
        (End::CancelInTx, "cancelled"),
    ] {
        let db = database().await;
        let id = enqueue_job(&db.pool, &Act::new("a", end)).await;
        let worker = idle_worker(&by_way_that_breaks(&db.pool, Lost::Commit).await);

        let summary = worker.run_until_idle().await.unwrap();

        assert_eq!((summary.failed, summary.lease_lost), (1, 0), "{end:?}");
        let outcomes: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|a| a.1).collect();
        assert_eq!(outcomes, ["failed", outcome]);
        assert_eq!(effects(&db.pool).await, ["a"], "{end:?}");
        assert_invariants_hold(&db.pool).await;
    }
}

#[tokio::test]
async fn a_shared_completion_holds_exactly_if_it_was_committed_whoever_was_told() {
    for (lost, outcomes) in
        [(Lost::Answer, &["completed"][..]), (Lost::Commit, &["failed", "completed"])]
    {
        let db = database().await;
        let id = enqueue_job(&db.pool, &Act::new("a", End::CompleteWithoutEffects)).await;
        let way = by_way_that_breaks_at(&db.pool, lost, At::SharedCompletion).await;

        let summary = idle_worker(&way).run_until_idle().await.unwrap();

        assert_eq!((summary.completed, summary.lease_lost), (1, 0));
        let attempts: Vec<_> = attempts_of(&db.pool, id).await.into_iter().map(|a| a.1).collect();
        assert_eq!(attempts, outcomes);
        assert_invariants_hold(&db.pool).await;
    }
}
