//! Keys of sealed jobs: which jobs have which, and sealing with the current one.

use serde::Serialize;
use sqlx::PgPool;

pub use crate::queue::sealing::rotation::{KeyUse, Resealed};
pub use crate::queue::sealing::{Keyring, KeyringError};

use super::Identity;
use crate::audit::{self, Subject};
use crate::queue::QueueError;
use crate::queue::commits::commit;
use crate::queue::sealing::rotation::{keys_in_use, reseal};

/// The jobs that have each key, after jobs were sealed again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeyRotation {
    /// The key that seals.
    pub current: String,
    /// Keys of the ring that no job needs which may still run.
    pub can_be_retired: Vec<String>,
    /// The jobs that were sealed again; null if that was not asked for.
    pub done: Option<Resealed>,
    /// The number of jobs with each key.
    pub keys: Vec<KeyUse>,
}

/// The need for a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyNeed {
    /// The current key.
    Current,
    /// A key that no job which may still run has.
    CanBeRetired,
    /// An older key of jobs that may still run.
    StillNeeded,
    /// A key outside the ring that no job which may still run has.
    UnknownAndUnneeded,
    /// A key outside the ring, of jobs that may still run.
    UnknownAndNeeded,
    /// Jobs in plain that may still run are to be sealed.
    ToBeSealed,
    /// Jobs in plain that have ended.
    PlainHistory,
}

impl KeyNeed {
    /// The need for the key of these jobs.
    #[must_use]
    pub fn of(keyring: &Keyring, used: &KeyUse) -> Self {
        match &used.key {
            Some(key) if key == keyring.current() => Self::Current,
            Some(key) if used.may_run() == 0 && keyring.knows(key) => Self::CanBeRetired,
            Some(key) if keyring.knows(key) => Self::StillNeeded,
            Some(_) if used.may_run() == 0 => Self::UnknownAndUnneeded,
            Some(_) => Self::UnknownAndNeeded,
            None if used.may_run() == 0 => Self::PlainHistory,
            None => Self::ToBeSealed,
        }
    }
}

/// Counts the jobs of each key.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn count(pool: &PgPool, keyring: &Keyring) -> Result<KeyRotation, QueueError> {
    counted(pool, keyring, None).await
}

/// Seals waiting and discarded jobs with the current key, `batch` at a time, and counts the jobs of
/// each key after that. It can be stopped at any moment and called again.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn rotate(
    pool: &PgPool,
    keyring: &Keyring,
    batch: u32,
    by: &Identity,
) -> Result<KeyRotation, QueueError> {
    // Before the first of many transactions: however it ends, it was begun.
    let mut tx = pool.begin().await?;
    let entry = by.entry("job_keys.rotate", Subject::new("job_key", keyring.current()));
    audit::record(&mut tx, &[entry]).await?;
    commit(tx).await?;
    let done = reseal(pool, keyring, batch).await?;
    counted(pool, keyring, Some(done)).await
}

async fn counted(
    pool: &PgPool,
    keyring: &Keyring,
    done: Option<Resealed>,
) -> Result<KeyRotation, QueueError> {
    let keys = keys_in_use(pool).await?;
    let is_needed = |id: &str| keys.iter().any(|used| used.is_key(id) && used.may_run() > 0);
    let older = keyring.ids().skip(1);
    let can_be_retired = older.filter(|id| !is_needed(id)).map(str::to_owned).collect();
    Ok(KeyRotation { current: keyring.current().to_owned(), can_be_retired, done, keys })
}
