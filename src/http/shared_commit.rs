//! Shared commits: requests that arrive at the same time are recorded by one database transaction.
//!
//! Most of what a commit costs is its flush to disk, and it costs that once, whatever it carries. A
//! committer takes whatever waits, at once and with no delay to collect more: alone, a request
//! commits alone; under load, those that arrive while one commit is being flushed make up the next.
//! Each is answered after the commit that carries it (G1).
//!
//! A committer owns its connection, so that neither slow reads of the API nor a connection that
//! died can keep it from its work: whatever goes wrong with a connection, it is dropped and a new
//! one made.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, raw_sql};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::{Code, Problem, is_about_the_data};
use crate::jobs::SettleTransaction;
use crate::payments::transactions::{self, NewTransaction, Recorded, TransactionError};
use crate::queue::QueueError;
use crate::queue::enqueue::{NewJob, enqueue_many};
use crate::queue::notifier::Notifier;
use crate::queue::trace_context::TraceContext;

/// The most requests that wait for a commit. Beyond that they are refused at once instead of after
/// a wait in vain.
const MAX_WAITING: usize = 8192;
/// The most requests in one commit: more gains nothing and makes the first wait for the last.
pub const MAX_BATCH: usize = 256;
/// After this long a request is answered that its outcome is not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// After this long a commit is given up and its connection dropped. Less than the above, so that
/// those in the commit are answered by it.
const COMMIT_WITHIN: Duration = Duration::from_secs(4);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How commits are shared.
#[derive(Clone, Copy, Debug)]
pub struct SharedCommitSettings {
    /// Commits under way at the same time: while one is flushed, the next is filled.
    pub committers: u16,
    /// How long after its acceptance a transaction is settled.
    pub settle_delay: Duration,
}

/// Why a transaction was not recorded, or may not have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NotRecorded {
    /// The database is away, or nobody knows whether it committed. Sending again is safe.
    Unavailable,
    /// The database refuses this very transaction: a mistake of ours, since what it refuses we
    /// should have refused.
    Refused,
}

/// Where requests hand their transactions in. Clones share the same committers, which end when the
/// last is dropped and everything handed in was committed.
#[derive(Clone)]
pub struct SharedCommit {
    waiting: mpsc::Sender<Entry>,
}

struct Entry {
    transaction: NewTransaction,
    trace_context: Option<TraceContext>,
    /// From then on nobody waits for the answer.
    answer_by: Instant,
    answer: oneshot::Sender<Result<Recorded, NotRecorded>>,
}

impl SharedCommit {
    /// Starts the committers; they connect when first needed.
    pub fn start(
        database: &PgConnectOptions,
        notifier: &Notifier,
        settings: SharedCommitSettings,
    ) -> (Self, JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut committers = JoinSet::new();
        for _ in 0..settings.committers {
            let committer = Committer {
                waiting: Arc::clone(&receiver),
                database: database.clone(),
                connection: None,
                notifier: notifier.clone(),
                settle_delay: settings.settle_delay,
            };
            committers.spawn(committer.run());
        }
        (Self { waiting: sender }, committers)
    }

    /// Records the transaction, together with the job that settles it when it is new, and returns
    /// after the commit.
    ///
    /// Dropping the future changes nothing: what was handed in is committed.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] within five seconds when the database is away, or the outcome of the
    /// commit is not known; [`Code::Overloaded`] at once when too many wait already;
    /// [`Code::InternalError`].
    pub async fn record(&self, transaction: NewTransaction) -> Result<Recorded, Problem> {
        let (answer, answered) = oneshot::channel();
        let answer_by = Instant::now() + ANSWER_WITHIN;
        let trace_context = TraceContext::current();
        self.waiting
            .try_send(Entry { transaction, trace_context, answer_by, answer })
            .map_err(|_| Problem::new(Code::Overloaded))?;
        match timeout_at(answer_by, answered).await {
            Ok(Ok(Ok(recorded))) => Ok(recorded),
            Ok(Ok(Err(NotRecorded::Refused))) => Err(Problem::new(Code::InternalError)),
            Ok(Ok(Err(NotRecorded::Unavailable)) | Err(_)) | Err(_) => {
                Err(Problem::new(Code::Unavailable))
            }
        }
    }
}

/// One loop of take, commit, answer.
struct Committer {
    waiting: Arc<Mutex<mpsc::Receiver<Entry>>>,
    database: PgConnectOptions,
    connection: Option<PgConnection>,
    notifier: Notifier,
    settle_delay: Duration,
}

impl Committer {
    async fn run(mut self) {
        loop {
            let mut batch = Vec::with_capacity(MAX_BATCH);
            // One committer at a time takes; the lock is held while it waits, and the next one
            // waits for the lock.
            if self.waiting.lock().await.recv_many(&mut batch, MAX_BATCH).await == 0 {
                return;
            }
            // Those were answered already; to commit them now would only keep the others waiting.
            batch.retain(|entry| entry.answer_by > Instant::now());
            // A panic costs its own batch, whose requests are told that nobody knows; were it to
            // end the committer, nothing would be accepted any more.
            let committing = AssertUnwindSafe(self.commit_and_answer(batch));
            if committing.catch_unwind().await.is_err() {
                self.connection = None;
            }
        }
    }

