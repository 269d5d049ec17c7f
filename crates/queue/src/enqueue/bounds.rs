//! The bounds of a new job, which are those of the columns (`schema/migrations/0001_jobs.up.sql`),
//! looked at before anything is sent: a statement that the database refuses would end the caller's
//! transaction with all that is in it.

use std::time::Duration;

use time::OffsetDateTime;

use super::NewJob;
use crate::QueueError;
use crate::json::JsonText;
use crate::moments;
use crate::storable_json::{self, NotStorable};

/// The most characters of the name of a kind or queue.
const MAX_NAME_CHARS: usize = 100;
/// The most characters of a key, and of a tag.
const MAX_WORD_CHARS: usize = 200;
const MAX_TAGS: usize = 50;
/// The longest delay and the longest window: 100 years of 365.25 days.
const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);
/// The most bytes of arguments that are sent to be measured: `queue.settings` allows 1 MiB at most,
/// and white space and escapes alone do not make so much of that.
pub(super) const MAX_SENT_BYTES: u64 = 16 * 1024 * 1024;

/// The bound that a new job does not keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidJob {
    /// The name of its kind.
    #[error("a kind has 1 to {MAX_NAME_CHARS} characters, and no control characters")]
    Kind,
    /// The name of its queue.
    #[error("a queue has 1 to {MAX_NAME_CHARS} characters, and no control characters")]
    Queue,
    /// Its key.
    #[error("a key has 1 to {MAX_WORD_CHARS} characters, and no control characters")]
    Key,
    /// Its tags.
    #[error(
        "there are at most {MAX_TAGS} tags, of up to {MAX_WORD_CHARS} characters each, and no \
         control characters"
    )]
    Tags,
    /// Its priority.
    #[error("a priority is 1, claimed first, to 4")]
    Priority,
    /// The bound of its attempts.
    #[error("a job has 1 to 1000 attempts")]
    MaxAttempts,
    /// The moment at which it is due.
    #[error("a job is due within 100 years, and before the year 2200")]
    Due,
    /// The window in which it is unique.
    #[error("a job is unique for longer than nothing, and for 100 years at most")]
    UniqueWindow,
    /// Its arguments are a list.
    #[error("the arguments are fields by name, and no list")]
    List,
    /// Its arguments, or the value that it is unique by.
    #[error("the arguments {0}")]
    Args(NotStorable),
}

/// Makes sure that each job keeps to the bounds.
pub(super) fn check<'a>(jobs: impl IntoIterator<Item = &'a NewJob>) -> Result<(), QueueError> {
    jobs.into_iter().try_for_each(|job| match problem_of(job) {
        None => Ok(()),
        Some(problem) => Err(QueueError::InvalidJob(problem)),
    })
}

fn problem_of(job: &NewJob) -> Option<InvalidJob> {
    let extras = &job.extras;
    let is_shorter = |tag: &String| is_plain(tag, 0..=MAX_WORD_CHARS);
    let rules = [
        (is_plain(&job.kind, 1..=MAX_NAME_CHARS), InvalidJob::Kind),
        (is_plain(&job.queue, 1..=MAX_NAME_CHARS), InvalidJob::Queue),
        (
            extras.key.as_deref().is_none_or(|key| is_plain(key, 1..=MAX_WORD_CHARS)),
            InvalidJob::Key,
        ),
        (extras.tags.len() <= MAX_TAGS && extras.tags.iter().all(is_shorter), InvalidJob::Tags),
        ((1..=4).contains(&job.priority), InvalidJob::Priority),
        ((1..=1000).contains(&job.max_attempts), InvalidJob::MaxAttempts),
        (job.delay <= LONGEST && extras.run_at.is_none_or(is_in_time), InvalidJob::Due),
        (!is_list(&job.args), InvalidJob::List),
    ];
    let broken = rules.into_iter().find(|(is_kept, _)| !is_kept).map(|(_, problem)| problem);
    broken.or_else(|| problem_of_uniqueness(job)).or_else(|| problem_of_args(job))
}

fn problem_of_uniqueness(job: &NewJob) -> Option<InvalidJob> {
    let window = job.unique.as_ref()?.lasts()?;
    let is_kept = !window.is_zero() && window <= LONGEST;
    (!is_kept).then_some(InvalidJob::UniqueWindow)
}

/// Makes sure that a job of this kind may have these arguments, as far as that is known without
/// asking the database for its bound of bytes.
///
/// # Errors
///
/// [`QueueError::InvalidJob`], [`QueueError::ArgsTooLong`].
pub(crate) fn check_args(kind: &str, args: &JsonText) -> Result<(), QueueError> {
    let bytes = args.get().len() as u64;
    if bytes > MAX_SENT_BYTES {
        let kind = kind.to_owned();
        return Err(QueueError::ArgsTooLong { kind, bytes, max_bytes: MAX_SENT_BYTES });
    }
    let problem = match is_list(args) {
        true => Some(InvalidJob::List),
        false => storable_json::check(args.get()).err().map(InvalidJob::Args),
    };
    problem.map_or(Ok(()), |problem| Err(QueueError::InvalidJob(problem)))
}

fn is_list(args: &JsonText) -> bool {
    args.get().trim_start().starts_with('[')
}

fn problem_of_args(job: &NewJob) -> Option<InvalidJob> {
    let unique_value = job.unique_value();
    let values = [Some(&job.args), unique_value.as_ref()];
    let refused = |value: &JsonText| storable_json::check(value.get()).err();
    values.into_iter().flatten().find_map(refused).map(InvalidJob::Args)
}

fn is_in_time(moment: OffsetDateTime) -> bool {
    moment < moments::END
}

/// Tells whether a text has so many characters, and none that a terminal would act on: those that
/// `queue.plain_text` refuses, and U+0000, which PostgreSQL does not store.
fn is_plain(text: &str, chars: std::ops::RangeInclusive<usize>) -> bool {
    let turns_direction = |c| {
        matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
    };
    chars.contains(&text.chars().count())
        && !text.chars().any(|c| c.is_control() || turns_direction(c))
}
