//! One bucket, as this node knows it: the tokens that it has leased and not spent, the lease under
//! way, and the time until which it need not ask.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::settings::Quota;

/// A lease is at most this share of the quota. It is by how much one node may let a caller exceed
/// it, when it spends a lease that has waited until the bucket was full again.
const LEASE_SHARE: u32 = 20;
/// While leases are spent before they end, each is so many times the one before.
const LEASE_GROWTH: u32 = 4;
/// The most time that a lease may be spent; also at most a sixth of the window.
const SPEND_WITHIN_MAX: Duration = Duration::from_secs(10);
/// The time that the database is left alone after it could not be asked.
const AWAY_FOR: Duration = Duration::from_millis(500);

/// The decision on a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    Pass(QuotaLeft),
    Refuse(QuotaLeft),
    /// The database cannot be asked.
    Unknown,
}

/// The rest of a quota, as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct QuotaLeft {
    pub(super) quota: Quota,
    /// The number of further requests that may follow at once.
    pub(super) remaining: u32,
    /// The time until there is one more.
    pub(super) more_in: Duration,
}

/// An admission, or the channel on which it will come.
pub(super) enum AdmissionDecision {
    Known(Admission),
    /// The lease under way will decide.
    OnLease(oneshot::Receiver<Admission>),
    /// A lease will decide that the caller of [`Bucket::decide`] is to begin.
    OnNewLease(oneshot::Receiver<Admission>),
}

/// The tokens to ask of the shared bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeasePlan {
    pub(super) wanted: u32,
    /// Tokens of the lease before that were not spent in its time.
    pub(super) given_back: u32,
}

/// The tokens that the shared bucket gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) granted: u32,
    /// The time until the bucket would be full if nothing more were taken.
    pub(super) full_in: Duration,
}

/// One bucket, as this node sees it.
pub(super) struct Bucket {
    quota: Quota,
    state: Mutex<BucketState>,
}

struct BucketState {
    /// Tokens that are leased and not spent.
    tokens: u32,
    /// Tokens of the last lease.
    granted: u32,
    /// The end of the lease: tokens left by then are given back with the next one.
    spend_until: Instant,
    /// The moment at which the shared bucket is full, according to the last lease.
    full_at: Instant,
    /// The moment before which there are no tokens but those above.
    refused_until: Instant,
    /// The moment before which the database is not asked.
    unknown_until: Instant,
    /// Tokens that the next lease asks for.
    lease_size: u32,
    /// A lease is under way; there is never more than one.
    leasing: bool,
    /// Requests that wait for the lease, in order.
    waiting: VecDeque<oneshot::Sender<Admission>>,
}

impl Bucket {
    pub(super) fn new(quota: Quota, now: Instant) -> Self {
        let state = BucketState {
            tokens: 0,
            granted: 0,
            spend_until: now,
            full_at: now,
            refused_until: now,
            unknown_until: now,
            lease_size: 1,
            leasing: false,
            waiting: VecDeque::new(),
        };
        Self { quota, state: Mutex::new(state) }
    }

