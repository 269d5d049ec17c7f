//! Shared commits: requests that arrive at the same time are written by one database transaction.
//!
//! Most of what a commit costs is its flush to disk, and it costs that once, whatever it carries. A
//! committer takes whatever waits, at once and with no delay to collect more: alone, a request
//! commits alone; under load, those that arrive while one commit is being flushed make up the next.
//! Each is answered after the commit that carries it (G1). What is written is a [`Work`]:
//! [`crate::http::api::record_transactions`] and [`crate::http::api::orders::PlaceOrders`].
//!
//! A committer owns its connection, so that neither slow reads of the API nor a connection that
//! died can keep it from its work: whatever goes wrong with a connection, it is dropped and a new
//! one made.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, raw_sql};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::wire::problem::{Code, Problem, is_about_the_data};
use crate::payments::LedgerError;
use crate::payments::transactions::TransactionError;
use crate::queue::{Notifier, QueueError};

/// The most requests that wait for a commit. Beyond that they are refused at once instead of after
/// a wait in vain.
const MAX_WAITING: usize = 8192;
/// The most requests in one commit: more gains nothing and makes the first wait for the last.
pub const MAX_BATCH: usize = 256;
/// After this long a request is answered that its outcome is not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// After this long a commit is given up and its connection dropped. Less than the above, so that
/// those in the commit are answered by it, and so much less that whoever then asks again is served
/// within five seconds of what went wrong.
const COMMIT_WITHIN: Duration = Duration::from_millis(2500);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A connection that does not answer to `begin` by then is cut off, and there is still time to
/// commit by another.
const BEGIN_WITHIN: Duration = Duration::from_secs(1);

/// The writing of requests that share a commit.
pub trait Work: Send + Sync + 'static {
    /// The item that a request hands in.
    type Item: Send + Sync + 'static;
    /// The result of writing an item.
    type Output: Send + 'static;

    /// Writes all that commits together for these items, and gives one outcome each, in their
    /// order. May be called again for the same items, after what it wrote was rolled back.
    fn write(
        &self,
        conn: &mut PgConnection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Output>, CommitError>> + Send;
}

/// The reason that nothing was written for a request, or may not have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NotWritten {
    /// The database is away, or nobody knows whether it committed. Sending again is safe.
    Unavailable,
    /// The database refuses this very item: a mistake of ours, since what it refuses we should have
    /// refused.
    Refused,
}

/// The queue into which requests hand their items. Clones share the same committers, which end when
/// the last is dropped and everything handed in was committed.
pub struct SharedCommit<W: Work> {
    waiting: mpsc::Sender<WaitingItem<W>>,
}

impl<W: Work> Clone for SharedCommit<W> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

struct WaitingItem<W: Work> {
    item: W::Item,
    /// The moment from which nobody waits for the answer.
    answer_by: Instant,
    answer: Waiter<W>,
}

type Waiter<W> = oneshot::Sender<Result<<W as Work>::Output, NotWritten>>;

impl<W: Work> SharedCommit<W> {
    /// Starts so many committers: while the commit of one is flushed, the next is filled. They
    /// connect when first needed, and call `notifier` after each commit.
    pub fn start(
        work: W,
        committers: u16,
        database: &PgConnectOptions,
        notifier: &Notifier,
    ) -> (Self, JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let (work, receiver) = (Arc::new(work), Arc::new(Mutex::new(receiver)));
        let unanswered = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..committers {
            let committer = Committer {
                work: Arc::clone(&work),
                waiting: Arc::clone(&receiver),
                database: database.clone(),
                connection: None,
                unanswered: Arc::clone(&unanswered),
                notifier: notifier.clone(),
            };
            running.spawn(committer.run());
        }
        (Self { waiting: sender }, running)
    }

    /// Hands the item in, and returns after the commit that carries it.
    ///
    /// Dropping the future changes nothing: what was handed in is committed.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] within five seconds when the database is away, or the outcome of the
    /// commit is not known; [`Code::Overloaded`] at once when too many wait already;
    /// [`Code::InternalError`].
    pub async fn commit(&self, item: W::Item) -> Result<W::Output, Problem> {
        let (answer, answered) = oneshot::channel();
        let answer_by = Instant::now() + ANSWER_WITHIN;
        self.waiting
            .try_send(WaitingItem { item, answer_by, answer })
            .map_err(|_| Problem::new(Code::Overloaded))?;
        match timeout_at(answer_by, answered).await {
            Ok(Ok(Ok(outcome))) => Ok(outcome),
            Ok(Ok(Err(NotWritten::Refused))) => Err(Problem::new(Code::InternalError)),
            Ok(Ok(Err(NotWritten::Unavailable)) | Err(_)) | Err(_) => {
                Err(Problem::new(Code::Unavailable))
            }
        }
    }
}

/// A connection between two commits.
struct IdleConnection {
    connection: PgConnection,
    /// [`Committer::unanswered`] when it was made.
    made_at: u64,
}

/// One loop of take, commit, answer.
struct Committer<W: Work> {
    work: Arc<W>,
    waiting: Arc<Mutex<mpsc::Receiver<WaitingItem<W>>>>,
    database: PgConnectOptions,
    connection: Option<IdleConnection>,
    /// Counts the commits that were not answered: connections from before are not used any more.
    /// Most likely they are cut off as well, and to find that out takes [`BEGIN_WITHIN`] for each.
    unanswered: Arc<AtomicU64>,
    notifier: Notifier,
}

