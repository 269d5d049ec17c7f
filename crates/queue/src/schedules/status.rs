//! The status of a schedule, for people.

use serde::Serialize;
use time::OffsetDateTime;

use super::CODE;
use super::cadence::Cadence;
use super::policy::MissedPolicy;
use super::store::Row;
use crate::QueueError;
use crate::json::JsonText;

/// A schedule as it is at a moment.
#[derive(Clone, Debug, Serialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// The cron expression, if it has one.
    pub cron: Option<String>,
    /// The interval in seconds, if it has one.
    pub every_secs: Option<i64>,
    /// The time zone that the expression is read in.
    pub time_zone: String,
    /// The policy for ticks that nobody ran in time.
    pub policy: MissedPolicy,
    /// The kind of its jobs.
    pub kind: String,
    /// Their arguments, as people may see them.
    pub args: JsonText,
    /// Their queue.
    pub queue: String,
    /// Their priority.
    pub priority: i16,
    /// Failed attempts that each job may have.
    pub max_attempts: i16,
    /// The key that they are enqueued with.
    pub key: Option<String>,
    /// Words to find them by.
    pub tags: Vec<String>,
    /// The pause; none while it runs.
    pub pause: Option<Pause>,
    /// The next tick; none while it is paused.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_tick_at: Option<OffsetDateTime>,
    /// The last tick that got a job.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_tick_at: Option<OffsetDateTime>,
    /// `code`, or whoever defined it last.
    pub defined_by: String,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The last change of its definition.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// The moment of all this, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
}

/// The pause of a schedule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Pause {
    /// The moment of the pause.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The person who paused it.
    pub by: String,
    /// The reason that was given.
    pub reason: String,
}

impl ScheduleStatus {
    /// True when it was last defined by the code of a program, whose workers define it again.
    pub fn is_of_code(&self) -> bool {
        self.defined_by == CODE
    }

    /// The rule by which it ticks.
    ///
    /// # Errors
    ///
    /// [`QueueError::Schedule`], when this program cannot read it.
    pub fn cadence(&self) -> Result<Cadence, QueueError> {
        Cadence::stored(self.cron.as_deref(), self.every_secs, &self.time_zone)
            .map_err(|source| QueueError::Schedule { name: self.name.clone(), source })
    }
}

impl From<Row> for ScheduleStatus {
    fn from(row: Row) -> Self {
        let policy = row.policy();
        let extras = row.extras().cloned().unwrap_or_default();
        let pause = match (row.paused_at, row.paused_by, row.pause_reason) {
            (Some(at), Some(by), Some(reason)) => Some(Pause { at, by, reason }),
            _ => None,
        };
        Self {
            name: row.name,
            cron: row.cron,
            every_secs: row.every_secs,
            time_zone: row.time_zone,
            policy,
            kind: row.kind,
            args: row.shown_args,
            queue: row.queue,
            priority: row.priority,
            max_attempts: row.max_attempts,
            key: extras.key,
            tags: extras.tags,
            next_tick_at: row.next_tick_at.filter(|_| pause.is_none()),
            pause,
            last_tick_at: row.last_tick_at,
            defined_by: row.defined_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            as_of: row.as_of,
        }
    }
}
