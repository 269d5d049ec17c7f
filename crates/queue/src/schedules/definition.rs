//! The definition of a schedule: a name, a cadence, a policy, and the job of each tick.

use std::time::Duration;

use super::cadence::{Cadence, CadenceError};
use super::policy::{MAX_AGE, MAX_CATCH_UP, MissedPolicy};
use crate::QueueError;
use crate::enqueue::NewJob;
use crate::handler::Job;

/// The longest name.
pub const MAX_NAME_CHARS: usize = 100;

/// The reason that a schedule was refused.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The name cannot be one.
    #[error(
        "{0:?} cannot be the name of a schedule: it has 1 to {MAX_NAME_CHARS} letters, digits and \
         _ . : / - and begins with a letter or digit"
    )]
    Name(String),
    /// There is no such cadence.
    #[error(transparent)]
    Cadence(#[from] CadenceError),
    /// An interval has no time zone.
    #[error("an interval is the same in all time zones: give a cron expression, or no time zone")]
    TimeZoneOfInterval,
    /// The policy has bounds that cannot be kept.
    #[error(
        "a schedule catches up with 1 to {MAX_CATCH_UP} ticks, and with none that is older than \
         {} days",
        MAX_AGE.as_secs() / (24 * 60 * 60)
    )]
    Policy,
    /// The job has a time of its own, or company.
    #[error(
        "the job of a schedule is due when the schedule says, each time: it cannot be delayed, \
         unique, or of a batch"
    )]
    SingularJob,
    /// The arguments of the job are encrypted.
    #[error(
        "a schedule is there for anybody to read, and its job for longer than any key: give it \
         arguments that are no secret"
    )]
    SealedJob,
    /// The job is none.
    #[error(transparent)]
    Job(Box<QueueError>),
}

/// Jobs that are enqueued by the clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(super) name: String,
    pub(super) cadence: Cadence,
    pub(super) policy: MissedPolicy,
    pub(super) job: NewJob,
}

/// A schedule that has no job yet.
#[derive(Clone, Debug)]
#[must_use]
pub struct Draft {
    name: String,
    timing: Timing,
    time_zone: Option<String>,
    policy: MissedPolicy,
}

#[derive(Clone, Debug)]
enum Timing {
    Cron(String),
    Every(Duration),
}

impl Schedule {
    /// By a cron expression, see [`Cadence::cron`]; read in UTC unless told otherwise.
    pub fn cron(name: impl Into<String>, expression: impl Into<String>) -> Draft {
        Draft::new(name, Timing::Cron(expression.into()))
    }

    /// By an interval, see [`Cadence::every`].
    pub fn every(name: impl Into<String>, interval: Duration) -> Draft {
        Draft::new(name, Timing::Every(interval))
    }

    /// The name, by which operators and code know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule by which it ticks.
    pub fn cadence(&self) -> &Cadence {
        &self.cadence
    }

    /// The policy for ticks that nobody ran in time.
    pub fn policy(&self) -> MissedPolicy {
        self.policy
    }
}

impl Draft {
    fn new(name: impl Into<String>, timing: Timing) -> Self {
        let (name, policy) = (name.into(), MissedPolicy::default());
        Self { name, timing, time_zone: None, policy }
    }

    /// The time zone that the cron expression is read in: a name of the IANA database, such as
    /// `Europe/Paris`.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.time_zone = Some(name.into());
        self
    }

    /// Sets the policy for ticks that nobody ran in time. The default skips them, but for one that
    /// is late by no more than five minutes.
    pub fn policy(mut self, policy: MissedPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The job of each tick, with the queue, priority, bounds and follow-up of its kind.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`], if anything of the schedule cannot be.
    pub fn job<J: Job>(self, args: &J) -> Result<Schedule, ScheduleError> {
        let job = NewJob::new(args).map_err(|error| ScheduleError::Job(Box::new(error)))?;
        self.new_job(job)
    }

    /// The job of each tick. The kind need not be known here.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`], if anything of the schedule cannot be.
    pub fn new_job(self, job: NewJob) -> Result<Schedule, ScheduleError> {
        if !is_name(&self.name) {
            return Err(ScheduleError::Name(self.name));
        }
        let cadence = match (self.timing, self.time_zone) {
            (Timing::Cron(expression), zone) => {
                Cadence::cron(&expression, zone.as_deref().unwrap_or("UTC"))?
            }
            (Timing::Every(interval), None) => Cadence::every(interval)?,
            (Timing::Every(_), Some(_)) => return Err(ScheduleError::TimeZoneOfInterval),
        };
        if !self.policy.is_possible() {
            return Err(ScheduleError::Policy);
        }
        let has_a_time = !job.delay.is_zero() || job.extras.run_at.is_some();
        let belongs_to_others = job.extras.batch_id.is_some() || job.extras.held;
        if has_a_time || job.unique.is_some() || belongs_to_others {
            return Err(ScheduleError::SingularJob);
        }
        if job.extras.args_key.is_some() {
            return Err(ScheduleError::SealedJob);
        }
        // Each tick begins a trace of its own.
        let job = job.trace_context(None);
        Ok(Schedule { name: self.name, cadence, policy: self.policy, job })
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    name.len() <= MAX_NAME_CHARS
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_batches_and_with_secrets_are_refused() {
        let every = || Schedule::every("s", Duration::from_secs(60));
        let job = || NewJob::raw("k", serde_json::json!({}));
        assert!(every().new_job(job()).is_ok());
        let mut of_a_batch = job();
        of_a_batch.extras.batch_id = Some(1);
        assert!(matches!(every().new_job(of_a_batch), Err(ScheduleError::SingularJob)));
        let waiting = job().after(&[crate::ids::JobId(1)]);
        assert!(matches!(every().new_job(waiting), Err(ScheduleError::SingularJob)));
        let mut sealed = job();
        sealed.extras.args_key = Some("2026".to_owned());
        assert!(matches!(every().new_job(sealed), Err(ScheduleError::SealedJob)));
    }
}
