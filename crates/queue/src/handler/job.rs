//! Kinds of jobs: a [`Job`] is a struct of arguments with a stable kind and a `run`.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::context::{Committed, JobContext};
use super::error::JobError;

/// A kind of job. The fields of the struct are the arguments, stored as JSON; everything that `run`
/// needs besides comes from [`Job::State`], which the worker hands to every run.
///
/// `run` may be executed more than once for one job (at-least-once execution). Its database effects
/// happen exactly once, because only [`JobContext::complete`] and its siblings make the
/// [`Committed`] that it must return, and they commit the effects together with the job's outcome.
/// Calls to others must carry [`JobContext::effect_key`].
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stable name, stored with every job. Never rename one that has jobs waiting.
    const KIND: &'static str;
    /// The queue that jobs of this kind go to.
    const QUEUE: &'static str = "default";
    /// 1 (claimed first) to 4 (last).
    const PRIORITY: i16 = 2;
    /// After so many failed attempts the job is discarded, and kept with every attempt's error. 1
    /// to 1000.
    const MAX_ATTEMPTS: i16 = 10;
    /// A run that takes longer is stopped and counts as a failed attempt.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// Keeps completed jobs, with their last attempt, until retention drops them. If false, a
    /// completed job leaves nothing behind, which is faster by half; failed attempts and jobs that
    /// end otherwise are kept in any case.
    const KEEPS_HISTORY: bool = true;
    /// The wait after a failed attempt, unless the error sets another.
    const BACKOFF: Backoff = Backoff::DEFAULT;
    /// The job that is enqueued when one of this kind is discarded and its handler has not seen to
    /// that itself, see [`FollowUp`].
    const ON_DISCARD: Option<FollowUp> = None;
    /// Encrypts the arguments before they are stored, see [`sealing`](crate::sealing). Such a job
    /// is made by `NewJob::sealed` only, and run by workers with a `Keyring`.
    ///
    /// A kind may become sealed while jobs of it wait: those that are in plain run as they are, and
    /// [`reseal`](crate::sealing::rotation::reseal) seals them.
    const SEALED: bool = false;
    /// Fields of the arguments that nobody is shown, in lists, in the API, on dashboards: names, or
    /// paths with dots, such as `card.number`; what is to the left of a dot may be an array of
    /// objects. A name that has a dot in it cannot be told from a path: name what it is in.
    ///
    /// They stay readable in the database; [`SEALED`](Self::SEALED) is for what nobody may read
    /// there. Each worker [declares](crate::enqueue::kinds) them when it starts.
    const REDACTED: &'static [&'static str] = &[];

    /// The application's services that every run gets: pools, clients, settings.
    type State: Clone + Send + Sync + 'static;

    /// Does the work of one job.
    ///
    /// # Errors
    ///
    /// What the error says decides what becomes of the job, see [`JobError`]. Any error of another
    /// type that `?` meets is [`JobError::Retry`].
    fn run(
        self,
        state: &Self::State,
        cx: JobContext,
    ) -> impl Future<Output = Result<Committed, JobError>> + Send;
}

/// A job that is enqueued by the very statement that discards another one, so exactly once for each
/// discard. For what must happen even if the handler could not: its last attempt failed or timed
/// out, its arguments did not parse, or its workers were lost too often.
///
/// [`JobContext::discard`] enqueues none: it commits what the handler itself has written for the
/// case.
///
/// The arguments are those of the discarded job and its names: `{"job": …, "kind": …, "args": …}`.
/// They are told as they are, though it may have been them that did not parse; sealed ones stay
/// [sealed](crate::sealing) in the database, and the follow-up's handler gets them open. All of it
/// is stored when the job is enqueued, because whoever discards it may know neither kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowUp {
    kind: Cow<'static, str>,
    queue: Cow<'static, str>,
    priority: i16,
    max_attempts: i16,
}

impl FollowUp {
    /// A job of this kind, with its queue, priority and bounds. It has no follow-up of its own.
    #[must_use]
    pub const fn job<J: Job>() -> Self {
        Self {
            kind: Cow::Borrowed(J::KIND),
            queue: Cow::Borrowed(J::QUEUE),
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
        }
    }
}
