//! The attempts of a job as bars on one scale of time, with the waits between them.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::operations::jobs::{Attempt, AttemptOutcome, JobDetails, JobState};
use crate::pages::words;

/// The latest attempts are shown; a job that was snoozed may have had thousands.
const SHOWN: usize = 25;
/// The narrowest bar that can be seen, in hundredths of the scale.
const MIN_WIDTH: f64 = 0.6;
/// A wait that is shorter is none that anybody would look for.
const MIN_WAIT_SECS: f64 = 0.05;

/// A stretch of a job's life.
pub(super) struct Stretch {
    /// The name: `Attempt 2`, `Waited`.
    pub(super) title: String,
    /// The way it ended, in one word.
    pub(super) ending: &'static str,
    /// The class of its bar.
    pub(super) tone: &'static str,
    /// The beginning, in hundredths of the scale.
    pub(super) x: String,
    /// The length, in hundredths of the scale.
    pub(super) width: String,
    /// The length in words.
    pub(super) took: String,
}

/// An attempt that has ended, in words.
pub(super) struct EndedAttempt {
    /// The number.
    pub(super) number: i16,
    /// The way it ended.
    pub(super) ending: &'static str,
    /// The end.
    pub(super) at: OffsetDateTime,
    /// The worker.
    pub(super) worker: Uuid,
    /// The error with its causes.
    pub(super) error: Option<String>,
}

/// The stretches of a job's life up to `now`, in order, and the number of attempts left out.
pub(super) fn stretches(job: &JobDetails, now: OffsetDateTime) -> (Vec<Stretch>, usize) {
    let left_out = job.attempts.len().saturating_sub(SHOWN);
    let shown = &job.attempts[left_out..];
    let begin = match left_out {
        0 => job.enqueued_at,
        _ => shown.first().map_or(job.enqueued_at, |attempt| attempt.started_at),
    };
    let end = job.finished_at.unwrap_or(now).max(begin);
    let scale = Scale { begin, secs: (end - begin).as_seconds_f64().max(0.001) };
    let (mut stretches, mut at) = (Vec::new(), begin);
    for attempt in shown {
        let name = if at == job.enqueued_at { "Waited" } else { "Between" };
        stretches.extend(scale.wait(name, at, attempt.started_at));
        let (ending, tone) = in_words(attempt.outcome);
        let title = format!("Attempt {}", attempt.attempt);
        stretches.push(scale.stretch(title, ending, tone, (attempt.started_at, attempt.ended_at)));
        at = attempt.ended_at;
    }
    match (job.state, job.started_at) {
        (JobState::Running, Some(started_at)) => {
            stretches.extend(scale.wait("Waited", at, started_at));
            let title = format!("Attempt {}", job.attempt);
            stretches.push(scale.stretch(title, "runs", "run", (started_at, end)));
        }
        (state, _) if state.is_waiting() => stretches.extend(scale.wait("Waits", at, end)),
        _ if shown.is_empty() => stretches.extend(scale.wait("Waited", at, end)),
        _ => {}
    }
    (stretches, left_out)
}

/// The ended attempts with their errors, the latest first.
pub(super) fn ended(attempts: &[Attempt]) -> Vec<EndedAttempt> {
    let shown = attempts.iter().rev().take(SHOWN);
    shown
        .map(|attempt| EndedAttempt {
            number: attempt.attempt,
            ending: in_words(attempt.outcome).0,
            at: attempt.ended_at,
            worker: attempt.worker_id,
            error: attempt.error.clone(),
        })
        .collect()
}

fn in_words(outcome: AttemptOutcome) -> (&'static str, &'static str) {
    match outcome {
        AttemptOutcome::Completed => ("completed", "ok"),
        AttemptOutcome::Failed => ("failed", "bad"),
        AttemptOutcome::TimedOut => ("timed out", "bad"),
        AttemptOutcome::Crashed => ("worker lost", "bad"),
        AttemptOutcome::Discarded => ("gave up", "bad"),
        AttemptOutcome::Cancelled => ("cancelled", "idle"),
    }
}

/// The time that all bars share.
struct Scale {
    begin: OffsetDateTime,
    secs: f64,
}

impl Scale {
    fn wait(&self, title: &str, from: OffsetDateTime, to: OffsetDateTime) -> Option<Stretch> {
        let is_long = (to - from).as_seconds_f64() >= MIN_WAIT_SECS;
        is_long.then(|| self.stretch(title.to_owned(), "", "wait", (from, to)))
    }

    fn stretch(
        &self,
        title: String,
        ending: &'static str,
        tone: &'static str,
        (from, to): (OffsetDateTime, OffsetDateTime),
    ) -> Stretch {
        let hundredths = |secs: f64| (secs / self.secs * 100.0).clamp(0.0, 100.0);
        let width = hundredths((to - from).as_seconds_f64()).max(MIN_WIDTH);
        let x = hundredths((from - self.begin).as_seconds_f64()).min(100.0 - width);
        Stretch {
            title,
            ending,
            tone,
            x: format!("{x:.2}"),
            width: format!("{width:.2}"),
            took: words::between(from, to),
        }
    }
}
