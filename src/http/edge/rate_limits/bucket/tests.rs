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
        let left = self.quota.requests.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
        let granted = plan.wanted.min(left);
        self.full_at = full_at + interval * granted;
        Lease { granted, full_in: self.full_at.duration_since(now) }
    }
}

/// One request after the other, each told at once.
fn ask(bucket: &Bucket, shared: &mut Shared, now: Instant) -> Verdict {
    let mut told = match bucket.decide(now) {
        Decision::Known(verdict) => return verdict,
        Decision::Told(_) => panic!("nobody else is asking"),
        Decision::ToldByNewLease(told) => told,
    };
    let plan = bucket.plan(now);
    assert!(!bucket.settle(Some(shared.take(plan, now)), now));
    told.try_recv().expect("it was told")
}

fn passes(bucket: &Bucket, shared: &mut Shared, requests: u32, now: Instant) -> u32 {
    let passed = (0..requests).filter(|_| matches!(ask(bucket, shared, now), Verdict::Pass(_)));
    u32::try_from(passed.count()).expect("there are few")
}

#[test]
fn a_small_quota_is_kept_exactly_and_told_exactly() {
    let (now, quota) = (Instant::now(), quota(10, 60));
    let (bucket, mut shared) = (Bucket::new(quota, now), Shared::new(quota, now));
    for left in (0..10).rev() {
        let standing = Standing { quota, remaining: left, more_in: Duration::from_secs(6) };
        assert_eq!(ask(&bucket, &mut shared, now), Verdict::Pass(standing));
    }
    let refusal = Standing { quota, remaining: 0, more_in: Duration::from_secs(6) };
    for _ in 0..1000 {
        assert_eq!(ask(&bucket, &mut shared, now), Verdict::Refuse(refusal));
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
    assert!(matches!(bucket.decide(later), Decision::ToldByNewLease(_)));
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
    let decisions: Vec<Decision> = (0..100).map(|_| bucket.decide(now)).collect();
    let plan = bucket.plan(now);
    assert_eq!(plan.wanted, 10);

    assert!(!bucket.settle(Some(shared.take(plan, now)), now));

    for (place, decision) in decisions.into_iter().enumerate() {
        let (Decision::Told(mut told) | Decision::ToldByNewLease(mut told)) = decision else {
            panic!("nothing was known")
        };
        let verdict = told.try_recv().expect("all are told");
        assert_eq!(matches!(verdict, Verdict::Pass(_)), place < 10, "first come, first served");
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
    assert!(matches!(bucket.decide(now), Decision::ToldByNewLease(_)));
    bucket.plan(now);
    bucket.settle(None, now);

    assert_eq!(ask(&bucket, &mut shared, now), Verdict::Unknown);
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
