//! Rate limits per caller: token buckets, shared by all nodes through PostgreSQL.
//!
//! The cast:
//!
//! - [`RateLimits::admit`]: what an operation asks before it does anything.
//! - `class`: the requests that are limited together; `settings`: the limits, by flag or
//!   environment.
//! - `bucket`: one bucket as this node sees it. A request within its limit is decided here, from
//!   tokens leased before, and so is one beyond it, from what the last lease was told: neither asks
//!   the database.
//! - `leases`: the shared buckets in the database, and how tokens are taken from them.
//! - `headers`: what the answer says of it, whatever the answer is.
//!
//! What holds:
//!
//! - A bucket holds one quota (`10/min`: ten requests at once, then one every six seconds). Quotas
//!   below 40 are leased token by token, so that all nodes together keep them exactly.
//! - Larger ones are leased in pieces that grow with their use, to 5 % of the quota: so much one
//!   node may let a caller go beyond it, after a pause. Tokens that are not spent within a sixth of
//!   the window, at most 10 s, are given back by the caller's next lease on this node. When there
//!   is none, they are lost; the bucket fills up all the same.
//! - Per bucket and node one lease is under way at a time, whoever waits for it. It has one of four
//!   connections, which nothing else uses; one whose row is locked gives up after 700 ms. So a
//!   caller whose bucket is stuck keeps only itself waiting.
//! - While the database cannot be asked, [inbound webhooks](LimitClass::InboundWebhook) pass after
//!   at most 250 ms (what they need is the database itself, and a limit is no reason to lose one);
//!   everything else is answered 503 after at most 1.5 s. Half a second later it is asked again.
//! - The memory of this node is bounded, and rows of buckets that are full are deleted.

mod bucket;
mod class;
mod headers;
mod leases;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::bucket::{Admission, AdmissionDecision, Bucket, QuotaLeft};
pub use self::class::LimitClass;
pub use self::headers::{HEADERS, RateLimitHeaders};
use self::leases::{LeaseError, Leases};
pub use self::settings::{Limit, LimitArgs, Quota};
use super::client_address::TrustedProxies;
use crate::http::wire::problem::{Code, Problem};
use crate::metrics::instruments::{RATE_LIMIT_DECISIONS, RATE_LIMIT_LEASES};
use crate::metrics::{Counter, Metrics, Tallies};

/// Buckets are spread over so many maps, so that requests do not wait for each other's look-up.
const SHARDS: usize = 16;
/// The most buckets of one map. One that is full forgets: each of its buckets is then asked for
/// again.
const BUCKETS_PER_SHARD_MAX: usize = 4096;
/// The interval at which buckets and rows that are no longer needed are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// The limiter. Clones share its state.
#[derive(Clone)]
pub struct RateLimits(Arc<Limiter>);

struct Limiter {
    limits: RwLock<ClassLimits>,
    proxies: TrustedProxies,
    buckets: [Mutex<HashMap<Uuid, Arc<Bucket>>>; SHARDS],
    leases: Leases,
    /// There may be rows that can be deleted later.
    has_leased: AtomicBool,
    tallies: Decisions,
}

/// The limit of each class.
type ClassLimits = [Limit; LimitClass::ALL.len()];

/// The decisions by class, and the number of questions to the database.
struct Decisions {
    passed: [Counter; LimitClass::ALL.len()],
    refused: [Counter; LimitClass::ALL.len()],
    unknown: [Counter; LimitClass::ALL.len()],
    leases: [Counter; LimitClass::ALL.len()],
}

impl RateLimits {
    /// Starts the limiter. It connects to the database when first needed, and ends with its last
    /// clone.
    pub fn start(database: &PgConnectOptions, limits: &LimitArgs, metrics: &Metrics) -> Self {
        let this = Self(Arc::new(Limiter {
            limits: RwLock::new(LimitClass::ALL.map(|class| limits.of(class))),
            proxies: limits.trusted_proxies.clone(),
            buckets: std::array::from_fn(|_| Mutex::default()),
            leases: Leases::new(database),
            has_leased: AtomicBool::new(false),
            tallies: Decisions::new(metrics),
        }));
        tokio::spawn(sweep_while_used(Arc::downgrade(&this.0)));
        this
    }

    /// Lets one request of `subject` pass, or refuses it. What is left of the limit is told by the
    /// headers of the answer ([`RateLimitHeaders`]).
    ///
    /// # Errors
    ///
    /// [`Code::RateLimited`]; [`Code::Unavailable`] within 1.5 s when the database is away, but for
    /// inbound webhooks, which then pass within 250 ms.
    pub async fn admit(&self, class: LimitClass, subject: &str) -> Result<(), Problem> {
        self.admit_by(self.limit_of(class), class, subject).await
    }

