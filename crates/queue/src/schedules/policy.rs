//! Policies for ticks that nobody ran in time. Pure: no database, and no clock.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::cadence::Cadence;

/// A tick that is late by no more than this was not missed, it is on time: workers look every
/// second, and a moment of trouble is no outage.
pub const ON_TIME: Duration = Duration::from_secs(10);

/// The most jobs that one catching up makes.
pub const MAX_CATCH_UP: u16 = 1000;

/// The lateness that is tolerated of the latest tick where a policy sets none.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5 * 60);

/// The longest grace, and the greatest age of ticks to catch up with.
pub const MAX_AGE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Of the ticks that make no job, and of those that share one, so many are recorded: the latest.
pub(super) const MAX_RECORDED: usize = 100;

/// The treatment of ticks that nobody ran in time, because no worker was up or the database was
/// away.
///
/// While no tick is late by more than [`ON_TIME`], each gets a job of its own, whatever the policy.
/// As soon as one is, the policy decides over all that are due at that moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum MissedPolicy {
    /// Only the latest gets a job, and only if it is late by no more than `grace`. The others are
    /// recorded as missed.
    Skip {
        /// Up to [`MAX_AGE`].
        #[serde(rename = "grace_secs", serialize_with = "as_secs")]
        grace: Duration,
    },
    /// One job for all of them, however late.
    Coalesce,
    /// Each gets its own, from the oldest on, but at most the latest `max` of those that are late
    /// by no more than `max_age`. The others are recorded as missed.
    CatchUp {
        /// 1 to [`MAX_CATCH_UP`].
        max: u16,
        /// Up to [`MAX_AGE`].
        #[serde(rename = "max_age_secs", serialize_with = "as_secs")]
        max_age: Duration,
    },
}

fn as_secs<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(duration.as_secs())
}

impl Default for MissedPolicy {
    fn default() -> Self {
        Self::Skip { grace: DEFAULT_GRACE }
    }
}

impl MissedPolicy {
    /// Its name, as in the database and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Skip { .. } => "skip",
            Self::Coalesce => "coalesce",
            Self::CatchUp { .. } => "catch_up",
        }
    }

    /// Tells whether its bounds can be kept.
    pub(super) fn is_possible(&self) -> bool {
        match self {
            Self::Skip { grace } => *grace <= MAX_AGE,
            Self::Coalesce => true,
            Self::CatchUp { max, max_age } => {
                (1..=MAX_CATCH_UP).contains(max) && *max_age <= MAX_AGE
            }
        }
    }
}

/// The treatment of all ticks of a stretch of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Settlement {
    /// A job for each group of ticks, in order. The last tick of a group is the one that the job is
    /// for, and those before it are done with by it.
    pub(super) jobs: Vec<Vec<OffsetDateTime>>,
    /// The latest of those that get no job, in order.
    pub(super) missed: Vec<OffsetDateTime>,
}

