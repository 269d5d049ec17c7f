//! Rejected deliveries of sources of webhooks: kept in memory for a moment, and stored together.
//!
//! A refusal waits for no database, and a flood of forgeries costs no more of it than one
//! transaction a second: the same body for the same reason is one row with a count, and of
//! different ones so many wait, those that were signed apart from those that were not.

use std::collections::BTreeMap;
use std::mem;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::intake::source_of;
use crate::http::wire::problem::Code;
use crate::operations::webhook_rejections::{self, DeclaredSource, NewRejections};
use crate::queue::deadline::within;

/// The time from a rejection until it is stored: those that come meanwhile are stored with it.
const GATHER_FOR: Duration = Duration::from_secs(1);
/// The time between two tries while the database is away.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// The time between two declarations of the sources.
const DECLARE_EVERY: Duration = Duration::from_secs(3600);
/// At the end, so long for what is left.
const LAST_WITHIN: Duration = Duration::from_secs(1);
/// The most different ones of a source that wait, of either kind.
const MAX_PENDING: usize = 200;
/// The most bytes of a body that are kept.
const EXCERPT_BYTES: usize = 1024;

/// A delivery that is refused.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'a> {
    /// The source that it came to.
    pub source: &'a str,
    /// The reason, as a stable code.
    pub reason: &'a str,
    /// The reason in words that repeat nothing of the body.
    pub detail: &'a str,
    /// True if the signature was right.
    pub is_verified: bool,
    /// The body.
    pub body: &'a [u8],
    /// The address that it came from.
    pub address: Option<IpAddr>,
}

/// The rejections that are not stored yet.
#[derive(Debug, Default)]
pub struct Rejections {
    sources: Vec<DeclaredSource>,
    pending: Mutex<BTreeMap<Key, Gathered>>,
    arrived: Notify,
}

/// Source, kind, reason and hash: those of one kind of a source stand together.
type Key = (String, bool, String, String);

#[derive(Debug)]
struct Gathered {
    detail: String,
    body_bytes: u64,
    excerpt: Option<String>,
    address: Option<String>,
    count: u64,
    first_at: Instant,
    last_at: Instant,
}

impl Rejections {
    /// The rejections of these sources.
    #[must_use]
    pub fn new(sources: Vec<DeclaredSource>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Keeps a rejection.
    pub fn note(&self, rejected: Rejected<'_>) {
        let hash = hex::encode(Sha256::digest(rejected.body));
        self.gather(&rejected, hash);
    }

    /// Keeps a refusal of a body that was never read as a whole.
    pub fn note_unread(&self, path: &str, code: Code) {
        let source = source_of(path).filter(|name| self.sources.iter().any(|it| it.name == *name));
        let (Some(source), Code::BodyTooLarge | Code::RequestTimeout) = (source, code) else {
            return;
        };
        let (reason, detail) = (code.as_str(), code.meaning());
        let is_verified = false;
        let unread = Rejected { source, reason, detail, is_verified, body: &[], address: None };
        self.gather(&unread, String::new());
    }

    fn gather(&self, rejected: &Rejected<'_>, hash: String) {
        let Rejected { source, reason, detail, is_verified, body, address } = *rejected;
        let now = Instant::now();
        let key = (source.to_owned(), is_verified, reason.to_owned(), hash);
        let mut pending = self.lock();
        if !pending.contains_key(&key) {
            let of_kind = pending.keys().filter(|it| (&it.0, it.1) == (&key.0, key.1)).count();
            if of_kind >= MAX_PENDING {
                return;
            }
        }
        let gathered = pending.entry(key).or_insert_with(|| Gathered {
            detail: detail.to_owned(),
            body_bytes: body.len() as u64,
            excerpt: is_verified.then(|| excerpt(body)),
            address: None,
            count: 0,
            first_at: now,
            last_at: now,
        });
        gathered.count += 1;
        gathered.last_at = now;
        gathered.address = address.map(|it| it.to_string());
        drop(pending);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Gathered>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what is rejected until `stop` is cancelled, and then what is left; and declares the
    /// sources.
    pub async fn keep(&self, pool: PgPool, stop: CancellationToken) {
        if self.sources.is_empty() {
            return;
        }
        let mut declared: Option<Instant> = None;
        let mut has_failed = false;
        loop {
            let is_due = declared.is_none_or(|at| at.elapsed() >= DECLARE_EVERY);
            let stored = async {
                if is_due {
                    self.declare(&pool).await?;
                    declared = Some(Instant::now());
                }
                self.store(&pool).await
            };
            let waiting = match (stored.await, has_failed) {
                (Ok(()), _) => {
                    has_failed = false;
                    None
                }
                (Err(error), was_told) => {
                    if !was_told {
                        let error = anyhow::Error::new(error);
                        tracing::warn!("rejected webhooks cannot be stored, trying on: {error:#}");
                    }
                    has_failed = true;
                    Some(RETRY_EVERY)
                }
            };
            let next = async {
                match waiting {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => {
                        let _idle =
                            tokio::time::timeout(DECLARE_EVERY, self.arrived.notified()).await;
                        tokio::time::sleep(GATHER_FOR).await;
                    }
                }
            };
            if stop.run_until_cancelled(next).await.is_none() {
                break;
            }
        }
        let _late = tokio::time::timeout(LAST_WITHIN, self.store(&pool)).await;
    }

    async fn declare(&self, pool: &PgPool) -> sqlx::Result<()> {
        within(async {
            let mut conn = pool.acquire().await?;
            webhook_rejections::declare_sources(&mut conn, &self.sources).await
        })
        .await
    }

    /// Stores all that wait; what cannot be stored waits on, as far as there is room.
    async fn store(&self, pool: &PgPool) -> sqlx::Result<()> {
        let taken = mem::take(&mut *self.lock());
        if taken.is_empty() {
            return Ok(());
        }
        let rejections: Vec<NewRejections> = taken.iter().map(told).collect();
        let stored = within(async {
            let mut conn = pool.acquire().await?;
            webhook_rejections::record(&mut conn, &rejections).await
        });
        let stored = stored.await;
        if stored.is_err() {
            let mut pending = self.lock();
            for (key, gathered) in taken {
                pending.entry(key).or_insert(gathered);
            }
        }
        stored
    }
}

fn told((key, gathered): (&Key, &Gathered)) -> NewRejections {
    let (source, is_verified, reason, body_sha256) = key.clone();
    NewRejections {
        source,
        reason,
        detail: gathered.detail.clone(),
        is_verified,
        body_sha256,
        body_bytes: gathered.body_bytes,
        excerpt: gathered.excerpt.clone(),
        address: gathered.address.clone(),
        received_count: gathered.count,
        first_age_secs: gathered.first_at.elapsed().as_secs_f64(),
        last_age_secs: gathered.last_at.elapsed().as_secs_f64(),
    }
}

/// The beginning of a body, without what a database or a terminal would stumble over.
fn excerpt(body: &[u8]) -> String {
    let beginning = &body[..body.len().min(EXCERPT_BYTES)];
    let text = String::from_utf8_lossy(beginning);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
