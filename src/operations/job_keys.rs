//! Keys of sealed jobs and of the secrets of endpoints: what has which, and sealing with the
//! current one.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

pub use crate::queue::sealing::rotation::{KeyUse, Resealed};
pub use crate::queue::sealing::{Keyring, KeyringError};

use super::Identity;
use crate::arguments::{SecretText, read_value};
use crate::audit::{self, Subject};
use crate::deliveries::endpoints;
use crate::ids::EndpointId;
use crate::jobs::EndpointSecrets;
use crate::queue::QueueError;
use crate::queue::commits::commit;
use crate::queue::sealing::rotation::{keys_in_use, reseal};

/// The most endpoints that are looked for at a time.
const ENDPOINTS: u16 = 200;

/// The source of the keys of sealed jobs and of the secrets of endpoints.
#[derive(ClapArgs, Clone, Debug, Default)]
pub struct JobKeyArgs {
    /// The keys that arguments of sealed jobs and secrets of endpoints are encrypted with, each
    /// 'id:' and 32 bytes in base64, separated by commas or spaces. The first one seals, all of
    /// them open.
    #[arg(long, env = "APP_JOB_KEYS", hide_env_values = true, value_name = "KEYS")]
    pub job_keys: Option<SecretText>,

    /// A file that holds the keys instead.
    #[arg(long, env = "APP_JOB_KEYS_FILE", value_name = "FILE", conflicts_with = "job_keys")]
    pub job_keys_file: Option<PathBuf>,
}

impl JobKeyArgs {
    /// The keys; none if none are set.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or what is set is no ring of keys.
    pub fn keyring(&self) -> anyhow::Result<Option<Keyring>> {
        match (&self.job_keys, &self.job_keys_file) {
            // An environment file that leaves the variable empty means none.
            (Some(text), _) if text.as_str().is_empty() => Ok(None),
            (Some(text), _) => Ok(Some(text.as_str().parse().context(BAD_KEYS)?)),
            (None, Some(file)) => {
                let text = read_value(file)
                    .context("the file that APP_JOB_KEYS_FILE names cannot be read")?;
                Ok(Some(text.parse().context(BAD_KEYS)?))
            }
            (None, None) => Ok(None),
        }
    }
}

const BAD_KEYS: &str = "APP_JOB_KEYS, or the file that APP_JOB_KEYS_FILE names, cannot be right";

/// The jobs and secrets that have each key, after all of them were sealed again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeyRotation {
    /// The key that seals.
    pub current: String,
    /// Keys of the ring that no job which may still run needs, and no secret of an endpoint.
    pub can_be_retired: Vec<String>,
    /// The jobs that were sealed again; null if that was not asked for.
    pub done: Option<Resealed>,
    /// The number of jobs with each key.
    pub keys: Vec<KeyUse>,
    /// The endpoints whose secrets were sealed again; null if that was not asked for.
    pub endpoints_done: Option<Resealed>,
    /// The number of endpoints' secrets with each key.
    pub secrets: Vec<SecretUse>,
}

/// The number of secrets of endpoints that are sealed with a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SecretUse {
    /// The id of the key; null for those in plain.
    pub key: Option<String>,
    /// Their number: those that sign webhooks, and values of headers.
    pub secrets: i64,
}

/// The need for a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyNeed {
    /// The current key.
    Current,
    /// A key of history only.
    CanBeRetired,
    /// An older key of what is still opened.
    StillNeeded,
    /// A key outside the ring, of history only.
    UnknownAndUnneeded,
    /// A key outside the ring, of what is still opened.
    UnknownAndNeeded,
    /// Something in plain is to be sealed.
    ToBeSealed,
    /// Jobs in plain that have ended.
    PlainHistory,
}

impl KeyRotation {
    /// The need for the key of these jobs.
    #[must_use]
    pub fn need_of_jobs(&self, keyring: &Keyring, used: &KeyUse) -> KeyNeed {
        let key = used.key.as_deref();
        let is_needed = used.may_run() > 0 || (key.is_some() && self.has_secrets(key));
        match key {
            None if used.may_run() == 0 => KeyNeed::PlainHistory,
            _ => need(keyring, key, is_needed),
        }
    }

    /// The need for the key of these secrets.
    #[must_use]
    pub fn need_of_secrets(&self, keyring: &Keyring, used: &SecretUse) -> KeyNeed {
        need(keyring, used.key.as_deref(), true)
    }

