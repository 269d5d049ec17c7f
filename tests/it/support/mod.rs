//! What the tests stand on. Nothing needs to be set up first: no server, no `DATABASE_URL`.
//!
//! - [`TestDb::new`]: a database of one's own with the schema in it, on a server that all tests
//!   share.
//! - [`TestCluster::start`]: a PostgreSQL of one's own, to stop, crash and start again.
//! - [`App::command`]: the real binary as a child process, to read, signal and kill.
//! - [`Terminal::start`]: the same on a terminal, whose screen is seen and whose keys are pressed.
//! - [`TestApi::start`]: the API in this process, over real sockets, with a database of its own.
//! - [`Person::new`]: a user who has signed in there.
//! - [`money`]: users with wallets, orders over them, and a worker that executes them.
//! - [`SimulatedBank::start`]: the bank behind deposits and withdrawals, and who runs their jobs.
//! - [`load`] and [`prober`]: providers that post webhooks while something is broken.
//! - [`PgBouncer::start`]: a connection pooler in front of a database.
//! - [`Proxy::start`]: a network between us and a database, to be cut and to lead elsewhere.
//! - [`OtlpReceiver::start`]: a collector that keeps the spans it is sent.

// Every feature's tests, and every test target, use a part of this.
#![allow(dead_code, unused_imports)]

mod api;
mod app;
pub(crate) mod doctor;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod money;
mod otlp_grpc;
mod otlp_receiver;
mod person;
pub(crate) mod prober;
mod pty;
mod simulated_bank;
mod test_db;

pub(crate) use api::{
    Answer, TestApi, WEBHOOKS, event, event_of, raw_post, read_to_end, send, try_write,
};
pub(crate) use app::{App, AppCommand, Binary};
pub(crate) use otlp_receiver::{OtlpReceiver, ReceivedFigure, ReceivedSpan};
pub(crate) use person::{PASSWORD, Person, sign_in};
pub(crate) use pty::{Size, Terminal, USUAL, until_hung_up};
pub(crate) use simulated_bank::SimulatedBank;
pub(crate) use test_db::{TestDb, migrated};

pub(crate) use surety_postgres::testing::{
    PATIENCE, PgBouncer, PgBouncerSettings, Proxy, ScratchDir, Signal, TestCluster, binaries,
    eventually, eventually_async, is_root, scratch_dir, send_signal, throwaway, wait_for_locks,
};

use sqlx::PgPool;
use surety::jobs::history_keeper::HistoryRetention;

/// What is told is kept for as long as a worker keeps it that was told nothing else.
pub(crate) const RETENTION: HistoryRetention = HistoryRetention {
    deliveries_days: 90,
    mails_days: 30,
    events_days: 365,
    operations_days: 365,
    bodies_days: None,
    bank_log_days: None,
};

/// Has the queue hold back its history, as after a jump of the clock.
pub(crate) async fn doubt_the_clock(pool: &PgPool) {
    let doubt = "
        insert into queue.retention (history, held_back, held_back_since, looked_at)
        values ('queue.attempts', 9, now(), now())
        on conflict (history) do update set held_back = 9, held_back_since = now()";
    sqlx::query(doubt).execute(pool).await.unwrap();
}

/// Ends what [`doubt_the_clock`] began.
pub(crate) async fn trust_the_clock(pool: &PgPool) {
    let trust = "update queue.retention set held_back = 0, held_back_since = null";
    sqlx::query(trust).execute(pool).await.unwrap();
}