    /// The quota that it keeps.
    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Spends a token, or says how it will be known whether there is one.
    pub(super) fn decide(&self, now: Instant) -> AdmissionDecision {
        let mut state = self.lock();
        if !state.leasing {
            if state.tokens > 0 && now < state.spend_until {
                state.tokens -= 1;
                return AdmissionDecision::Known(Admission::Pass(
                    state.quota_left(self.quota, now),
                ));
            }
            if now < state.refused_until {
                return AdmissionDecision::Known(Admission::Refuse(
                    state.quota_spent(self.quota, now),
                ));
            }
            if now < state.unknown_until {
                return AdmissionDecision::Known(Admission::Unknown);
            }
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        if std::mem::replace(&mut state.leasing, true) {
            AdmissionDecision::OnLease(receiver)
        } else {
            AdmissionDecision::OnNewLease(receiver)
        }
    }

    /// The size of the lease that is to begin: enough for all who wait, in one piece.
    pub(super) fn plan(&self, now: Instant) -> LeasePlan {
        let mut state = self.lock();
        let given_back = std::mem::take(&mut state.tokens);
        let lease_max = (self.quota.requests / LEASE_SHARE).max(1);
        let spent = state.granted - given_back;
        let next = match now < state.spend_until {
            true => state.lease_size.saturating_mul(LEASE_GROWTH),
            // It lasted longer than it should have: what was spent of it would have been enough.
            false => spent,
        };
        state.lease_size = next.clamp(1, lease_max);
        let waiting = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        let wanted = state.lease_size.max(waiting).min(self.quota.requests);
        LeasePlan { wanted, given_back }
    }

    /// Tells those who wait what came of it. Whether another lease is to begin, because more wait
    /// by now.
    pub(super) fn settle(&self, lease: Option<Lease>, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(lease) = lease else {
            state.granted = 0;
            state.unknown_until = now + AWAY_FOR;
            state.end_lease(Admission::Unknown);
            return false;
        };
        state.tokens = lease.granted;
        state.granted = lease.granted;
        state.spend_until = now + SPEND_WITHIN_MAX.min(self.quota.window / 6);
        state.full_at = now + lease.full_in;
        // In the past, unless the lease has emptied the bucket.
        let all_but_one = self.quota.interval() * (self.quota.requests - 1);
        state.refused_until = now + lease.full_in.saturating_sub(all_but_one);
        while state.tokens > 0
            && let Some(sender) = state.waiting.pop_front()
        {
            state.tokens -= 1;
            // Who has gone meanwhile spends nothing.
            if sender.send(Admission::Pass(state.quota_left(self.quota, now))).is_err() {
                state.tokens += 1;
            }
        }
        if !state.waiting.is_empty() && state.refused_until <= now {
            return true;
        }
        let quota_spent = state.quota_spent(self.quota, now);
        state.end_lease(Admission::Refuse(quota_spent));
        false
    }

    /// Lets a lease end that was not settled, so that the next request begins another.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        if state.leasing {
            state.end_lease(Admission::Unknown);
        }
    }

    /// Tells if forgetting the bucket would change more than the time of the next lease.
    pub(super) fn is_in_use(&self, now: Instant) -> bool {
        let state = self.lock();
        let remembers = state.spend_until.max(state.refused_until).max(state.unknown_until);
        // Until the bucket has filled up again, unspent tokens are worth giving back.
        let owes = state.tokens > 0 && now < state.full_at;
        state.leasing || now < remembers || owes
    }

    fn lock(&self) -> MutexGuard<'_, BucketState> {
        // No state is left half changed by anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BucketState {
    fn end_lease(&mut self, admission: Admission) {
        self.leasing = false;
        for sender in self.waiting.drain(..) {
            let _ = sender.send(admission);
        }
    }

    fn quota_left(&self, quota: Quota, now: Instant) -> QuotaLeft {
        let missing = self.full_at.saturating_duration_since(now).as_micros();
        let interval = u128::from(quota.interval_us());
        let missing_tokens = missing.div_ceil(interval).min(u128::from(quota.requests));
        let in_bucket = quota.requests - u32::try_from(missing_tokens).unwrap_or(quota.requests);
        let remaining = in_bucket.saturating_add(self.tokens).min(quota.requests);
        let more_in = match remaining == quota.requests {
            true => 0,
            false => missing.saturating_sub(missing_tokens.saturating_sub(1) * interval),
        };
        let more_in = Duration::from_micros(u64::try_from(more_in).unwrap_or(u64::MAX));
        QuotaLeft { quota, remaining, more_in }
    }

    fn quota_spent(&self, quota: Quota, now: Instant) -> QuotaLeft {
        let more_in = self.refused_until.saturating_duration_since(now);
        QuotaLeft { quota, remaining: 0, more_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn quota(requests: u32, window_secs: u64) -> Quota {
        Quota { requests, window: Duration::from_secs(window_secs) }
    }

    /// The shared bucket, as the database keeps it: when it is full.
    struct Shared {
        quota: Quota,
        full_at: Instant,
        leases: u32,
    }

    impl Shared {
        fn new(quota: Quota, now: Instant) -> Self {
            Self { quota, full_at: now, leases: 0 }
        }

        fn take(&mut self, plan: LeasePlan, now: Instant) -> Lease {
            self.leases += 1;
            let interval = self.quota.interval();
            let given_back = self.full_at.checked_sub(interval * plan.given_back).unwrap_or(now);
            let full_at = given_back.max(now);
            let missing = full_at.duration_since(now).as_micros().div_ceil(interval.as_micros());
            let left =
                self.quota.requests.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
            let granted = plan.wanted.min(left);
            self.full_at = full_at + interval * granted;
            Lease { granted, full_in: self.full_at.duration_since(now) }
        }
    }

    /// One request after the other, each told at once.
    fn ask(bucket: &Bucket, shared: &mut Shared, now: Instant) -> Admission {
        let mut receiver = match bucket.decide(now) {
            AdmissionDecision::Known(admission) => return admission,
            AdmissionDecision::OnLease(_) => panic!("nobody else is asking"),
            AdmissionDecision::OnNewLease(receiver) => receiver,
        };
        let plan = bucket.plan(now);
        assert!(!bucket.settle(Some(shared.take(plan, now)), now));
        receiver.try_recv().expect("its lease was settled")
    }

    fn passes(bucket: &Bucket, shared: &mut Shared, requests: u32, now: Instant) -> u32 {
        let passed =
            (0..requests).filter(|_| matches!(ask(bucket, shared, now), Admission::Pass(_)));
        u32::try_from(passed.count()).expect("there are few")
    }

    #[test]
    fn a_small_quota_is_kept_exactly_and_told_exactly() {
        let (now, quota) = (Instant::now(), quota(10, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
        for left in (0..10).rev() {
            let quota_left = QuotaLeft { quota, remaining: left, more_in: Duration::from_secs(6) };
            assert_eq!(ask(&bucket, &mut shared, now), Admission::Pass(quota_left));
        }
        let quota_spent = QuotaLeft { quota, remaining: 0, more_in: Duration::from_secs(6) };
        for _ in 0..1000 {
            assert_eq!(ask(&bucket, &mut shared, now), Admission::Refuse(quota_spent));
        }
        assert_eq!(shared.leases, 10, "that the bucket is empty is known from the last lease");
    }

    #[test]
    fn one_more_is_allowed_when_it_was_said_to_be_and_not_before() {
        let (start, quota) = (Instant::now(), quota(10, 60));
        let (bucket, mut shared) = (Bucket::new(quota, start), Shared::new(quota, start));
        assert_eq!(passes(&bucket, &mut shared, 20, start), 10);
        let after = |micros| start + Duration::from_micros(micros);

        assert_eq!(passes(&bucket, &mut shared, 5, after(5_999_999)), 0);
        assert_eq!(passes(&bucket, &mut shared, 5, after(6_000_000)), 1);
        assert_eq!(passes(&bucket, &mut shared, 5, after(11_999_999)), 0);
        assert_eq!(passes(&bucket, &mut shared, 5, after(30_000_000)), 4);
        assert_eq!(passes(&bucket, &mut shared, 50, after(1_000_000_000)), 10);
    }

    #[test]
    fn a_large_quota_takes_few_leases_for_what_passes_and_none_for_what_does_not() {
        let (now, quota) = (Instant::now(), quota(1000, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));

        assert_eq!(passes(&bucket, &mut shared, 1000, now), 1000);
        let for_passing = shared.leases;
        assert_eq!(passes(&bucket, &mut shared, 1000, now), 0);

        assert!(for_passing <= 25, "{for_passing} leases");
        assert_eq!(shared.leases, for_passing);
    }

    #[test]
    fn what_is_not_spent_in_time_is_given_back_with_the_next_lease() {
        let (start, quota) = (Instant::now(), quota(1000, 60));
        let (bucket, mut shared) = (Bucket::new(quota, start), Shared::new(quota, start));
        assert_eq!(passes(&bucket, &mut shared, 30, start), 30);

        // 1 + 4 + 16 + 50 were leased, of which 41 remain.
        let later = start + Duration::from_secs(11);
        assert!(matches!(bucket.decide(later), AdmissionDecision::OnNewLease(_)));
        assert_eq!(bucket.plan(later), LeasePlan { wanted: 9, given_back: 41 });
    }

    #[test]
    fn a_caller_that_comes_now_and_then_leases_one_by_one() {
        let (mut now, quota) = (Instant::now(), quota(1000, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
        for _ in 0..20 {
            now += Duration::from_secs(15);
            assert_eq!(passes(&bucket, &mut shared, 1, now), 1);
            assert!(shared.full_at <= now + quota.interval(), "more was leased than spent");
        }
    }

    #[test]
    fn all_who_come_at_once_are_told_by_one_lease() {
        let (now, quota) = (Instant::now(), quota(10, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
        let decisions: Vec<AdmissionDecision> = (0..100).map(|_| bucket.decide(now)).collect();
        let plan = bucket.plan(now);
        assert_eq!(plan.wanted, 10);

        assert!(!bucket.settle(Some(shared.take(plan, now)), now));

        for (place, decision) in decisions.into_iter().enumerate() {
            let (AdmissionDecision::OnLease(mut receiver)
            | AdmissionDecision::OnNewLease(mut receiver)) = decision
            else {
                panic!("nothing was known")
            };
            let admission = receiver.try_recv().expect("all have an answer");
            assert_eq!(
                matches!(admission, Admission::Pass(_)),
                place < 10,
                "first come, first served"
            );
        }
    }

    #[test]
    fn who_has_gone_spends_nothing() {
        let (now, quota) = (Instant::now(), quota(10, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
        for _ in 0..5 {
            drop(bucket.decide(now));
        }
        let plan = bucket.plan(now);
        bucket.settle(Some(shared.take(plan, now)), now);

        assert_eq!(passes(&bucket, &mut shared, 20, now), 10);
    }

    #[test]
    fn a_database_that_is_away_is_asked_again_half_a_second_later() {
        let (now, quota) = (Instant::now(), quota(10, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
        assert!(matches!(bucket.decide(now), AdmissionDecision::OnNewLease(_)));
        bucket.plan(now);
        bucket.settle(None, now);

        assert_eq!(ask(&bucket, &mut shared, now), Admission::Unknown);
        assert_eq!(shared.leases, 0);
        assert_eq!(passes(&bucket, &mut shared, 20, now + AWAY_FOR), 10);
    }

    #[test]
    fn a_bucket_that_knows_nothing_more_is_forgotten() {
        let (now, quota) = (Instant::now(), quota(10, 60));
        let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
        assert_eq!(passes(&bucket, &mut shared, 20, now), 10);

        assert!(bucket.is_in_use(now + Duration::from_secs(5)));
        assert!(!bucket.is_in_use(now + Duration::from_secs(61)));
    }
}
