//! Queues on the wire.

use std::str::FromStr;

use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Enum, Object};
use serde::Serialize;
use time::OffsetDateTime;

use crate::http::wire::field_types::Text;
use crate::http::wire::json_body::json_object;
use crate::operations::queues::limits::{InvalidLimit, LimitChange, Setting};
use crate::operations::queues::{
    BlockCause, BlockedKey, DrainResult, LimitsView, OnPoison, Pause, QueueView,
};
use crate::operations::{MAX_REASON_CHARS, Reason};

/// A queue.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "QueueState")]
pub(in crate::http::api) struct QueueOut {
    /// The name of the queue.
    name: String,
    /// Jobs that run. This and the other counts stop at `counts_capped_at`.
    running: i64,
    /// Jobs that are due.
    available: i64,
    /// Jobs that wait for another attempt. This and `scheduled` are told apart among those that
    /// come first.
    retryable: i64,
    /// Jobs that wait for their time, or for other jobs.
    scheduled: i64,
    /// The number at which counts stop.
    counts_capped_at: i64,
    /// The moment at which the job that has been due for longest became due; null if none is.
    #[serde(with = "time::serde::rfc3339::option")]
    #[oai(nullable)]
    oldest_due: Option<OffsetDateTime>,
    /// The number of keys that wait for a decision.
    blocked_keys: i64,
    /// The pause of the queue, or of all; null while it is not paused.
    #[oai(nullable)]
    pause: Option<PauseOut>,
    /// The limits of the queue; null while it has none.
    #[oai(nullable)]
    limits: Option<LimitsOut>,
}

impl From<QueueView> for QueueOut {
    fn from(queue: QueueView) -> Self {
        Self {
            name: queue.queue,
            running: queue.running,
            available: queue.available,
            retryable: queue.retryable,
            scheduled: queue.scheduled,
            counts_capped_at: queue.counts_capped_at,
            oldest_due: queue.oldest_due,
            blocked_keys: queue.blocked_keys,
            pause: queue.pause.map(Into::into),
            limits: queue.limits.map(Into::into),
        }
    }
}

/// A pause: since when, by whom and why.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "QueuePause")]
pub(in crate::http::api) struct PauseOut {
    /// The one who paused it.
    paused_by: String,
    /// The reason that was given.
    reason: String,
    /// The moment of the pause.
    #[serde(with = "time::serde::rfc3339")]
    paused_at: OffsetDateTime,
}

impl From<Pause> for PauseOut {
    fn from(pause: Pause) -> Self {
        Self { paused_by: pause.paused_by, reason: pause.reason, paused_at: pause.paused_at }
    }
}

/// The limits of a queue; null is no limit.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "QueueLimits")]
pub(super) struct LimitsOut {
    /// The most jobs that run at once, over all workers.
    #[oai(nullable)]
    max_running: Option<u32>,
    /// The most jobs of one key that run at once.
    #[oai(nullable)]
    max_running_per_key: Option<u32>,
    /// The most jobs that start in a period.
    #[oai(nullable)]
    rate: Option<u32>,
    /// The most jobs of one key that start in a period.
    #[oai(nullable)]
    rate_per_key: Option<u32>,
    /// The period of both rates, in seconds.
    rate_period_secs: f64,
    /// The rule for a failing job where those of one key run one after another: `block`, `park`, or
    /// `skip_after=` and a number of attempts; null where they do not.
    #[oai(nullable)]
    ordered: Option<String>,
}

impl From<LimitsView> for LimitsOut {
    fn from(LimitsView(limits): LimitsView) -> Self {
        Self {
            max_running: limits.max_running,
            max_running_per_key: limits.max_running_per_key,
            rate: limits.rate,
            rate_per_key: limits.rate_per_key,
            rate_period_secs: limits.rate_period.as_secs_f64(),
            ordered: limits.ordered.map(|on_poison| match on_poison {
                OnPoison::Block => "block".to_owned(),
                OnPoison::SkipAfter(attempts) => format!("skip_after={attempts}"),
                OnPoison::Park => "park".to_owned(),
            }),
        }
    }
}

/// A page of queues, by name.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "QueuePage")]
pub(super) struct QueuePageOut {
    /// The queues of this page.
    pub(super) queues: Vec<QueueOut>,
    /// The pause of all queues; null if there is none.
    #[oai(nullable)]
    pub(super) pause_of_all: Option<PauseOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub(super) next_cursor: Option<String>,
}

/// A pause or resume, and how things stand after it.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "QueuePauseChange")]
pub(super) struct PauseChangeOut {
    /// True if this request has changed something; false if it was so before.
    pub(super) is_changed: bool,
    /// The pause that there is now, of the queue or of all; null if nothing is paused.
    #[oai(nullable)]
    pub(super) pause: Option<PauseOut>,
}