/// Decides over the ticks after `since` and up to `now`.
pub(super) fn settle(
    cadence: &Cadence,
    policy: MissedPolicy,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Settlement {
    let Some(first) = cadence.next_after(since).filter(|first| *first <= now) else {
        return Settlement::default();
    };
    if now - first <= ON_TIME {
        let each = cadence.ticks_between(since, now).map(|tick| vec![tick]).collect();
        return Settlement { jobs: each, missed: Vec::new() };
    }
    let latest = |limit| cadence.latest_between(since, now, limit);
    match policy {
        MissedPolicy::Skip { grace } => {
            let mut missed = latest(MAX_RECORDED + 1);
            let last = missed.pop_if(|last| now - *last <= grace);
            Settlement { jobs: last.map(|tick| vec![tick]).into_iter().collect(), missed }
        }
        MissedPolicy::Coalesce => {
            Settlement { jobs: vec![latest(MAX_RECORDED)], missed: Vec::new() }
        }
        MissedPolicy::CatchUp { max, max_age } => {
            let max = usize::from(max);
            let mut missed = latest(max + MAX_RECORDED);
            let too_old = missed.partition_point(|tick| now - *tick > max_age);
            let caught_up = missed.split_off(too_old.max(missed.len().saturating_sub(max)));
            Settlement { jobs: caught_up.into_iter().map(|tick| vec![tick]).collect(), missed }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn moment(secs: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000 + secs).unwrap()
    }

    /// The seconds since the start: those of jobs, and those missed.
    fn settled(policy: MissedPolicy, every: u64, now: i64) -> (Vec<Vec<i64>>, Vec<i64>) {
        let cadence = Cadence::every(Duration::from_secs(every)).unwrap();
        let settlement = settle(&cadence, policy, moment(0), moment(now));
        let secs = |ticks: Vec<OffsetDateTime>| -> Vec<i64> {
            ticks.into_iter().map(|tick| (tick - moment(0)).whole_seconds()).collect()
        };
        (settlement.jobs.into_iter().map(secs).collect(), secs(settlement.missed))
    }

    const SKIP: MissedPolicy = MissedPolicy::Skip { grace: MINUTE };
    const CATCH_UP: MissedPolicy =
        MissedPolicy::CatchUp { max: 3, max_age: Duration::from_secs(600) };

    #[test]
    fn ticks_on_time_get_a_job_each_whatever_the_policy() {
        for policy in [SKIP, MissedPolicy::Coalesce, CATCH_UP] {
            assert_eq!(settled(policy, 60, 59), (vec![], vec![]));
            assert_eq!(settled(policy, 60, 60), (vec![vec![60]], vec![]));
            assert_eq!(settled(policy, 60, 70), (vec![vec![60]], vec![]));
            let seconds = (1..=5).map(|second| vec![second]).collect();
            assert_eq!(settled(policy, 1, 5), (seconds, vec![]));
        }
    }

    #[test]
    fn skip_runs_the_latest_unless_it_is_too_late() {
        assert_eq!(settled(SKIP, 300, 1000), (vec![], vec![300, 600, 900]));
        assert_eq!(settled(SKIP, 300, 960), (vec![vec![900]], vec![300, 600]));
        assert_eq!(settled(SKIP, 300, 305), (vec![vec![300]], vec![]));
        let (jobs, missed) = settled(SKIP, 1, 100_000);
        assert_eq!(jobs, [[100_000]]);
        assert_eq!(missed, (99_900..100_000).collect::<Vec<_>>());
    }

    #[test]
    fn coalesce_runs_one_job_for_all_however_late() {
        assert_eq!(settled(MissedPolicy::Coalesce, 300, 1000), (vec![vec![300, 600, 900]], vec![]));
        let (jobs, missed) = settled(MissedPolicy::Coalesce, 1, 100_000);
        assert_eq!((jobs.len(), jobs[0].len(), missed.len()), (1, MAX_RECORDED, 0));
        assert_eq!(jobs[0].last(), Some(&100_000));
    }

    #[test]
    fn catch_up_runs_the_latest_that_are_not_too_old_from_the_oldest_on() {
        assert_eq!(
            settled(CATCH_UP, 60, 305),
            (vec![vec![180], vec![240], vec![300]], vec![60, 120])
        );
        assert_eq!(settled(CATCH_UP, 400, 1250), (vec![vec![800], vec![1200]], vec![400]));
        assert_eq!(settled(CATCH_UP, 3000, 8000), (vec![], vec![3000, 6000]));
    }

    fn policy() -> impl Strategy<Value = MissedPolicy> {
        let secs = (0u64..4000).prop_map(Duration::from_secs);
        prop_oneof![
            secs.clone().prop_map(|grace| MissedPolicy::Skip { grace }),
            Just(MissedPolicy::Coalesce),
            (1..20u16, secs).prop_map(|(max, max_age)| MissedPolicy::CatchUp { max, max_age }),
        ]
    }

    proptest! {
        #[test]
        fn each_tick_is_settled_once_whenever_somebody_looks(
            policy in policy(),
            every in 1u64..900,
            pauses in proptest::collection::vec(prop_oneof![1i64..3, 1i64..80], 1..60),
        ) {
            let cadence = Cadence::every(Duration::from_secs(every)).unwrap();
            let mut now = moment(0);
            let mut seen = Vec::new();
            for pause in pauses {
                let since = now;
                now += Duration::from_secs(pause.unsigned_abs());
                let settlement = settle(&cadence, policy, since, now);
                let mut these = settlement.missed;
                these.extend(settlement.jobs.into_iter().flatten());
                these.sort_unstable();
                seen.extend(these);
            }
            let all: Vec<_> = cadence.ticks_between(moment(0), now).collect();
            prop_assert_eq!(seen, all);
        }

        #[test]
        fn nothing_is_missed_while_somebody_looks_often_enough(
            policy in policy(),
            every in 1u64..100,
            pauses in proptest::collection::vec(1i64..=10, 1..60),
        ) {
            let cadence = Cadence::every(Duration::from_secs(every)).unwrap();
            let mut now = moment(0);
            for pause in pauses {
                let since = now;
                now += Duration::from_secs(pause.unsigned_abs());
                let settlement = settle(&cadence, policy, since, now);
                let each: Vec<_> = cadence.ticks_between(since, now).map(|t| vec![t]).collect();
                prop_assert_eq!(settlement.jobs, each);
                prop_assert!(settlement.missed.is_empty());
            }
        }
    }
}