    /// The same by a limit of the subject's own.
    ///
    /// # Errors
    ///
    /// As [`RateLimits::admit`].
    pub async fn admit_by(
        &self,
        limit: Limit,
        class: LimitClass,
        subject: &str,
    ) -> Result<(), Problem> {
        let Limit::Quota(quota) = limit else { return Ok(()) };
        let admission = self.decide(class, subject, quota).await;
        let tallies = &self.0.tallies;
        match admission {
            Admission::Pass(quota_left) => {
                tallies.passed[class as usize].add_one();
                headers::note(class, quota_left);
                Ok(())
            }
            Admission::Refuse(quota_left) => {
                tallies.refused[class as usize].add_one();
                headers::note(class, quota_left);
                Err(refusal(class, quota_left))
            }
            Admission::Unknown => {
                tallies.unknown[class as usize].add_one();
                if class.fails_open() {
                    return Ok(());
                }
                headers::note(class, QuotaLeft::unknown(quota));
                Err(Problem::new(Code::Unavailable))
            }
        }
    }

    /// The limit of a class, as it is now.
    #[must_use]
    pub fn limit_of(&self, class: LimitClass) -> Limit {
        self.0.limits.read().unwrap_or_else(PoisonError::into_inner)[class as usize]
    }

    /// Limits the class in this way from now on. A bucket that was used up under the old limit is
    /// used up under the new one, and fills within its window.
    pub fn limit(&self, class: LimitClass, limit: Limit) {
        let mut limits = self.0.limits.write().unwrap_or_else(PoisonError::into_inner);
        limits[class as usize] = limit;
    }

    async fn decide(&self, class: LimitClass, subject: &str, quota: Quota) -> Admission {
        let now = Instant::now();
        let id = bucket_id(class, subject);
        let bucket = self.0.bucket(id, quota, now);
        let receiver = match bucket.decide(now) {
            AdmissionDecision::Known(admission) => return admission,
            AdmissionDecision::OnLease(receiver) => receiver,
            AdmissionDecision::OnNewLease(receiver) => {
                let lease =
                    LeaseInProgress { limiter: Arc::clone(&self.0), class, id, quota, bucket };
                // A task of its own: others wait for it, too, and must not lose it with this one.
                tokio::spawn(lease.run());
                receiver
            }
        };
        admission_within(class.patience(), receiver).await
    }

    /// Clears away what is no longer needed, and says how many rows of the database were deleted.
    pub async fn sweep(&self) -> u64 {
        self.0.sweep().await
    }

    /// The number of buckets that this node remembers.
    pub fn remembered(&self) -> usize {
        self.0.buckets.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits")
            .field("limits", &LimitClass::ALL.map(|class| self.limit_of(class)))
            .finish_non_exhaustive()
    }
}

impl Limiter {
    fn bucket(&self, id: Uuid, quota: Quota, now: Instant) -> Arc<Bucket> {
        let shard = usize::from(id.as_bytes()[0]) % SHARDS;
        let mut shard = lock(&self.buckets[shard]);
        // One of another quota was made before the limit was changed.
        if let Some(bucket) = shard.get(&id).filter(|bucket| bucket.quota() == quota) {
            return Arc::clone(bucket);
        }
        if shard.len() >= BUCKETS_PER_SHARD_MAX {
            shard.clear();
        }
        let bucket = Arc::new(Bucket::new(quota, now));
        shard.insert(id, Arc::clone(&bucket));
        bucket
    }

    async fn sweep(&self) -> u64 {
        let now = Instant::now();
        for shard in &self.buckets {
            lock(shard).retain(|_, bucket| bucket.is_in_use(now));
        }
        // A node that is not asked anything has nothing to clear away after itself.
        if !self.has_leased.swap(false, Ordering::Relaxed) {
            return 0;
        }
        self.leases.prune().await.unwrap_or_else(|error| {
            self.has_leased.store(true, Ordering::Relaxed);
            tracing::warn!("old rate limits cannot be deleted: {:#}", anyhow::Error::new(error));
            0
        })
    }
}

async fn sweep_while_used(limiter: Weak<Limiter>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(limiter) = limiter.upgrade() else { return };
        limiter.sweep().await;
    }
}

/// A lease under way.
struct LeaseInProgress {
    limiter: Arc<Limiter>,
    class: LimitClass,
    id: Uuid,
    quota: Quota,
    bucket: Arc<Bucket>,
}

