//! Ground for tests that need a real PostgreSQL. Nothing has to be set up first: no server, no
//! `DATABASE_URL`.
//!
//! - [`TestDatabase::of`]: a database of one's own with a schema in it, on a server that all tests
//!   of a run share.
//! - [`TestCluster::start`]: a PostgreSQL of one's own, to stop, crash and start again.
//! - [`Process::command_of`]: a program as a child process, to read, signal and kill.
//! - [`PgBouncer::start`]: a connection pooler in front of a database.
//! - [`Proxy::start`]: a network between us and a database, to be cut and to lead elsewhere.
//!
//! Whatever goes wrong here panics: the test fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod database;
mod pgbouncer;
mod private_cluster;
mod process;
mod proxy;
mod shared_cluster;

pub use database::{Template, TestDatabase};
pub use pgbouncer::{PgBouncer, PgBouncerSettings};
pub use private_cluster::TestCluster;
pub use process::{Process, ProcessCommand, Signal, inherit_nothing_foreign, send_signal};
pub use proxy::Proxy;
pub use shared_cluster::{ScratchDir, binaries, scratch_dir, throwaway};

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use sqlx::PgPool;

/// Tells whether the tests run as root, as in a container.
pub fn is_root() -> bool {
    // A file that we have just made is ours.
    scratch_dir().metadata().unwrap().uid() == 0
}

/// The longest that a test waits for something that must happen. Long, because it only costs time
/// when the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; panics with `what` when it does not within [`PATIENCE`].
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same of a condition that has to be asked for.
pub async fn eventually_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until so many sessions of the database wait for a lock; panics when they do not within
/// [`PATIENCE`].
pub async fn wait_for_locks(pool: &PgPool, sessions: i64) {
    let waiting = "select count(distinct pid) from pg_locks where not granted and pid in
                   (select pid from pg_stat_activity where datname = current_database())";
    let deadline = Instant::now() + PATIENCE;
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.unwrap() < sessions {
        assert!(Instant::now() < deadline, "fewer than {sessions} sessions wait for a lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
