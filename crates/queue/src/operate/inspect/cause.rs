//! The causes that keep a job from running, in words.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::ids::JobId;
use crate::operate::queues::BlockCause;
use crate::state::JobState;

/// Something that keeps a job from running.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// It is done.
    Completed {
        /// The moment of its completion.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Attempts begun.
        attempts: i16,
    },
    /// It is no longer wanted.
    Cancelled {
        /// The moment of its end.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// The person who cancelled it; null if its handler did, or another job's end.
        by: Option<String>,
        /// The reason that was given.
        reason: Option<String>,
    },
    /// It failed for good.
    Discarded {
        /// The moment of its end.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Attempts begun.
        attempts: i16,
        /// The error of the last attempt; null if retention has dropped it.
        error: Option<String>,
    },
    /// An operator discarded it while it waited.
    DiscardedByOperator {
        /// The moment of the decision.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// The author of the decision.
        by: String,
        /// The reason that was given.
        reason: String,
    },
    /// A worker has it.
    Running {
        /// The worker that runs it.
        worker_id: Uuid,
        /// The moment at which the run began.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// The number of this attempt.
        attempt: i16,
        /// After so many failed attempts it is discarded.
        max_attempts: i16,
        /// In percent, if its handler tells.
        progress: Option<i16>,
        /// In words, if its handler tells.
        progress_text: Option<String>,
    },
    /// A worker has it, and is to stop.
    CancelRequested {
        /// The worker that runs it.
        worker_id: Uuid,
        /// The person who asked to cancel it.
        by: String,
        /// The reason that was given.
        reason: String,
    },
    /// The worker that had it is gone; it is about to be taken back.
    WorkerLost {
        /// The worker that was lost.
        worker_id: Uuid,
        /// The moment at which its lease ran out.
        #[serde(with = "time::serde::rfc3339")]
        lease_expired_at: OffsetDateTime,
    },
    /// It waits for other jobs to end.
    Held {
        /// The first of those.
        depends_on: Vec<JobId>,
        /// The number of jobs that it waits for.
        total: i64,
    },
    /// It was enqueued for later.
    Scheduled {
        /// The moment at which it is due.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// It failed, and waits before it is tried again.
    WaitsForRetry {
        /// The moment at which it is due.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
        /// Attempts begun.
        attempt: i16,
        /// After so many failed attempts it is discarded.
        max_attempts: i16,
        /// The error of the last attempt.
        error: Option<String>,
    },
    /// Its handler put it off.
    Snoozed {
        /// The moment at which it is due.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
        /// The reason that its handler gave.
        reason: String,
    },
    /// Its queue is paused, or all are.
    Paused {
        /// The queue; `*` for all.
        queue: String,
        /// The person who paused it.
        by: String,
        /// The reason that was given.
        reason: String,
        /// The moment of the pause.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// Its key goes on only when somebody has decided.
    KeyBlocked {
        /// The key.
        key: String,
        /// The job at its head; it may be this one.
        by: JobId,
        /// The reason that the key is blocked.
        why: BlockCause,
        /// The moment at which the key was blocked.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// An earlier job of its key must end first, as its queue is ordered.
    BehindInKey {
        /// The key.
        key: String,
        /// The first job of it.
        job: JobId,
        /// The state of that job.
        state: JobState,
    },
    /// There is no worker.
    NoWorker,
    /// No worker knows its kind.
    UnknownKind {
        /// The kind.
        kind: String,
        /// The number of workers.
        workers: i64,
    },
    /// No worker that knows its kind claims from its queue.
    UnclaimedQueue {
        /// The queue.
        queue: String,
        /// The kind.
        kind: String,
    },
    /// As many jobs of its queue run as may.
    QueueFull {
        /// The queue.
        queue: String,
        /// Jobs of it that run.
        running: i64,
        /// Jobs of it that may run at once.
        max: i32,
    },
    /// As many jobs of its key run as may.
    KeyFull {
        /// The key.
        key: String,
        /// Jobs of it that run.
        running: i64,
        /// Jobs of it that may run at once.
        max: i32,
    },
    /// Its queue, or its key there, starts only so many jobs in a time, and has.
    RateUsedUp {
        /// The queue.
        queue: String,
        /// Jobs that may start in one period.
        rate: i32,
        /// The length of the period in seconds.
        period_secs: f64,
        /// Seconds until the next one may start.
        next_in_secs: Option<f64>,
    },
    /// Jobs of more priority, or due earlier, are ahead of it.
    JobsAhead {
        /// The number that were counted.
        count: i64,
        /// True when there are more than were counted.
        is_more: bool,
        /// The moment at which this one became due.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// Nothing keeps it.
    Due {
        /// The moment at which it became due.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
}

impl Cause {
    /// It in one sentence, as of this moment.
    pub fn sentence(&self, now: OffsetDateTime) -> String {
        self.of_ended().or_else(|| self.of_running(now)).unwrap_or_else(|| self.of_waiting(now))
    }

    fn of_ended(&self) -> Option<String> {
        Some(match self {
            Self::Completed { at, attempts } => {
                format!("It is completed since {}, by attempt {attempts}.", moment(*at))
            }
            Self::Cancelled { at, by, reason } => {
                let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
                format!("It was cancelled at {}{by}{}.", moment(*at), because(reason.as_deref()))
            }
            Self::Discarded { at, attempts, error } => format!(
                "It was discarded at {} after {attempts} {}{}.",
                moment(*at),
                if *attempts == 1 { "attempt" } else { "attempts" },
                because(error.as_deref()),
            ),
            Self::DiscardedByOperator { at, by, reason } => {
                format!("{by} discarded it at {}{}.", moment(*at), because(Some(reason)))
            }
            _ => return None,
        })
    }

    fn of_running(&self, now: OffsetDateTime) -> Option<String> {
        Some(match self {
            Self::Running { worker_id, since, attempt, max_attempts, progress, progress_text } => {
                let done = progress.map(|percent| format!(", {percent} % done"));
                let text = progress_text.as_deref().map(|text| format!(" ({})", line(text)));
                format!(
                    "It is running on worker {worker_id} for {}, attempt {attempt} of \
                     {max_attempts}{}{}.",
                    span(now - *since),
                    done.unwrap_or_default(),
                    text.unwrap_or_default(),
                )
            }
            Self::CancelRequested { worker_id, by, reason } => format!(
                "It is running on worker {worker_id}, which was asked to stop it by {by}{}.",
                because(Some(reason)),
            ),
            Self::WorkerLost { worker_id, lease_expired_at } => format!(
                "Its worker {worker_id} was lost {} ago; any other takes it back soon.",
                span(now - *lease_expired_at),
            ),
            _ => return None,
        })
    }

    fn of_waiting(&self, now: OffsetDateTime) -> String {
        match self {
            Self::Held { depends_on, total } => {
                let jobs: Vec<String> = depends_on.iter().map(ToString::to_string).collect();
                let more = *total - jobs.len() as i64;
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let noun = if *total == 1 { "job" } else { "jobs" };
                format!("It waits for {noun} {}{more} to end.", jobs.join(", "))
            }
            Self::Scheduled { until } => format!("It is scheduled for {}.", later(*until, now)),
            Self::WaitsForRetry { until, attempt, max_attempts, error } => format!(
                "It waits for its retry at {}: attempt {attempt} of {max_attempts} failed{}.",
                later(*until, now),
                because(error.as_deref()),
            ),
            Self::Snoozed { until, reason } => {
                format!(
                    "Its handler put it off until {}{}.",
                    later(*until, now),
                    because(Some(reason))
                )
            }
            Self::Paused { queue, by, reason, since } => {
                let what = match queue.as_str() {
                    "*" => "All queues are".to_owned(),
                    name => format!("Its queue {name} is"),
                };
                format!("{what} paused since {} by {by}{}.", moment(*since), because(Some(reason)))
            }
            Self::KeyBlocked { key, by, why, since } => format!(
                "Its key {key} is blocked since {} by job {by}, which {}, until somebody decides.",
                moment(*since),
                match why {
                    BlockCause::Discarded => "was discarded",
                    BlockCause::Parked => "failed and is parked",
                }
            ),
            Self::BehindInKey { key, job, state } => format!(
                "Job {job} of its key {key} is ahead of it, and {}.",
                match state {
                    JobState::Running => "runs",
                    JobState::Retryable => "waits for its retry",
                    JobState::Scheduled => "is scheduled for later",
                    _ => "waits for a worker",
                }
            ),
            Self::NoWorker => "No worker is alive that could take it.".to_owned(),
            Self::UnknownKind { kind, workers } => format!(
                "None of the {workers} workers knows the kind {kind}: it waits for one that does."
            ),
            Self::UnclaimedQueue { queue, kind } => {
                format!("No worker that knows the kind {kind} claims from the queue {queue}.")
            }
            _ => self.of_due(now),
        }
    }

    fn of_due(&self, now: OffsetDateTime) -> String {
        match self {
            Self::QueueFull { queue, running, max } => {
                format!("{running} jobs of its queue {queue} run, and no more than {max} may.")
            }
            Self::KeyFull { key, running, max } => {
                format!("{running} jobs of its key {key} run, and no more than {max} may.")
            }
            Self::RateUsedUp { queue, rate, period_secs, next_in_secs } => format!(
                "Its queue {queue} starts no more than {rate} jobs in {}, and has; the next one \
                 may start in {}.",
                span(time::Duration::seconds_f64(*period_secs)),
                span(time::Duration::seconds_f64(next_in_secs.unwrap_or_default())),
            ),
            Self::JobsAhead { count, is_more, since } => format!(
                "It is due for {}, and {}{count} {} ahead of it.",
                span(now - *since),
                if *is_more { "more than " } else { "" },
                if *count == 1 { "job is" } else { "jobs are" },
            ),
            Self::Due { since } => format!(
                "It is due for {}, and nothing keeps it: the next free worker takes it.",
                span(now - *since),
            ),
            other => unreachable!("{other:?} has a sentence"),
        }
    }
}

fn moment(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

fn later(at: OffsetDateTime, now: OffsetDateTime) -> String {
    format!("{} (in {})", moment(at), span(at - now))
}

fn because(reason: Option<&str>) -> String {
    let reason = reason.map(line).filter(|reason| !reason.is_empty());
    reason.map(|reason| format!(": {}", reason.trim_end_matches('.'))).unwrap_or_default()
}

/// At most so many characters of what others wrote are repeated.
const MAX_REPEATED: usize = 200;

fn line(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_REPEATED).collect();
    if text.chars().count() > MAX_REPEATED {
        line.push('…');
    }
    line.replace(char::is_control, " ").trim().to_owned()
}

/// A time in its two largest units, as people say it.
fn span(duration: time::Duration) -> String {
    let secs = duration.whole_seconds().max(0);
    let pair = |of: [(i64, &str); 2]| {
        let told = of.into_iter().filter(|(number, _)| *number > 0);
        told.map(|(number, unit)| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
    };
    match secs {
        0 => "less than a second".to_owned(),
        1..60 => format!("{secs} s"),
        60..3_600 => pair([(secs / 60, "min"), (secs % 60, "s")]),
        3_600..86_400 => pair([(secs / 3_600, "h"), (secs % 3_600 / 60, "min")]),
        _ => pair([(secs / 86_400, "d"), (secs % 86_400 / 3_600, "h")]),
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told = |secs| span(Duration::seconds(secs));
        assert_eq!(told(-3), "less than a second");
        assert_eq!(told(59), "59 s");
        assert_eq!(told(300), "5 min");
        assert_eq!(told(3_725), "1 h 2 min");
        assert_eq!(told(2 * 86_400), "2 d");
    }

    #[test]
    fn what_others_wrote_is_one_short_line() {
        assert_eq!(because(Some("a\nb.")), ": a b");
        assert_eq!(because(Some("")), "");
        assert_eq!(line(&"x".repeat(500)).chars().count(), MAX_REPEATED + 1);
    }
}
