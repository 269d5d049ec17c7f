//! Shared commits: requests that arrive at the same time are written by one database transaction.
//!
//! Most of what a commit costs is its flush to disk, and it costs that once, whatever it carries: a
//! [`batcher`](crate::queue::batcher) makes one commit of the requests that arrive while the last
//! is being flushed. Each is answered after the commit that carries it (G1). What is written is a
//! [`Work`]:
//! [`crate::http::api::record_transactions`] and [`crate::http::api::orders::PlaceOrders`].
//!
//! A committer owns its connection, so that neither slow reads of the API nor a connection that
//! died can keep it from its work: whatever goes wrong with a connection, it is dropped and a new
//! one made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, raw_sql};
use surety_postgres::Abandoned;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::wire::problem::{Code, Problem, is_about_the_data};
use crate::metrics::instruments::{COMMIT_DURATION, COMMIT_REQUESTS};
use crate::metrics::{Durations, Metrics, Timings};
use crate::payments::LedgerError;
use crate::payments::transactions::TransactionError;
use crate::queue::batcher::{Batcher, Limits, NoAnswer, Processor, Reply, Request};
use crate::queue::commits::confirmed;
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
/// The most requests that the span of a commit is linked to.
const MAX_LINKS: usize = 32;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A connection that was used so lately is used again without asking whether it is still there,
/// which is one more round trip. What a restarted server ends meanwhile is answered as unavailable:
/// a commit that may have been done is not repeated, as it would be found done, and might be lost
/// with this server.
const TRUSTED_FOR: Duration = Duration::from_millis(50);
/// A connection that does not answer by then is cut off, and there is still time to commit by
/// another.
const PING_WITHIN: Duration = Duration::from_secs(1);

/// The writing of requests that share a commit.
pub trait Work: Send + Sync + 'static {
    /// The name of this work, in figures and spans.
    const NAME: &'static str;
    /// The item that a request hands in.
    type Item: Send + Sync + 'static;
    /// The result of writing an item.
    type Output: Send + 'static;

    /// Writes and commits for these items together, and gives one outcome each, in their order.
    /// After an error about the data no transaction is open, and it may be called again for some of
    /// the items.
    fn commit(
        &self,
        conn: &mut PgConnection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Output>, CommitError>> + Send;
}

/// Ends the transaction of a [`Work`]: commits it, or rolls it back after an error about the data.
/// After any other error, the connection is closed anyway.
///
/// # Errors
///
/// That of `written`, and when it is not certain that it was committed.
pub async fn end<T>(
    conn: &mut PgConnection,
    written: Result<T, CommitError>,
) -> Result<T, CommitError> {
    match written {
        Ok(_) => confirmed(raw_sql("commit").execute(conn)).await.map(drop)?,
        Err(ref error) if error.is_about_the_data() => {
            raw_sql("rollback").execute(conn).await?;
        }
        Err(_) => {}
    }
    written
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
    batcher: Batcher<HandedIn<W>, Answer<W>>,
}

/// An item, and the span of the request that handed it in.
type HandedIn<W> = (<W as Work>::Item, SpanContext);

impl<W: Work> Clone for SharedCommit<W> {
    fn clone(&self) -> Self {
        Self { batcher: self.batcher.clone() }
    }
}

type Answer<W> = Result<<W as Work>::Output, NotWritten>;

