//! A schedule to be defined, as it is asked for.

use std::time::Duration;

use super::{MissedPolicy, Schedule, ScheduleError};
use crate::queue::{JsonText, NewJob};

/// The times and the job of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduleDefinition {
    /// The times at which it ticks.
    pub timing: Timing,
    /// The time zone that a cron expression is read in, UTC if none. An interval has none.
    pub time_zone: Option<String>,
    /// The treatment of ticks that nobody ran in time.
    pub policy: MissedPolicy,
    /// The kind of the jobs; this program need not know it.
    pub kind: String,
    /// Their arguments.
    pub args: JsonText,
    /// Their queue.
    pub queue: String,
    /// Their priority.
    pub priority: i16,
    /// The number of failed attempts after which one is discarded.
    pub max_attempts: i16,
    /// Their key.
    pub key: Option<String>,
    /// Words to find them by.
    pub tags: Vec<String>,
}

/// The times at which a schedule ticks, as text.
#[derive(Clone, Debug)]
pub enum Timing {
    /// By a cron expression of five fields, or six with seconds.
    Cron(String),
    /// Once in this interval, counted from 1970-01-01T00:00:00Z.
    Every(Duration),
}

impl ScheduleDefinition {
    /// The schedule of this name.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`], if there can be no such schedule.
    pub fn into_schedule(self, name: &str) -> Result<Schedule, ScheduleError> {
        let draft = match &self.timing {
            Timing::Cron(expression) => Schedule::cron(name, expression),
            Timing::Every(interval) => Schedule::every(name, *interval),
        };
        let draft = match &self.time_zone {
            Some(zone) => draft.time_zone(zone),
            None => draft,
        };
        draft.policy(self.policy).new_job(self.into_job())
    }

    fn into_job(self) -> NewJob {
        let job = NewJob::raw(self.kind, self.args)
            .queue(self.queue)
            .priority(self.priority)
            .max_attempts(self.max_attempts);
        let job = match self.key {
            Some(key) => job.key(key),
            None => job,
        };
        self.tags.into_iter().fold(job, NewJob::tag)
    }
}