/// The result of a drain.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "DrainedQueue")]
pub(super) struct DrainedOut {
    /// True once no job of the queue runs. It is paused in any case.
    is_drained: bool,
    /// The number of its jobs that still run.
    running: i64,
}

impl From<DrainResult> for DrainedOut {
    fn from(result: DrainResult) -> Self {
        match result {
            DrainResult::Drained => Self { is_drained: true, running: 0 },
            DrainResult::StillRunning(running) => Self { is_drained: false, running },
        }
    }
}

/// The reason that a key is blocked.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "BlockCause", rename_all = "snake_case")]
enum BlockCauseName {
    /// The job at its head was discarded.
    Discarded,
    /// The job at its head failed, and the rule of the queue is to ask somebody first.
    Parked,
}

/// A key of an ordered queue of which nothing runs until somebody decides.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "BlockedKey")]
pub(super) struct BlockedKeyOut {
    /// The key.
    key: String,
    /// The job at its head.
    job_id: i64,
    /// The reason that it is blocked.
    cause: BlockCauseName,
    /// The moment at which it was blocked.
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    /// The number of jobs that wait behind the head; it stops at 10,000.
    waiting: i64,
}

impl From<BlockedKey> for BlockedKeyOut {
    fn from(blocked: BlockedKey) -> Self {
        Self {
            key: blocked.key,
            job_id: blocked.job_id.0,
            cause: match blocked.cause {
                BlockCause::Discarded => BlockCauseName::Discarded,
                BlockCause::Parked => BlockCauseName::Parked,
            },
            since: blocked.since,
            waiting: blocked.waiting,
        }
    }
}

/// A page of blocked keys, by name.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "BlockedKeyPage")]
pub(super) struct BlockedKeyPageOut {
    /// The blocked keys of this page.
    pub(super) blocked_keys: Vec<BlockedKeyOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub(super) next_cursor: Option<String>,
}

/// A key that goes on.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "UnblockedKey")]
pub(super) struct UnblockedOut {
    /// The job that was at its head: a parked one is tried again, a discarded one stays behind.
    pub(super) job_id: i64,
}

json_object! {
    /// A key that is to go on.
    #[oai(rename = "KeyToUnblock")]
    pub(super) struct UnblockIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
        /// The key.
        key: Text<200>,
    }

    fn value(fields) -> (Reason, String) {
        Some((fields.accept("reason", reason?.0.parse())?, key?.0))
    }
}

json_object! {
    /// A change of a queue's limits: null takes a limit away, what is absent stays.
    #[oai(rename = "QueueLimitsChange")]
    pub(super) struct LimitsChangeIn {
        /// The reason, for whoever asks later.
        reason: Text<MAX_REASON_CHARS>,
        /// The most jobs that run at once, over all workers; at least 1.
        #[oai(validator(minimum(value = "1")))]
        max_running: MaybeUndefined<u32>,
        /// The most jobs of one key that run at once; at least 1.
        #[oai(validator(minimum(value = "1")))]
        max_running_per_key: MaybeUndefined<u32>,
        /// The most jobs that start in a period: a number and a period, such as `100/1s` or `6/m`.
        rate: MaybeUndefined<Text<40>>,
        /// The same for the jobs of one key. Both rates have one period.
        rate_per_key: MaybeUndefined<Text<40>>,
        /// The rule for a failing job, to have those of one key run one after another: `block`,
        /// `park`, or `skip_after=` and a number of attempts.
        ordered: MaybeUndefined<Text<40>>,
    }

    fn value(fields) -> (Reason, LimitChange) {
        let reason = fields.accept("reason", reason?.0.parse());
        let max_running = fields.accept("max_running", setting(digits(max_running?)));
        let per_key = setting(digits(max_running_per_key?));
        let per_key = fields.accept("max_running_per_key", per_key);
        let rate = fields.accept("rate", setting(words(rate?)));
        let rate_per_key = fields.accept("rate_per_key", setting(words(rate_per_key?)));
        let ordered = fields.accept("ordered", setting(words(ordered?)));
        let change = LimitChange {
            max_running: max_running?,
            max_running_per_key: per_key?,
            rate: rate?,
            rate_per_key: rate_per_key?,
            ordered: ordered?,
        };
        Some((reason?, change))
    }
}

fn digits(number: MaybeUndefined<u32>) -> MaybeUndefined<String> {
    number.map_value(|number| number.to_string())
}

fn words(text: MaybeUndefined<Text<40>>) -> MaybeUndefined<String> {
    text.map_value(|Text(text)| text)
}

/// A limit as people write it.
fn setting<T: FromStr<Err = InvalidLimit>>(
    field: MaybeUndefined<String>,
) -> Result<Option<Setting<T>>, InvalidLimit> {
    match field {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Ok(Some(Setting::Off)),
        MaybeUndefined::Value(text) => text.parse().map(Some),
    }
}
