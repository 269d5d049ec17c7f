//! Sign-ins: the credentials of requests, looked up in the database as it is now.
//!
//! The database is asked at every request and nothing is remembered, so whatever ends a session or
//! a key does so at once on every node. What makes that cheap is that requests which arrive
//! together are looked up together, by a [`batcher`](crate::queue::batcher).
//!
//! The lookups have a connection of their own, so that slow reads of the API cannot keep a caller
//! from being known. Whatever goes wrong with it, it is dropped and a new one made.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::db;
use crate::http::wire::problem::{Code, Problem};
use crate::identity::IdentityError;
use crate::identity::api_keys;
use crate::identity::credentials::{Credential, KnownCaller, find_many};
use crate::queue::batcher::{Batcher, Limits, NoAnswer, Processor, Request};

/// The most requests that wait for a lookup. Beyond that they are refused at once instead of after
/// a wait in vain.
const MAX_WAITING: usize = 8192;
/// The most credentials in one statement.
const MAX_BATCH: usize = 256;
/// After this long a request is answered that nobody knows.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// After this long a lookup is given up and its connection dropped. Less than the above, so that
/// those in it are answered by it.
const LOOKUP_WITHIN: Duration = Duration::from_millis(2500);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A connection that does not answer by then is cut off, and there is still time to ask by another.
const OLD_CONNECTION_WITHIN: Duration = Duration::from_secs(1);
/// The interval at which the loader checks that the server is still the one that is written to. One
/// that was demoted knows nothing of sessions that have ended since.
const ROLE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// The queue of credentials to look up. Clones share the same loader, which ends when the last is
/// dropped.
#[derive(Clone, Debug)]
pub struct SignIns {
    batcher: Batcher<Credential, LookupResult>,
    lookups: Arc<AtomicU64>,
}

type Lookup = Request<Credential, LookupResult>;

/// The caller that a credential stands for, unless the database is away.
type LookupResult = Result<Option<KnownCaller>, DatabaseAway>;

#[derive(Clone, Copy, Debug)]
struct DatabaseAway;

impl SignIns {
    /// Starts the loader; it connects when first needed.
    pub fn start(database: &PgConnectOptions) -> (Self, JoinSet<()>) {
        // Its one statement has one good plan, and to plan takes ten times as long as to run it.
        let database = database.clone().options([("plan_cache_mode", "force_generic_plan")]);
        let lookups = Arc::new(AtomicU64::new(0));
        let loader = Loader {
            database,
            connection: None,
            role_checked_at: Instant::now(),
            lookups: Arc::clone(&lookups),
        };
        let limits = Limits { waiting: MAX_WAITING, batch: MAX_BATCH };
        let (batcher, running) = Batcher::start(limits, [loader]);
        (Self { batcher, lookups }, running)
    }

    /// The number of questions to the database: fewer than requests, where these come together.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// Looks this credential up in the database as it is now; none when it does not hold.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] within five seconds when the database is away; [`Code::Overloaded`] at
    /// once when too many wait already.
    pub async fn find(&self, credential: Credential) -> Result<Option<KnownCaller>, Problem> {
        match self.batcher.ask_within(credential, ANSWER_WITHIN).await {
            Ok(Ok(known)) => Ok(known),
            Err(NoAnswer::Full) => Err(Problem::new(Code::Overloaded)),
            Ok(Err(DatabaseAway)) | Err(NoAnswer::Unknown) => Err(Problem::new(Code::Unavailable)),
        }
    }
}

/// Looks up the credentials that arrived together.
struct Loader {
    database: PgConnectOptions,
    connection: Option<PgConnection>,
    role_checked_at: Instant,
    lookups: Arc<AtomicU64>,
}

impl Processor for Loader {
    type Item = Credential;
    type Answer = LookupResult;

    async fn process(&mut self, batch: Vec<Lookup>) {
        let wanted: HashSet<Credential> = batch.iter().map(|lookup| lookup.item).collect();
        let wanted: Vec<Credential> = wanted.into_iter().collect();
        let known = match timeout(LOOKUP_WITHIN, self.look_up(&wanted)).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                tracing::warn!("callers cannot be looked up: {:#}", anyhow::Error::new(error));
                return answer_all(batch, |_| Err(DatabaseAway));
            }
            Err(_) => {
                tracing::warn!("callers cannot be looked up: the database does not answer");
                return answer_all(batch, |_| Err(DatabaseAway));
            }
        };
        self.lookups.fetch_add(1, Ordering::Relaxed);
        answer_all(batch, |credential| Ok(known.get(&credential).cloned()));
        self.note_use(known.values()).await;
    }

    fn recover(&mut self) {
        self.connection = None;
    }
}

impl Loader {
    /// The connection is taken, and put back only when nothing about it is in doubt. That it fails
    /// once only means that the server was restarted since: reading again harms nobody.
    async fn look_up(
        &mut self,
        wanted: &[Credential],
    ) -> Result<HashMap<Credential, KnownCaller>, IdentityError> {
        if let Some(mut connection) = self.connection.take()
            && self.may_be_asked(&mut connection).await
            && let found = timeout(OLD_CONNECTION_WITHIN, find_many(&mut connection, wanted)).await
            && let Ok(Ok(known)) = found
        {
            self.connection = Some(connection);
            return Ok(known.into_iter().collect());
        }
        let connecting = timeout(CONNECT_WITHIN, PgConnection::connect_with(&self.database));
        let mut connection = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        let known = find_many(&mut connection, wanted).await?;
        self.connection = Some(connection);
        Ok(known.into_iter().collect())
    }

    async fn may_be_asked(&mut self, connection: &mut PgConnection) -> bool {
        if self.role_checked_at.elapsed() < ROLE_CHECK_EVERY {
            return true;
        }
        self.role_checked_at = Instant::now();
        db::is_writable(connection).await
    }

    /// After the answers, which do not depend on it: that a note of use is lost harms nobody.
    async fn note_use(&mut self, known: impl Iterator<Item = &KnownCaller>) {
        let used: Vec<_> = known
            .filter_map(|known| match known {
                KnownCaller::ApiKey(key) if key.is_use_to_be_noted => Some(key.id),
                KnownCaller::ApiKey(_) | KnownCaller::Session(_) => None,
            })
            .collect();
        if used.is_empty() {
            return;
        }
        let Some(mut connection) = self.connection.take() else { return };
        match timeout(LOOKUP_WITHIN, api_keys::note_use(&mut connection, &used)).await {
            Ok(Ok(())) => self.connection = Some(connection),
            Ok(Err(error)) => {
                tracing::warn!("the use of API keys cannot be noted: {error:#}");
            }
            Err(_) => tracing::warn!("the use of API keys cannot be noted in time"),
        }
    }
}

fn answer_all(batch: Vec<Lookup>, answer: impl Fn(Credential) -> LookupResult) {
    for lookup in batch {
        let answer = answer(lookup.item);
        lookup.answer(answer);
    }
}
