//! Seals again with the current key what is sealed with an older one, so that the older one can be
//! retired.
//!
//! [`reseal`] goes through the jobs that a worker may still have to open: those that wait, and the
//! discarded ones, which can be redriven. It seals those, too, whose kind has become sealed while
//! they lay there in plain. A statement changes only jobs whose arguments are still those that were
//! read, so nothing that happened meanwhile is undone, and leaves out what somebody has locked. A
//! running job is not touched: its worker has opened it, and if it comes back to wait, the next
//! call finds it. A claim that meets a job at the very moment of its change leaves it for its next
//! sweep, ten seconds later at most.
//!
//! Completed and cancelled jobs never run again, and history is not rewritten: they keep the key
//! that they have until retention drops them. [`keys_in_use`] counts them, so that whoever wants to
//! read them later knows to keep the key.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::PgPool;
use sqlx::types::Json;

use super::envelope::{FollowUpArgs, Stored, open_args};
use super::{Keyring, OpenError, SealError};
use crate::QueueError;

/// The number of jobs that are sealed with a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeyUse {
    /// The id of the key; null for jobs in plain of kinds that are sealed.
    pub key: Option<String>,
    /// Jobs that wait, and those that batches will enqueue when they end. The latter keep their key
    /// until then.
    pub waiting: i64,
    /// Jobs that run.
    pub running: i64,
    /// Discarded jobs, which can be redriven.
    pub discarded: i64,
    /// Completed and cancelled jobs: history.
    pub history: i64,
}

impl KeyUse {
    /// Tells whether these are the jobs of this key.
    #[must_use]
    pub fn is_key(&self, id: &str) -> bool {
        self.key.as_deref() == Some(id)
    }

    /// Jobs that a worker may still have to open.
    #[must_use]
    pub fn may_run(&self) -> i64 {
        self.waiting + self.running + self.discarded
    }
}

/// Counts the jobs that are sealed with each key, in the order of the keys' ids; jobs in plain of
/// sealed kinds come last. Reads all jobs, those of the history included.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn keys_in_use(pool: &PgPool) -> Result<Vec<KeyUse>, QueueError> {
    let used = sqlx::query_file_as!(KeyUse, "src/sql/keys_in_use.sql");
    Ok(used.fetch_all(pool).await?)
}

/// The result of [`reseal`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Resealed {
    /// Jobs that have the current key now.
    pub resealed: u64,
    /// Jobs that somebody had locked or changed meanwhile: the next call finds them.
    pub skipped: u64,
    /// Jobs whose arguments do not open: their key is not in the ring, or they were altered.
    pub unopened: u64,
}

/// A job whose arguments are to be sealed anew.
struct Stale {
    id: i64,
    kind: String,
    args: Json<Box<RawValue>>,
    args_key: Option<String>,
    /// True when its kind is sealed.
    to_seal: bool,
}

/// Seals with the current key of the ring all jobs that wait, or are discarded, and have another
/// key, or lie in plain although their kind is sealed. `batch` of them at a time, each time in a
/// transaction of its own: it can be stopped at any moment and called again.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn reseal(pool: &PgPool, keyring: &Keyring, batch: u32) -> Result<Resealed, QueueError> {
    let (current, batch) = (keyring.current(), i64::from(batch.max(1)));
    let mut done = Resealed::default();
    let mut after = 0;
    loop {
        let sql = sqlx::query_file_as!(Stale, "src/sql/stale_waiting.sql", current, after, batch);
        let stale = sql.fetch_all(pool).await?;
        let Some(last) = stale.last() else { break };
        after = last.id;
        let new = NewArgs::of(keyring, stale, &mut done);
        let NewArgs { ids, before, after, keys } = &new;
        let sql = sqlx::query_file!(
            "src/sql/reseal_waiting.sql",
            ids,
            before as _,
            after as _,
            keys as _,
        );
        new.count(sql.execute(pool).await?.rows_affected(), &mut done);
    }
    after = 0;
    loop {
        let sql = sqlx::query_file_as!(Stale, "src/sql/stale_discarded.sql", current, after, batch);
        let stale = sql.fetch_all(pool).await?;
        let Some(last) = stale.last() else { break };
        after = last.id;
        let new = NewArgs::of(keyring, stale, &mut done);
        let NewArgs { ids, before, after, keys } = &new;
        let sql = sqlx::query_file!(
            "src/sql/reseal_discarded.sql",
            ids,
            before as _,
            after as _,
            keys as _,
        );
        new.count(sql.execute(pool).await?.rows_affected(), &mut done);
    }
    Ok(done)
}

/// Arguments to be written, as a statement takes them.
#[derive(Default)]
struct NewArgs {
    ids: Vec<i64>,
    before: Vec<Json<Box<RawValue>>>,
    after: Vec<Json<Box<RawValue>>>,
    /// For `args_key`.
    keys: Vec<Option<String>>,
}

impl NewArgs {
    fn of(keyring: &Keyring, stale: Vec<Stale>, done: &mut Resealed) -> Self {
        let mut new = Self::default();
        for job in stale {
            match reseal_args(keyring, &job) {
                Ok((args, key)) => {
                    new.ids.push(job.id);
                    new.before.push(job.args);
                    new.after.push(Json(args));
                    new.keys.push(key);
                }
                Err(error) => {
                    let (job_id, error) = (job.id, crate::chain(&error));
                    tracing::warn!(job_id, error, "job {job_id} cannot be sealed anew: {error}");
                    done.unopened += 1;
                }
            }
        }
        new
    }

    fn count(&self, written: u64, done: &mut Resealed) {
        done.resealed += written;
        done.skipped += self.ids.len() as u64 - written;
    }
}

#[derive(Debug, thiserror::Error)]
enum ResealError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("its arguments could not be sealed")]
    Seal(#[from] SealError),
    #[error("its arguments could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// The arguments of a job, sealed with the current key, and what is to stand in `args_key`.
fn reseal_args(
    keyring: &Keyring,
    job: &Stale,
) -> Result<(Box<RawValue>, Option<String>), ResealError> {
    let args_key = job.args_key.as_deref();
    match Stored::of(&job.args.0, args_key)? {
        // A follow-up of a kind that is not sealed itself: only what it repeats is secret.
        Stored::FollowUp(FollowUpArgs { job: discarded, kind, args }) if !job.to_seal => {
            let args = keyring.seal(&kind, &keyring.open(&kind, &args)?)?;
            Ok((to_raw_value(&FollowUpArgs { job: discarded, kind, args })?, None))
        }
        Stored::Plain | Stored::Sealed(_) | Stored::FollowUp(_) => {
            let opened = open_args(Some(keyring), &job.kind, &job.args.0, args_key)?;
            let sealed = keyring.seal(&job.kind, &opened)?;
            Ok((to_raw_value(&sealed)?, Some(sealed.key().to_owned())))
        }
    }
}