    /// Commits the batch and answers each of it. If the database refuses it because of what it
    /// holds, its members are tried one by one, so that one of them harms no other.
    async fn commit_and_answer(&mut self, batch: Vec<Entry>) {
        if batch.is_empty() {
            return;
        }
        let (transactions, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(Entry::into_parts).unzip();
        match self.commit(&transactions, &waiting).await {
            Ok(outcomes) => {
                for (waiter, outcome) in waiting.into_iter().zip(outcomes) {
                    waiter.tell(Ok(outcome));
                }
            }
            Err(error) if error.is_about_the_data() && transactions.len() > 1 => {
                tracing::warn!("a shared commit was refused, trying its members alone: {error:#}");
                for (transaction, waiter) in transactions.into_iter().zip(waiting) {
                    self.commit_alone(transaction, waiter).await;
                }
            }
            Err(error) => {
                let outcome = error.log_and_judge();
                for waiter in waiting {
                    waiter.tell(Err(outcome));
                }
            }
        }
    }

    async fn commit_alone(&mut self, transaction: NewTransaction, waiter: Waiter) {
        let result = self.commit(&[transaction], std::slice::from_ref(&waiter)).await;
        let alone = result.map(|outcomes| outcomes[0]).map_err(|error| error.log_and_judge());
        waiter.tell(alone);
    }

    /// One database transaction.
    async fn commit(
        &mut self,
        transactions: &[NewTransaction],
        waiting: &[Waiter],
    ) -> Result<Vec<Recorded>, CommitError> {
        let within = timeout(COMMIT_WITHIN, self.try_commit(transactions, waiting));
        let outcomes = within.await.unwrap_or(Err(CommitError::TimedOut))?;
        self.notifier.notify();
        Ok(outcomes)
    }

    /// The connection is taken, and put back only when nothing about it is in doubt: an error, or a
    /// caller that stopped waiting, closes it, and with it whatever was open on it.
    async fn try_commit(
        &mut self,
        transactions: &[NewTransaction],
        waiting: &[Waiter],
    ) -> Result<Vec<Recorded>, CommitError> {
        let mut connection = self.begin().await?;
        match self.record(&mut connection, transactions, waiting).await {
            Ok(outcomes) => {
                raw_sql("commit").execute(&mut connection).await?;
                self.connection = Some(connection);
                Ok(outcomes)
            }
            Err(error) if error.is_about_the_data() => {
                raw_sql("rollback").execute(&mut connection).await?;
                self.connection = Some(connection);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// All that commits together: the transactions, and a job for each that is new (G2).
    async fn record(
        &self,
        connection: &mut PgConnection,
        transactions: &[NewTransaction],
        waiting: &[Waiter],
    ) -> Result<Vec<Recorded>, CommitError> {
        let outcomes = transactions::record_many(connection, transactions).await?;
        let mut jobs = Vec::with_capacity(outcomes.len());
        for (outcome, waiter) in outcomes.iter().zip(waiting) {
            match outcome {
                Recorded::New(transaction) => jobs.push(
                    NewJob::new(&SettleTransaction { transaction: *transaction })?
                        .delay(self.settle_delay)
                        .trace_context(waiter.trace_context.clone()),
                ),
                Recorded::Duplicate | Recorded::Conflict => {}
            }
        }
        enqueue_many(connection, &jobs).await?;
        Ok(outcomes)
    }

    /// A connection with a database transaction open. That `begin` fails on the one we had only
    /// means that the server was restarted since; nothing was lost with it.
    async fn begin(&mut self) -> Result<PgConnection, CommitError> {
        if let Some(mut connection) = self.connection.take()
            && raw_sql("begin").execute(&mut connection).await.is_ok()
        {
            return Ok(connection);
        }
        let connect = PgConnection::connect_with(&self.database);
        let mut connection =
            timeout(CONNECT_WITHIN, connect).await.map_err(|_| CommitError::TimedOut)??;
        raw_sql("begin").execute(&mut connection).await?;
        Ok(connection)
    }
}

impl Entry {
    fn into_parts(self) -> (NewTransaction, Waiter) {
        let waiter = Waiter { trace_context: self.trace_context, answer: self.answer };
        (self.transaction, waiter)
    }
}

struct Waiter {
    trace_context: Option<TraceContext>,
    answer: oneshot::Sender<Result<Recorded, NotRecorded>>,
}

impl Waiter {
    fn tell(self, outcome: Result<Recorded, NotRecorded>) {
        // A client that has gone does not want the answer; its transaction is committed all the
        // same.
        let _ = self.answer.send(outcome);
    }
}

#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("the database did not commit in time")]
    TimedOut,
    #[error("the database did not commit")]
    Database(#[from] sqlx::Error),
    #[error("the transactions could not be recorded")]
    Transactions(#[from] TransactionError),
    #[error("the jobs could not be enqueued")]
    Queue(#[from] QueueError),
}

impl CommitError {
    fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error)
            | Self::Transactions(TransactionError::Database(error))
            | Self::Queue(QueueError::Database(error)) => Some(error),
            Self::TimedOut | Self::Transactions(_) | Self::Queue(_) => None,
        }
    }

    /// Whether the server said no because of what it was given, in which case nothing is wrong with
    /// the connection.
    fn is_about_the_data(&self) -> bool {
        self.database().is_some_and(is_about_the_data)
    }

    fn log_and_judge(self) -> NotRecorded {
        let is_refused = self.is_about_the_data();
        let error = anyhow::Error::new(self);
        if is_refused {
            tracing::error!("a transaction was refused by the database: {error:#}");
            NotRecorded::Refused
        } else {
            tracing::warn!("a shared commit failed: {error:#}");
            NotRecorded::Unavailable
        }
    }
}