impl<W: Work> SharedCommit<W> {
    /// Starts so many committers: while the commit of one is flushed, the next is filled. They
    /// connect when first needed, and call `notifier` after each commit.
    pub fn start(
        work: W,
        committers: u16,
        database: &PgConnectOptions,
        notifier: &Notifier,
        metrics: &Metrics,
    ) -> (Self, JoinSet<()>) {
        let figures = CommitFigures::show::<W>(metrics);
        let (work, unanswered) = (Arc::new(work), Arc::new(AtomicU64::new(0)));
        let abandoned = Abandoned::new(database.clone());
        let committers = (0..committers).map(|_| Committer {
            work: Arc::clone(&work),
            database: database.clone(),
            connection: None,
            unanswered: Arc::clone(&unanswered),
            abandoned: abandoned.clone(),
            notifier: notifier.clone(),
            figures: figures.clone(),
        });
        let limits = Limits { waiting: MAX_WAITING, batch: MAX_BATCH };
        let (batcher, running) = Batcher::start(limits, committers);
        (Self { batcher }, running)
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
        let asked_in = Context::current().span().span_context().clone();
        match self.batcher.ask_within((item, asked_in), ANSWER_WITHIN).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(NotWritten::Refused)) => Err(Problem::new(Code::InternalError)),
            Err(NoAnswer::Full) => Err(Problem::new(Code::Overloaded)),
            Ok(Err(NotWritten::Unavailable)) | Err(NoAnswer::Unknown) => {
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
    used_at: Instant,
}

/// Commits what arrived together.
struct Committer<W: Work> {
    work: Arc<W>,
    database: PgConnectOptions,
    connection: Option<IdleConnection>,
    /// Counts the commits that were not answered: connections from before are not used any more.
    /// Most likely they are cut off as well, and to find that out takes [`PING_WITHIN`] for each.
    unanswered: Arc<AtomicU64>,
    /// Counts those whose backends may still be there.
    abandoned: Abandoned,
    notifier: Notifier,
    figures: CommitFigures,
}

/// The times and sizes of commits.
#[derive(Clone)]
struct CommitFigures {
    committed: Arc<Durations>,
    failed: Arc<Durations>,
    requests: Arc<Durations>,
}

impl CommitFigures {
    fn show<W: Work>(metrics: &Metrics) -> Self {
        let (times, sizes) = (Timings::new(&COMMIT_DURATION), Timings::new(&COMMIT_REQUESTS));
        let figures = Self {
            committed: times.of(&[W::NAME, "committed"]),
            failed: times.of(&[W::NAME, "failed"]),
            requests: sizes.of(&[W::NAME]),
        };
        metrics.collect(move || vec![times.family(), sizes.family()]);
        figures
    }
}

impl<W: Work> Processor for Committer<W> {
    type Item = HandedIn<W>;
    type Answer = Answer<W>;

    /// Commits the batch and answers each of it. If the database refuses it because of what it
    /// holds, its members are tried one by one, so that one of them harms no other.
    async fn process(&mut self, batch: Vec<Request<HandedIn<W>, Answer<W>>>) {
        let (handed_in, replies): (Vec<HandedIn<W>>, Vec<Reply<Answer<W>>>) =
            batch.into_iter().map(Request::into_parts).unzip();
        let (items, asked_in): (Vec<W::Item>, Vec<SpanContext>) = handed_in.into_iter().unzip();
        let (began, began_at) = (Instant::now(), SystemTime::now());
        let result = self.commit(&items).await;
        self.figures.requests.observe_number(items.len() as f64);
        match &result {
            Ok(_) => self.figures.committed.observe(began.elapsed()),
            Err(_) => self.figures.failed.observe(began.elapsed()),
        }
        record_span::<W>(began_at, &asked_in, result.is_ok());
        match result {
            Ok(outputs) => {
                for (reply, output) in replies.into_iter().zip(outputs) {
                    reply.send(Ok(output));
                }
            }
            Err(error) if error.is_about_the_data() && items.len() > 1 => {
                tracing::warn!("a shared commit was refused, trying its members alone: {error:#}");
                for (item, reply) in items.iter().zip(replies) {
                    self.commit_alone(item, reply).await;
                }
            }
            Err(error) => {
                let reason = error.log_and_judge();
                for reply in replies {
                    reply.send(Err(reason));
                }
            }
        }
    }

