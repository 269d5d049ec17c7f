//! What the tests stand on. Nothing needs to be set up first: no server, no `DATABASE_URL`.
//!
//! - [`TestDb::new`]: a database of one's own with the schema in it, on a server that all tests
//!   share.
//! - [`TestCluster::start`]: a PostgreSQL of one's own, to stop, crash and start again.
//! - [`App::command`]: the real binary as a child process, to read, signal and kill.
//! - [`TestApi::start`]: the API in this process, over real sockets, with a database of its own.
//! - [`Person::new`]: a user who has signed in there.
//! - [`money`]: users with wallets, orders over them, and a worker that executes them.
//! - [`SimulatedBank::start`]: the bank behind deposits and withdrawals, and who runs their jobs.
//! - [`PgBouncer::start`]: a connection pooler in front of a database.
//! - [`Proxy::start`]: a network between us and a database, to be cut and to lead elsewhere.
//! - [`OtlpReceiver::start`]: a collector that keeps the spans it is sent.

// Every feature's tests use a part of this.
#![allow(dead_code, unused_imports)]

mod api;
mod app;
pub(crate) mod ledger;
pub(crate) mod money;
mod otlp_receiver;
mod person;
mod pgbouncer;
mod private_cluster;
mod proxy;
mod shared_cluster;
mod simulated_bank;
mod test_db;

pub(crate) use api::{
    Answer, TestApi, WEBHOOKS, event, event_of, raw_post, read_to_end, send, try_write,
};
pub(crate) use app::{App, AppCommand, Signal, send_signal};
pub(crate) use otlp_receiver::{OtlpReceiver, ReceivedSpan};
pub(crate) use person::{PASSWORD, Person, sign_in};
pub(crate) use pgbouncer::{PgBouncer, PgBouncerSettings};
pub(crate) use private_cluster::TestCluster;
pub(crate) use proxy::Proxy;
pub(crate) use shared_cluster::{ScratchDir, binaries, scratch_dir, throwaway};
pub(crate) use simulated_bank::SimulatedBank;
pub(crate) use test_db::TestDb;

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// Whether the tests run as root, as in a container.
pub(crate) fn is_root() -> bool {
    // A file that we have just made is ours.
    scratch_dir().metadata().unwrap().uid() == 0
}

/// How long a test waits for something that must happen. Long, because it only costs time when the
/// test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; panics with `what` when it does not within [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same of a condition that has to be asked for.
pub(crate) async fn eventually_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