    /// Keys of the ring, but for the current one, that nothing has.
    pub fn unused<'a>(&'a self, keyring: &'a Keyring) -> impl Iterator<Item = &'a str> {
        keyring.ids().skip(1).filter(move |id| {
            self.keys.iter().all(|it| !it.is_key(id)) && !self.has_secrets(Some(id))
        })
    }

    /// Tells whether something could not be opened.
    #[must_use]
    pub fn has_unopened(&self) -> bool {
        [self.done, self.endpoints_done].iter().flatten().any(|done| done.unopened > 0)
    }

    fn has_secrets(&self, key: Option<&str>) -> bool {
        self.secrets.iter().any(|used| used.key.as_deref() == key)
    }
}

fn need(keyring: &Keyring, key: Option<&str>, is_needed: bool) -> KeyNeed {
    match key {
        None => KeyNeed::ToBeSealed,
        Some(key) if key == keyring.current() => KeyNeed::Current,
        Some(key) => match (keyring.knows(key), is_needed) {
            (true, false) => KeyNeed::CanBeRetired,
            (true, true) => KeyNeed::StillNeeded,
            (false, false) => KeyNeed::UnknownAndUnneeded,
            (false, true) => KeyNeed::UnknownAndNeeded,
        },
    }
}

/// Counts the jobs and the secrets of endpoints of each key.
///
/// # Errors
///
/// [`QueueError::Database`].
pub async fn count(pool: &PgPool, keyring: &Keyring) -> Result<KeyRotation, QueueError> {
    counted(pool, keyring, None).await
}

/// Seals waiting and discarded jobs with the current key, `batch` at a time, and the secrets of
/// endpoints, and counts what has each key after that. It can be stopped at any moment and called
/// again.
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
    let jobs = reseal(pool, keyring, batch).await?;
    let endpoints = reseal_endpoints(pool, keyring).await?;
    counted(pool, keyring, Some((jobs, endpoints))).await
}

/// Seals the secrets of endpoints with the current key, each endpoint in a transaction of its own,
/// which waits for whoever changes it.
async fn reseal_endpoints(pool: &PgPool, keyring: &Keyring) -> Result<Resealed, QueueError> {
    let secrets = EndpointSecrets::new(Some(keyring.clone()));
    let mut done = Resealed::default();
    let mut after = EndpointId(Uuid::nil());
    loop {
        let mut conn = pool.acquire().await?;
        let current = keyring.current();
        let stale = endpoints::with_other_keys(&mut conn, current, after, ENDPOINTS).await?;
        drop(conn);
        let Some(last) = stale.last() else { return Ok(done) };
        after = *last;
        for endpoint in stale {
            let mut tx = pool.begin().await?;
            let Some(stored) = endpoints::lock_secrets(&mut tx, endpoint).await? else { continue };
            match secrets.reseal(stored) {
                Ok(resealed) => {
                    endpoints::store_secrets(&mut tx, &resealed).await?;
                    commit(tx).await?;
                    done.resealed += 1;
                }
                Err(error) => {
                    tracing::warn!(%endpoint, "an endpoint's secrets cannot be sealed: {error}");
                    done.unopened += 1;
                }
            }
        }
    }
}

async fn counted(
    pool: &PgPool,
    keyring: &Keyring,
    done: Option<(Resealed, Resealed)>,
) -> Result<KeyRotation, QueueError> {
    let keys = keys_in_use(pool).await?;
    let secrets = endpoints::count_keys(&mut *pool.acquire().await?).await?;
    let secrets = secrets.into_iter().map(|(key, secrets)| SecretUse { key, secrets }).collect();
    let mut rotation = KeyRotation {
        current: keyring.current().to_owned(),
        can_be_retired: Vec::new(),
        done: done.map(|(jobs, _)| jobs),
        keys,
        endpoints_done: done.map(|(_, endpoints)| endpoints),
        secrets,
    };
    let is_needed = |id: &str| {
        rotation.keys.iter().any(|used| used.is_key(id) && used.may_run() > 0)
            || rotation.has_secrets(Some(id))
    };
    let older = keyring.ids().skip(1).filter(|id| !is_needed(id));
    let can_be_retired = older.map(str::to_owned).collect();
    rotation.can_be_retired = can_be_retired;
    Ok(rotation)
}
