//! The filter language of jobs: which texts stand for a state, a moment, a field of the arguments.
//!
//! Flags of the command line and parameters of a URL have the same names and the same spelling of
//! values, so both fill a [`JobSelection`].

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::about;
use super::{ArgsMatch, JobFilter, JobId, JobState, JobsError};
use crate::arguments::{InvalidMoment, parse_duration, parse_moment};
use crate::jobs::SettleTransaction;
use crate::jobs::dead_letters::DeadLetterError;
use crate::operations::database_now;
use crate::payments::transactions;
use crate::queue::Job as _;
use crate::queue::operate::failures::Fingerprint;

/// Jobs that match all that is given; every job by default.
#[derive(Clone, Debug, Default)]
pub struct JobSelection {
    /// States, any of which a job may have.
    pub states: Vec<JobState>,
    /// Kinds, any of which a job may be of.
    pub kinds: Vec<String>,
    /// Queues, any of which a job may be in.
    pub queues: Vec<String>,
    /// Tags, all of which a job must have.
    pub tags: Vec<String>,
    /// Keys, any of which a job may have.
    pub keys: Vec<String>,
    /// A text in the last error, whatever its case.
    pub error: Option<String>,
    /// The least number of attempts begun.
    pub min_attempt: Option<i16>,
    /// The time from which on a job was enqueued.
    pub since: Option<Moment>,
    /// The time before which a job was enqueued.
    pub until: Option<Moment>,
    /// The time from which on a job failed: was discarded, or had its last attempt fail.
    pub failed_since: Option<Moment>,
    /// The time before which a job failed.
    pub failed_until: Option<Moment>,
    /// True for discarded jobs that somebody has decided over, false for those that nobody has.
    pub decided: Option<bool>,
    /// Values in the arguments, all of which a job must have.
    pub args: Vec<ArgsMatch>,
    /// Jobs, any of which it may be; as many at most as a page of a list has.
    pub ids: Option<Vec<JobId>>,
    /// The fingerprint of a job's last failure.
    pub fingerprint: Option<Fingerprint>,
    /// The provider's id of a transaction that a job must be about.
    pub transaction: Option<String>,
}

impl JobSelection {
    /// True if nothing is given, so that every job is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self {
            states,
            kinds,
            queues,
            tags,
            keys,
            error,
            min_attempt,
            since,
            until,
            failed_since,
            failed_until,
            decided,
            args,
            ids,
            fingerprint,
            transaction,
        } = self;
        let lists = [kinds, queues, tags, keys];
        let moments = [since, until, failed_since, failed_until];
        states.is_empty()
            && lists.into_iter().all(Vec::is_empty)
            && args.is_empty()
            && error.is_none()
            && min_attempt.is_none()
            && moments.into_iter().all(Option::is_none)
            && decided.is_none()
            && ids.is_none()
            && fingerprint.is_none()
            && transaction.is_none()
    }

    /// The filter, with relative times counted back from the database's clock.
    ///
    /// # Errors
    ///
    /// [`JobsError::Queue`].
    pub async fn into_filter(self, conn: &mut PgConnection) -> Result<JobFilter, JobsError> {
        let moments = [self.since, self.until, self.failed_since, self.failed_until];
        let now = match moments.iter().all(Option::is_none) {
            true => OffsetDateTime::UNIX_EPOCH,
            false => database_now(conn).await?,
        };
        let mut filter = JobFilter {
            states: self.states,
            kinds: self.kinds,
            queues: self.queues,
            tags: self.tags,
            keys: self.keys,
            error: self.error,
            min_attempt: self.min_attempt,
            since: self.since.map(|since| since.before(now)),
            until: self.until.map(|until| until.before(now)),
            failed_since: self.failed_since.map(|since| since.before(now)),
            failed_until: self.failed_until.map(|until| until.before(now)),
            decided: self.decided,
            args: self.args,
            ids: self.ids,
            fingerprint: self.fingerprint,
            ..JobFilter::default()
        };
        if let Some(transaction) = &self.transaction {
            narrow_to_transaction(conn, &mut filter, transaction).await?;
        }
        Ok(filter)
    }
}