    fn recover(&mut self) {
        self.connection = None;
    }
}

impl<W: Work> Committer<W> {
    async fn commit_alone(&mut self, item: &W::Item, reply: Reply<Answer<W>>) {
        let alone = match self.commit(std::slice::from_ref(item)).await {
            Ok(mut outcomes) => outcomes.pop().ok_or(NotWritten::Unavailable),
            Err(error) => Err(error.log_and_judge()),
        };
        reply.send(alone);
    }

    async fn commit(&mut self, items: &[W::Item]) -> Result<Vec<W::Output>, CommitError> {
        if self.abandoned.is_full() {
            return Err(CommitError::InDoubt);
        }
        let Ok(committed) = timeout(COMMIT_WITHIN, self.try_commit(items)).await else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            self.abandoned.count_one();
            return Err(CommitError::TimedOut);
        };
        let outcomes = committed?;
        self.notifier.notify();
        Ok(outcomes)
    }

    /// The connection is put back only when nothing about it is in doubt: an error, or a caller
    /// that stopped waiting, closes it, and with it whatever was open on it.
    async fn try_commit(&mut self, items: &[W::Item]) -> Result<Vec<W::Output>, CommitError> {
        let mut idle = self.idle_connection().await?;
        let committed = self.work.commit(&mut idle.connection, items).await;
        if committed.as_ref().map_or_else(CommitError::is_about_the_data, |_| true) {
            self.connection = Some(IdleConnection { used_at: Instant::now(), ..idle });
        }
        committed
    }

    /// The connection that was kept, or a new one. That the one we had is gone only means that the
    /// server was restarted, or the network, since it was used; nothing was lost with it.
    async fn idle_connection(&mut self) -> Result<IdleConnection, CommitError> {
        let made_at = self.unanswered.load(Ordering::Relaxed);
        if let Some(mut kept) = self.connection.take().filter(|kept| kept.made_at == made_at)
            && (kept.used_at.elapsed() < TRUSTED_FOR
                || matches!(timeout(PING_WITHIN, kept.connection.ping()).await, Ok(Ok(()))))
        {
            return Ok(kept);
        }
        let connect = PgConnection::connect_with(&self.database);
        let connection =
            timeout(CONNECT_WITHIN, connect).await.map_err(|_| CommitError::TimedOut)??;
        Ok(IdleConnection { connection, made_at, used_at: Instant::now() })
    }
}

/// Records the span of a commit, linked to the requests that it carried: a trace of its own,
/// because it belongs to all of them. Only where one of them is recorded.
fn record_span<W: Work>(began_at: SystemTime, asked_in: &[SpanContext], is_committed: bool) {
    let links: Vec<Link> = asked_in
        .iter()
        .filter(|context| context.is_sampled())
        .take(MAX_LINKS)
        .map(|context| Link::with_context(context.clone()))
        .collect();
    if links.is_empty() {
        return;
    }
    let scope = InstrumentationScope::builder("surety.http").build();
    let requests = i64::try_from(asked_in.len()).unwrap_or(i64::MAX);
    let mut span = global::tracer_with_scope(scope).build_with_context(
        SpanBuilder::from_name(format!("commit {}", W::NAME))
            .with_kind(SpanKind::Internal)
            .with_start_time(began_at)
            .with_links(links)
            .with_attributes([KeyValue::new("app.commit.requests", requests)]),
        &Context::new(),
    );
    if !is_committed {
        span.set_status(Status::error("not committed"));
    }
    span.end();
}

/// The reason that a shared commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The commit took too long.
    #[error("the database did not commit in time")]
    TimedOut,
    /// Earlier commits took too long, and the database is still at them: none is begun meanwhile.
    #[error("earlier commits are in doubt, perhaps because a standby is away")]
    InDoubt,
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
            Self::TimedOut
            | Self::InDoubt
            | Self::Transactions(_)
            | Self::Ledger(_)
            | Self::Queue(_) => None,
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
