//! Operations: what operators do, each written once, for the command line and the HTTP API.
//!
//! # Parts
//!
//! - [`Actor`]: who acts, by which way in, and why; [`Identity`] alone where no reason is kept.
//! - [`jobs`]: list, explain, retry, cancel, discard, edit, enqueue, wait.
//! - [`failures`]: what failed, by fingerprint. [`bulk`]: one action on all jobs of a filter.
//! - [`conflicts`]: transactions that came again with other content, and decisions over them.
//! - [`dead_letters`]: discarded jobs that wait for a decision, and the decisions.
//! - [`webhook_rejections`]: inbound webhooks that were refused.
//! - [`queues`], [`workers`], [`schedules`]: reading them, holding them up, draining them.
//! - [`users`], [`api_keys`]: the people and machines that may call.
//! - [`notifications`]: whether a user gets mail.
//! - [`job_keys`]: sealing stored jobs again under the current key.
//! - [`activity`]: what happened when, for charts.
//! - [`archives`]: old transfers in files, and the proof of these.
//! - [`audit`]: the log of all this, its proofs and its verification.
//! - [`overview`]: the figures of the whole system, and what of them needs a person.
//! - [`figures`]: the whole system in numbers, for Prometheus.
//! - [`health`], [`verify`], [`reconciliation`]: examining the database, checking every invariant,
//!   comparing the ledger with the bank's statement.
//! - [`endpoints`]: who is told of what by our webhooks, and what became of that.
//! - [`transactions`], [`orders`], [`ledger`]: reading the money, whosever it is.
//! - [`timeline`]: what happened to a transaction or an order, from all sources.
//! - [`demo_data`], [`trigger`], [`rehearsal`]: users with money and a history, events on demand,
//!   and payments to be watched.
//!
//! # Rules of this layer
//!
//! - An operation takes a connection or the pool, an [`Actor`] where it changes something that is
//!   kept with who and why, and a typed request. It checks the request, begins a database
//!   transaction, calls the modules below, commits, and returns a view or a typed refusal.
//! - Rules live here and nowhere above: which jobs may not be cancelled, which arguments a kind
//!   takes, how long a reason may be. The callers parse, authorise and present.
//! - A view implements `Serialize`. Its JSON is the same for every caller.
//! - Each module has one error enum; a variant is something that a caller can act on. The command
//!   line words them for terminals, HTTP maps them to problems.
//! - A request that can be tried out carries a [`Mode`]. A dry run does all the work, so that it is
//!   known to be possible, and rolls back.
//!
//! Deliberately absent: clap, poem, exit codes, tables, the names of commands, and who may call
//! what, which the HTTP edge decides. Waking idle workers is left to the caller, too: a server has
//! a notifier that coalesces wake-ups, a command [sends one](wake_workers) as it ends.

pub mod activity;
pub mod actor;
pub mod api_keys;
pub mod archives;
pub mod audit;
pub mod bulk;
pub mod conflicts;
pub mod dead_letters;
pub mod demo_data;
pub mod endpoints;
pub mod failures;
pub mod figures;
pub mod health;
pub mod job_keys;
pub mod jobs;
pub mod ledger;
pub mod notifications;
pub mod orders;
pub mod overview;
pub mod queues;
pub mod reconciliation;
pub mod rehearsal;
pub mod schedules;
pub mod timeline;
pub mod transactions;
pub mod trigger;
pub mod users;
pub mod verify;
pub mod webhook_rejections;
pub mod workers;

pub use actor::{Actor, Identity, InvalidReason, MAX_REASON_CHARS, Reason};

pub use crate::queue::health::span;
pub use crate::queue::operate::known_names::KnownNames;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;

use crate::queue::QueueError;
use crate::queue::commits::commit;
use crate::queue::enqueue::notify_now;

/// The mode of an operation that can be tried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Changes are committed.
    Commit,
    /// Changes are made, so that they are known to be possible, and rolled back.
    DryRun,
}

impl Mode {
    /// Ends the transaction of an operation that succeeded.
    async fn end(self, tx: Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
        match self {
            Self::Commit => commit(tx).await,
            Self::DryRun => tx.rollback().await,
        }
    }
}

/// The present moment by the database's clock, the only one that decides over jobs (G8).
///
/// # Errors
///
/// When the database refuses.
pub async fn database_now(conn: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(conn).await
}

/// The version of the PostgreSQL that answers, such as `17.5`.
///
/// # Errors
///
/// When the database refuses.
pub async fn database_version(conn: &mut PgConnection) -> Result<String, sqlx::Error> {
    let version = sqlx::query_scalar::<_, String>("select current_setting('server_version')");
    let version = version.fetch_one(conn).await?;
    // Distributions add a name of their own.
    Ok(version.split_whitespace().next().unwrap_or_default().to_owned())
}

/// The names of kinds and queues that somebody knows, this program among them.
///
/// # Errors
///
/// When the database refuses.
pub async fn known_names(conn: &mut PgConnection) -> Result<KnownNames, QueueError> {
    let mut known = KnownNames::read(conn).await?;
    for kind in crate::jobs::kinds() {
        known.kinds.insert(kind.kind().to_owned());
        known.queues.insert(kind.queue().to_owned());
    }
    Ok(known)
}

/// Wakes idle workers, which would otherwise find new jobs at their next poll.
pub async fn wake_workers(pool: &PgPool) {
    notify_now(pool).await;
}