impl<W: Work> Committer<W> {
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
    async fn commit_and_answer(&mut self, batch: Vec<WaitingItem<W>>) {
        if batch.is_empty() {
            return;
        }
        let (items, waiting): (Vec<W::Item>, Vec<Waiter<W>>) =
            batch.into_iter().map(|entry| (entry.item, entry.answer)).unzip();
        match self.commit(&items).await {
            Ok(outcomes) => {
                for (waiter, outcome) in waiting.into_iter().zip(outcomes) {
                    send_output::<W>(waiter, Ok(outcome));
                }
            }
            Err(error) if error.is_about_the_data() && items.len() > 1 => {
                tracing::warn!("a shared commit was refused, trying its members alone: {error:#}");
                for (item, waiter) in items.iter().zip(waiting) {
                    self.commit_alone(item, waiter).await;
                }
            }
            Err(error) => {
                let outcome = error.log_and_judge();
                for waiter in waiting {
                    send_output::<W>(waiter, Err(outcome));
                }
            }
        }
    }

    async fn commit_alone(&mut self, item: &W::Item, waiter: Waiter<W>) {
        let alone = match self.commit(std::slice::from_ref(item)).await {
            Ok(mut outcomes) => outcomes.pop().ok_or(NotWritten::Unavailable),
            Err(error) => Err(error.log_and_judge()),
        };
        send_output::<W>(waiter, alone);
    }

    /// One database transaction.
    async fn commit(&mut self, items: &[W::Item]) -> Result<Vec<W::Output>, CommitError> {
        let Ok(committed) = timeout(COMMIT_WITHIN, self.try_commit(items)).await else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return Err(CommitError::TimedOut);
        };
        let outcomes = committed?;
        self.notifier.notify();
        Ok(outcomes)
    }

    /// The connection is taken, and put back only when nothing about it is in doubt: an error, or a
    /// caller that stopped waiting, closes it, and with it whatever was open on it.
    async fn try_commit(&mut self, items: &[W::Item]) -> Result<Vec<W::Output>, CommitError> {
        let mut kept = self.begin().await?;
        match self.work.write(&mut kept.connection, items).await {
            Ok(outcomes) => {
                raw_sql("commit").execute(&mut kept.connection).await?;
                self.connection = Some(kept);
                Ok(outcomes)
            }
            Err(error) if error.is_about_the_data() => {
                raw_sql("rollback").execute(&mut kept.connection).await?;
                self.connection = Some(kept);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// A connection with a database transaction open. That `begin` fails on the one we had only
    /// means that the server was restarted, or the network, since; nothing was lost with it.
    async fn begin(&mut self) -> Result<IdleConnection, CommitError> {
        let made_at = self.unanswered.load(Ordering::Relaxed);
        if let Some(mut kept) = self.connection.take()
            && kept.made_at == made_at
            && let begin = raw_sql("begin").execute(&mut kept.connection)
            && matches!(timeout(BEGIN_WITHIN, begin).await, Ok(Ok(_)))
        {
            return Ok(kept);
        }
        let connect = PgConnection::connect_with(&self.database);
        let mut connection =
            timeout(CONNECT_WITHIN, connect).await.map_err(|_| CommitError::TimedOut)??;
        raw_sql("begin").execute(&mut connection).await?;
        Ok(IdleConnection { connection, made_at })
    }
}

fn send_output<W: Work>(waiter: Waiter<W>, outcome: Result<W::Output, NotWritten>) {
    // A client that has gone does not want the answer; its item is committed all the same.
    let _ = waiter.send(outcome);
}

/// The reason that a shared commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The commit took too long.
    #[error("the database did not commit in time")]
    TimedOut,
    /// The database did not do it.
    #[error("the database did not commit")]
    Database(#[from] sqlx::Error),
    /// Transactions of providers could not be recorded.
    #[error("the transactions could not be recorded")]
    Transactions(#[from] TransactionError),
    /// Orders of users could not be placed.
    #[error("the orders could not be placed")]
    Ledger(#[from] LedgerError),
    /// The jobs could not be enqueued.
    #[error("the jobs could not be enqueued")]
    Queue(#[from] QueueError),
}

impl CommitError {
    fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error)
            | Self::Transactions(TransactionError::Database(error))
            | Self::Ledger(LedgerError::Database(error))
            | Self::Queue(QueueError::Database(error)) => Some(error),
            Self::TimedOut | Self::Transactions(_) | Self::Ledger(_) | Self::Queue(_) => None,
        }
    }

    /// Tells errors about the data, after which nothing is wrong with the connection.
    fn is_about_the_data(&self) -> bool {
        self.database().is_some_and(is_about_the_data)
    }

    fn log_and_judge(self) -> NotWritten {
        let is_refused = self.is_about_the_data();
        let error = anyhow::Error::new(self);
        if is_refused {
            tracing::error!("an item was refused by the database: {error:#}");
            NotWritten::Refused
        } else {
            tracing::warn!("a shared commit failed: {error:#}");
            NotWritten::Unavailable
        }
    }
}