/// Narrows a filter to the jobs that settle a transaction.
async fn narrow_to_transaction(
    conn: &mut PgConnection,
    filter: &mut JobFilter,
    transaction_id: &str,
) -> Result<(), JobsError> {
    let found = transactions::find(conn, transaction_id).await.map_err(DeadLetterError::from)?;
    let kind = SettleTransaction::KIND;
    let is_wanted = filter.kinds.is_empty() || filter.kinds.iter().any(|wanted| wanted == kind);
    let Some(transaction) = found.filter(|_| is_wanted) else {
        // No job is among none.
        filter.ids = Some(Vec::new());
        return Ok(());
    };
    // All that the jobs have in common, for those who read the filter or ask for other ids.
    filter.kinds = vec![kind.to_owned()];
    filter.args.push(ArgsMatch::new("transaction", transaction.id.to_string()));
    let mut ids: Vec<JobId> =
        about::of_transaction(conn, &transaction).await?.iter().map(|job| job.id).collect();
    if let Some(wanted) = &filter.ids {
        ids.retain(|id| wanted.contains(id));
    }
    filter.ids = Some(ids);
    Ok(())
}

/// A time as people give it: `2026-11-21T08:00:00Z`, or a time ago such as `2h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// A point in time.
    At(OffsetDateTime),
    /// A time before now.
    Ago(Duration),
}

/// The moment that is meant, as of `now`.
#[must_use]
pub fn before(moment: Moment, now: OffsetDateTime) -> OffsetDateTime {
    moment.before(now)
}

impl Moment {
    fn before(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = time::Duration::try_from(ago).unwrap_or(time::Duration::MAX);
                let then = now.checked_sub(ago).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                then.max(OffsetDateTime::UNIX_EPOCH)
            }
        }
    }
}

/// A text that is no value of a filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidValue {
    /// No RFC 3339 time, or none of the years that jobs can have.
    #[error(transparent)]
    Time(#[from] InvalidMoment),
    /// Neither a time nor a duration.
    #[error("neither a time like 2026-11-21T08:00:00Z nor so long ago, like 90m or 2h")]
    Moment,
    /// No state of a job.
    #[error("there are {}", JobState::ALL.map(JobState::name).join(", "))]
    State,
    /// No fingerprint of a failure.
    #[error("not 16 hexadecimal digits in lower case; 'app failures list' shows them")]
    Fingerprint,
    /// No assignment.
    #[error("not FIELD=VALUE")]
    Field,
}

impl FromStr for Moment {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match parse_moment(text) {
            Ok(at) => Ok(Self::At(at)),
            Err(InvalidMoment::OutOfRange) => Err(InvalidMoment::OutOfRange.into()),
            Err(InvalidMoment::Unreadable) => {
                parse_duration(text).map(Self::Ago).map_err(|_| InvalidValue::Moment)
            }
        }
    }
}

/// A time in RFC 3339.
///
/// # Errors
///
/// [`InvalidValue::Time`].
pub fn parse_time(text: &str) -> Result<OffsetDateTime, InvalidValue> {
    Ok(parse_moment(text)?)
}

/// The state of this name.
///
/// # Errors
///
/// [`InvalidValue::State`].
pub fn parse_state(text: &str) -> Result<JobState, InvalidValue> {
    JobState::ALL.into_iter().find(|state| state.name() == text).ok_or(InvalidValue::State)
}

/// The fingerprint that people write so.
///
/// # Errors
///
/// [`InvalidValue::Fingerprint`].
pub fn parse_fingerprint(text: &str) -> Result<Fingerprint, InvalidValue> {
    text.parse().map_err(|_| InvalidValue::Fingerprint)
}

/// A field at the top of the arguments and its value, as `FIELD=VALUE`.
///
/// # Errors
///
/// [`InvalidValue::Field`].
pub fn parse_args_match(text: &str) -> Result<ArgsMatch, InvalidValue> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok(ArgsMatch::new(field, value)),
        _ => Err(InvalidValue::Field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_time_ago() {
        let now = time::macros::datetime!(2026-11-21 8:00 UTC);
        let before = |text: &str| text.parse::<Moment>().map(|moment| moment.before(now));
        assert_eq!(before("2026-11-20T08:00:00Z"), Ok(now - time::Duration::DAY));
        assert_eq!(before("2h"), Ok(now - time::Duration::hours(2)));
        assert_eq!(before("90y"), Ok(OffsetDateTime::UNIX_EPOCH));
        assert_eq!(before("90000y"), Err(InvalidValue::Moment));
        let beyond = Err(InvalidMoment::OutOfRange.into());
        assert_eq!(before("9999-12-31T23:59:59-10:00"), beyond);
        assert_eq!(before("yesterday"), Err(InvalidValue::Moment));
    }

    #[test]
    fn a_selection_of_nothing_in_particular_is_everything() {
        assert!(JobSelection::default().is_everything());
        let states = vec![JobState::Discarded];
        assert!(!JobSelection { states, ..JobSelection::default() }.is_everything());
    }
}
