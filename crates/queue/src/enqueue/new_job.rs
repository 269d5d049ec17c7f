//! A job that is about to be enqueued.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::unique::Unique;
use crate::QueueError;
use crate::handler::{FollowUp, Job};
use crate::ids::{BatchId, JobId};
use crate::json::JsonText;
use crate::moments;
use crate::telemetry::TraceContext;

/// A job that is about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub(crate) queue: Cow<'static, str>,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) priority: i16,
    pub(crate) max_attempts: i16,
    pub(crate) delay: Duration,
    pub(crate) args: JsonText,
    /// The plain text of sealed `args`, kept until the value that the job is unique by is known.
    pub(crate) plain_args: Option<PlainArgs>,
    pub(crate) extras: Extras,
    pub(crate) unique: Option<Unique>,
    /// The jobs that it waits for.
    pub(crate) after: Vec<JobId>,
    pub(crate) if_failed: IfFailed,
    pub(crate) trace_context: Option<TraceContext>,
}

/// The rare properties of a job. The statement gets them as one JSON object, or null.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extras {
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(crate) run_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_discard: Option<FollowUp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) no_history: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch_id: Option<i64>,
    /// It waits for other jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) args_key: Option<String>,
}

impl NewJob {
    /// A job with these arguments, due at once, with the queue, priority, bounds and
    /// follow-up of its kind, and continuing the trace of the current span.
    ///
    /// # Errors
    ///
    /// [`QueueError::Args`] when the arguments are no JSON; [`QueueError::MustBeSealed`]
    /// when jobs of this kind are [sealed](Job::SEALED): for these there is [`Self::sealed`].
    pub fn new<J: Job>(args: &J) -> Result<Self, QueueError> {
        if J::SEALED {
            return Err(QueueError::MustBeSealed { kind: J::KIND });
        }
        Self::in_plain(args)
    }

    pub(crate) fn in_plain<J: Job>(args: &J) -> Result<Self, QueueError> {
        Ok(Self {
            queue: Cow::Borrowed(J::QUEUE),
            kind: Cow::Borrowed(J::KIND),
            priority: J::PRIORITY,
            max_attempts: J::MAX_ATTEMPTS,
            delay: Duration::ZERO,
            args: JsonText::of(args)
                .map_err(|source| QueueError::Args { kind: J::KIND, source })?,
            plain_args: None,
            extras: Extras {
                on_discard: J::ON_DISCARD,
                no_history: !J::KEEPS_HISTORY,
                ..Extras::default()
            },
            unique: None,
            after: Vec::new(),
            if_failed: IfFailed::default(),
            trace_context: TraceContext::current(),
        })
    }

    /// A job of a kind that this program need not know, in the queue `default`, with priority 2 and
    /// ten attempts. If the kind is [sealed](Job::SEALED), the next rotation of keys seals it.
    pub fn raw(kind: impl Into<String>, args: impl Into<JsonText>) -> Self {
        Self {
            queue: Cow::Borrowed("default"),
            kind: Cow::Owned(kind.into()),
            priority: 2,
            max_attempts: 10,
            delay: Duration::ZERO,
            args: args.into(),
            plain_args: None,
            extras: Extras::default(),
            unique: None,
            after: Vec::new(),
            if_failed: IfFailed::default(),
            trace_context: TraceContext::current(),
        }
    }

    /// Another queue than that of the kind. Workers claim from the queues of the kinds that they
    /// know, and from those that they are told.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Cow::Owned(queue.into());
        self
    }

    /// Due after this long, by the database's clock: 100 years at most.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self.extras.run_at = None;
        self
    }

    /// Due at this moment, by the database's clock; at once if it has passed. Jobs are due before
    /// the year 2200.
    #[must_use]
    pub fn run_at(mut self, moment: OffsetDateTime) -> Self {
        self.delay = Duration::ZERO;
        self.extras.run_at = Some(moments::nearest(moment));
        self
    }

    /// Another priority than that of the kind: 1 (claimed first) to 4 (last).
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Another bound than that of the kind: discarded after so many failed attempts, 1 to 1000.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: i16) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// The key of the job, such as its customer: jobs of one key share the limits per key of their
    /// queue, take fair turns with those of other keys, and run one after another where the queue
    /// is ordered. 1 to 200 characters.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.extras.key = Some(key.into());
        self
    }

    /// A word to find the job by. It may have several.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.extras.tags.push(tag.into());
        self
    }

    /// Enqueued only if there is no other such job, see [`Unique`].
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Continues this trace instead of the current span's.
    #[must_use]
    pub fn trace_context(mut self, context: Option<TraceContext>) -> Self {
        self.trace_context = context;
        self
    }

    /// The job waits until all of these are completed; called again, until the others are, too. A
    /// delay or a moment counts from the enqueue, and holds besides.
    ///
    /// Those that have ended already count as what they are. A unique job that is there already
    /// goes on to wait for what it waits for.
    #[must_use]
    pub fn after(mut self, jobs: &[JobId]) -> Self {
        self.after.extend_from_slice(jobs);
        self.extras.held = !self.after.is_empty();
        self
    }

    /// Sets the consequence for this job when one that it waits for is discarded or cancelled;
    /// without this it is [cancelled](IfFailed::Cancel).
    #[must_use]
    pub fn after_if_failed(mut self, policy: IfFailed) -> Self {
        self.if_failed = policy;
        self
    }

    /// The batch that the job is a member of. The batch must not be done; see
    /// [`Batch`](crate::groups::Batch).
    #[must_use]
    pub fn batch(mut self, id: BatchId) -> Self {
        self.extras.batch_id = Some(id.0);
        // What became of the members is told of the batch.
        self.extras.no_history = false;
        self
    }

    /// The value that the job is unique by, from its arguments in plain; none if it is not unique.
    pub(crate) fn unique_value(&self) -> Option<JsonText> {
        let args = self.plain_args.as_ref().map_or(&self.args, |PlainArgs(args)| args);
        Some(self.unique.as_ref()?.value(args))
    }
}

/// Arguments that are not to be seen: `Debug` does not show them.
#[derive(Clone)]
pub(crate) struct PlainArgs(pub(crate) JsonText);

impl fmt::Debug for PlainArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainArgs(..)")
    }
}

/// The consequence for a waiting job when one that it waits for is discarded or cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum IfFailed {
    /// It is cancelled, and told why; and so are those that wait for it, if they are of the same
    /// mind.
    #[default]
    Cancel,
    /// It waits until the other one is redriven and completed. If that can no longer happen,
    /// because the other one was cancelled, or was dismissed by an operator, it is cancelled.
    Wait,
    /// It goes on, as if the other one had been completed.
    Run,
}

impl IfFailed {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Wait => "wait",
            Self::Run => "run",
        }
    }
}

/// The result of enqueueing a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enqueued {
    /// It was enqueued under this number.
    New(JobId),
    /// There is such a job already; see [`Unique`]. Nothing was enqueued.
    Existing(JobId),
}

impl Enqueued {
    /// The job that is there now, new or not.
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }

    /// True when the job was there before.
    pub fn is_existing(self) -> bool {
        matches!(self, Self::Existing(_))
    }
}
