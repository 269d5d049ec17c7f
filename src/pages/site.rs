//! The services behind all pages.

use std::fmt;
use std::sync::Arc;

use sqlx::PgPool;
use surety_postgres::connect::pool_like;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::Entry;
use super::pulse::Pulses;
use super::system::looks::Looks;
use crate::http::edge::audience::Audience;
use crate::http::edge::password_sign_ins::PasswordSignIns;
use crate::http::edge::rate_limits::RateLimits;
use crate::http::edge::reads::Reads;
use crate::http::edge::sign_ins::SignIns;
use crate::http::wire::request_body::BodyLimits;
use crate::operations::endpoints::EndpointSecrets;
use crate::operations::wake_workers;
use crate::traces::TraceStore;

/// The connections of all pages together: a page that is slow takes none from the API.
const CONNECTIONS: u32 = 4;

/// The most pages that are kept up to date at the same time; others poll.
const MAX_STREAMS: usize = 200;

/// The parts that the pages are made of.
pub struct SiteParts {
    /// The database, of which the pages make a small pool of their own, and where lists are read.
    pub reads: Reads,
    /// Knows callers.
    pub sign_ins: SignIns,
    /// Starts and ends sessions.
    pub passwords: PasswordSignIns,
    /// Knows how often may be asked.
    pub rate_limits: RateLimits,
    /// The way in: open, or by signing in.
    pub entry: Entry,
    /// The callers who are answered at all.
    pub audience: Audience,
    /// The limits of forms.
    pub bodies: BodyLimits,
    /// Seals the secrets of endpoints.
    pub secrets: EndpointSecrets,
    /// The last traces, where they are kept.
    pub traces: Option<TraceStore>,
    /// Cancelled when the process is to stop.
    pub shutdown: CancellationToken,
}

/// The services behind all pages.
pub(super) struct Site {
    pub(super) pool: PgPool,
    pub(super) reads: Reads,
    pub(super) sign_ins: SignIns,
    pub(super) passwords: PasswordSignIns,
    pub(super) rate_limits: RateLimits,
    pub(super) entry: Entry,
    pub(super) secrets: EndpointSecrets,
    pub(super) pulses: Pulses,
    pub(super) looks: Looks,
    pub(super) streams: Arc<Semaphore>,
    pub(super) traces: Option<TraceStore>,
    pub(super) shutdown: CancellationToken,
}

impl Site {
    pub(super) fn new(parts: SiteParts) -> Self {
        Self {
            pool: pool_like(parts.reads.primary(), CONNECTIONS),
            reads: parts.reads,
            sign_ins: parts.sign_ins,
            passwords: parts.passwords,
            rate_limits: parts.rate_limits,
            entry: parts.entry,
            secrets: parts.secrets,
            pulses: Pulses::default(),
            looks: Looks::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            traces: parts.traces,
            shutdown: parts.shutdown,
        }
    }

    /// Wakes idle workers, after a commit that made jobs due.
    pub(super) async fn wake_workers(&self) {
        wake_workers(&self.pool).await;
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("entry", &self.entry).finish_non_exhaustive()
    }
}