impl LeaseInProgress {
    /// Leases until nobody waits any more, or there is nothing left.
    async fn run(self) {
        // Those that came at the same time are to be in it.
        tokio::task::yield_now().await;
        loop {
            let plan = self.bucket.plan(Instant::now());
            self.limiter.tallies.leases[self.class as usize].add_one();
            self.limiter.has_leased.store(true, Ordering::Relaxed);
            let outcome = self.limiter.leases.take(self.id, self.quota, plan).await;
            let lease = outcome.map_err(|error| self.log(error)).ok();
            if !self.bucket.settle(lease, Instant::now()) {
                return;
            }
        }
    }

    fn log(&self, error: LeaseError) {
        let (class, error) = (self.class.name(), anyhow::Error::new(error));
        tracing::warn!(class, "a limit of class {class} cannot be looked up: {error:#}");
    }
}

impl Drop for LeaseInProgress {
    fn drop(&mut self) {
        // Nothing to do, but where it panicked or the process stops.
        self.bucket.abandon();
    }
}

impl Decisions {
    fn new(metrics: &Metrics) -> Self {
        let by_decision = Tallies::new(&RATE_LIMIT_DECISIONS);
        let leases = Tallies::new(&RATE_LIMIT_LEASES);
        let decisions = |decision: &'static str| {
            LimitClass::ALL.map(|class| by_decision.of(&[class.name(), decision]))
        };
        let these = Self {
            passed: decisions("passed"),
            refused: decisions("refused"),
            unknown: decisions("unknown"),
            leases: LimitClass::ALL.map(|class| leases.of(&[class.name()])),
        };
        metrics.collect(move || vec![by_decision.family(), leases.family()]);
        these
    }
}

/// A hash, so that neither here nor in the database the memory of a subject depends on how it is
/// called, or tells it.
fn bucket_id(class: LimitClass, subject: &str) -> Uuid {
    let digest =
        Sha256::new().chain_update(class.name()).chain_update([0]).chain_update(subject).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(id)
}

async fn admission_within(patience: Duration, receiver: oneshot::Receiver<Admission>) -> Admission {
    timeout(patience, receiver)
        .await
        .map_or(Admission::Unknown, |answer| answer.unwrap_or(Admission::Unknown))
}

fn refusal(class: LimitClass, quota_left: QuotaLeft) -> Problem {
    let requests = quota_left.quota.requests;
    let window = humantime::format_duration(quota_left.quota.window);
    let wait_secs = headers::whole_secs(quota_left.more_in).max(1);
    Problem::new(Code::RateLimited)
        .detail(format!(
            "The limit '{}' of {requests} requests per {window} is used up; the next is allowed in \
             {wait_secs} s.",
            class.name()
        ))
        .retry_after(wait_secs)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use poem::http::Method;

    use super::*;

    #[test]
    fn balance_and_transactions_of_a_user_have_limits_of_their_own() {
        let table = [
            (Method::GET, "/v1/users/7/balance", LimitClass::Balance),
            (Method::HEAD, "/v1/users/7/balance", LimitClass::Balance),
            (Method::GET, "/v1/users/7/transactions", LimitClass::TransactionList),
            (Method::POST, "/v1/users/7/balance", LimitClass::Api),
            (Method::GET, "/v1/users/7", LimitClass::Api),
            (Method::GET, "/v1/users/7/balance/", LimitClass::Api),
            (Method::GET, "/v1/transactions", LimitClass::Api),
        ];
        for (method, path, class) in table {
            assert_eq!(LimitClass::of(&method, path), class, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn however_many_subjects_there_are_the_memory_is_bounded() {
        let args = crate::serve::ApiArgs::default().limits;
        let limits = RateLimits::start(&PgConnectOptions::new(), &args, &Metrics::new());
        let Limit::Quota(quota) = args.limit_api else { panic!("it is on by default") };
        for subject in 0..2 * SHARDS * BUCKETS_PER_SHARD_MAX {
            let id = bucket_id(LimitClass::Api, &subject.to_string());
            limits.0.bucket(id, quota, Instant::now());
        }
        assert!(limits.remembered() <= SHARDS * BUCKETS_PER_SHARD_MAX);
        limits.sweep().await;
        assert_eq!(limits.remembered(), 0, "none of them was used");
    }

    #[test]
    fn each_class_and_subject_has_a_bucket_of_its_own() {
        let mut ids = std::collections::HashSet::new();
        for (place, class) in LimitClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place);
            for subject in ["user:1", "user:2", ""] {
                assert!(ids.insert(bucket_id(class, subject)));
            }
        }
    }
}
