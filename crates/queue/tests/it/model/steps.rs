//! What can happen to jobs, and which of it may happen next.

use proptest::prelude::*;
use proptest::sample::select;

use super::machine::{Ended, Model, QUEUES, WORKERS};

/// One thing that happens. Jobs and claims go by their numbers in the model.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(NewJob),
    Claim {
        worker: usize,
        limit: usize,
        lease: i64,
    },
    Heartbeat {
        claims: Vec<usize>,
        lease: i64,
    },
    Complete {
        claims: Vec<usize>,
        output: Option<i64>,
    },
    /// The job is discarded if its attempts are used up.
    Fail {
        claim: usize,
        delay: i64,
        outcome: Ended,
    },
    Discard {
        claim: usize,
        follow_up: bool,
    },
    CancelOwn {
        claim: usize,
    },
    HandBack {
        claim: usize,
        delay: i64,
        reason: Option<i64>,
    },
    Tell {
        claim: usize,
        progress: Option<i16>,
        checkpoint: Option<i64>,
    },
    LockLease {
        claim: usize,
    },
    /// The answer to a commit was lost.
    AskOutcome {
        claim: usize,
    },
    Rescue {
        limit: usize,
    },
    /// An operator wants it.
    Cancel {
        job: usize,
    },
    AskCancelRequests {
        worker: usize,
    },
    CancelLeftOver,
    /// A queue, or all.
    Pause {
        queue: Option<usize>,
    },
    Resume {
        queue: Option<usize>,
    },
    Redrive {
        job: usize,
    },
    Dismiss {
        job: usize,
    },
    /// The clock goes on.
    Pass {
        units: i64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct NewJob {
    pub(super) queue: usize,
    pub(super) kind: usize,
    pub(super) priority: i16,
    pub(super) max_attempts: i16,
    pub(super) delay: i64,
    pub(super) keeps_history: bool,
    pub(super) is_followed_up: bool,
    /// A value, and for how long.
    pub(super) unique: Option<(usize, Option<i64>)>,
}

impl Step {
    /// Whether all that the step names is there; when a sequence is made shorter, it may not be.
    pub(super) fn is_possible(&self, model: &Model) -> bool {
        let is_claim = |claim: &usize| *claim < model.claims.len();
        match self {
            Self::Heartbeat { claims, .. } | Self::Complete { claims, .. } => {
                claims.iter().all(is_claim)
            }
            Self::Fail { claim, .. }
            | Self::Discard { claim, .. }
            | Self::CancelOwn { claim }
            | Self::HandBack { claim, .. }
            | Self::Tell { claim, .. }
            | Self::LockLease { claim } => is_claim(claim),
            // A worker that has handed the job back has no commit whose answer could be lost.
            Self::AskOutcome { claim } => is_claim(claim) && !model.claims[*claim].is_handed_back,
            Self::Cancel { job } | Self::Redrive { job } | Self::Dismiss { job } => {
                *job < model.jobs.len()
            }
            Self::Enqueue(_)
            | Self::Claim { .. }
            | Self::Rescue { .. }
            | Self::AskCancelRequests { .. }
            | Self::CancelLeftOver
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Pass { .. } => true,
        }
    }

    /// The claims that a worker writes under.
    pub(super) fn written_under(&self) -> &[usize] {
        match self {
            Self::Heartbeat { claims, .. } | Self::Complete { claims, .. } => claims,
            Self::Fail { claim, .. }
            | Self::Discard { claim, .. }
            | Self::CancelOwn { claim }
            | Self::HandBack { claim, .. }
            | Self::Tell { claim, .. }
            | Self::LockLease { claim } => std::slice::from_ref(claim),
            Self::Enqueue(_)
            | Self::Claim { .. }
            | Self::AskOutcome { .. }
            | Self::Rescue { .. }
            | Self::Cancel { .. }
            | Self::AskCancelRequests { .. }
            | Self::CancelLeftOver
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Redrive { .. }
            | Self::Dismiss { .. }
            | Self::Pass { .. } => &[],
        }
    }
}

/// The steps that make sense now, and, less often, those that must change nothing.
pub(super) fn possible(model: &Model) -> BoxedStrategy<Step> {
    let mut steps = vec![
        (6, new_job().prop_map(Step::Enqueue).boxed()),
        (7, claim()),
        (1, (1..4_usize).prop_map(|limit| Step::Rescue { limit }).boxed()),
        (4, (1..4_i64).prop_map(|units| Step::Pass { units }).boxed()),
        (1, (0..WORKERS).prop_map(|worker| Step::AskCancelRequests { worker }).boxed()),
        (1, Just(Step::CancelLeftOver).boxed()),
        (1, queue_or_all().prop_map(|queue| Step::Pause { queue }).boxed()),
        (2, queue_or_all().prop_map(|queue| Step::Resume { queue }).boxed()),
    ];
    if !model.jobs.is_empty() {
        steps.push((2, (0..model.jobs.len()).prop_map(|job| Step::Cancel { job }).boxed()));
        steps.push((1, (0..model.jobs.len()).prop_map(|job| Step::Redrive { job }).boxed()));
    }
    let discarded = model.discarded();
    if !discarded.is_empty() {
        steps.push((2, select(discarded.clone()).prop_map(|job| Step::Redrive { job }).boxed()));
        steps.push((1, select(discarded).prop_map(|job| Step::Dismiss { job }).boxed()));
    }
    if !model.claims.is_empty() {
        steps.push((8, write((0..model.claims.len()).boxed())));
        let asked: Vec<usize> =
            (0..model.claims.len()).filter(|claim| !model.claims[*claim].is_handed_back).collect();
        if !asked.is_empty() {
            steps.push((1, select(asked).prop_map(|claim| Step::AskOutcome { claim }).boxed()));
        }
    }
    let current = model.current_claims();
    if !current.is_empty() {
        steps.push((14, write(select(current).boxed())));
    }
    proptest::strategy::Union::new_weighted(steps).boxed()
}

fn new_job() -> impl Strategy<Value = NewJob> {
    let delay = prop_oneof![3 => Just(0), 1 => 1..4_i64];
    let unique = prop::option::weighted(0.3, (0..3_usize, prop::option::of(1..5_i64)));
    let is_followed_up = prop::bool::weighted(0.3);
    let keeps_history = prop::bool::weighted(0.7);
    (0..QUEUES, 0..2_usize, 1..5_i16, 1..4_i16, delay, keeps_history, is_followed_up, unique)
        .prop_map(|it| NewJob {
            queue: it.0,
            kind: it.1,
            priority: it.2,
            max_attempts: it.3,
            delay: it.4,
            keeps_history: it.5,
            is_followed_up: it.6,
            unique: it.7,
        })
}

fn claim() -> BoxedStrategy<Step> {
    (0..WORKERS, 1..4_usize, 1..4_i64)
        .prop_map(|(worker, limit, lease)| Step::Claim { worker, limit, lease })
        .boxed()
}

fn queue_or_all() -> impl Strategy<Value = Option<usize>> {
    prop::option::weighted(0.8, 0..QUEUES)
}

/// What a worker writes under a claim, or under some.
fn write(claim: BoxedStrategy<usize>) -> BoxedStrategy<Step> {
    let delay = || prop_oneof![1 => Just(0), 1 => 1..4_i64];
    let outcome = prop_oneof![3 => Just(Ended::Failed), 1 => Just(Ended::TimedOut)];
    let small = || prop::option::of(0..100_i64);
    prop_oneof![
        4 => (some_of(claim.clone()), small())
            .prop_map(|(claims, output)| Step::Complete { claims, output }),
        2 => (some_of(claim.clone()), 1..4_i64)
            .prop_map(|(claims, lease)| Step::Heartbeat { claims, lease }),
        4 => (claim.clone(), delay(), outcome)
            .prop_map(|(claim, delay, outcome)| Step::Fail { claim, delay, outcome }),
        1 => (claim.clone(), any::<bool>())
            .prop_map(|(claim, follow_up)| Step::Discard { claim, follow_up }),
        1 => claim.clone().prop_map(|claim| Step::CancelOwn { claim }),
        2 => (claim.clone(), delay(), small())
            .prop_map(|(claim, delay, reason)| Step::HandBack { claim, delay, reason }),
        2 => (claim.clone(), prop::option::of(0..101_i16), small()).prop_map(
            |(claim, progress, checkpoint)| Step::Tell { claim, progress, checkpoint }
        ),
        1 => claim.prop_map(|claim| Step::LockLease { claim }),
    ]
    .boxed()
}

/// Each once: no worker writes twice under one claim in one statement.
fn some_of(claim: BoxedStrategy<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::btree_set(claim, 1..4).prop_map(|claims| claims.into_iter().collect())
}
