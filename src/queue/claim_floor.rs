//! Where a claim begins to read, so that it stays cheap while dead rows cannot be vacuumed (G10).
//!
//! A claim reads the waiting jobs of a lane in the order of `run_at`. Jobs that were claimed before
//! leave dead index entries behind, and while some transaction anywhere holds the xmin horizon,
//! vacuum may not remove them: a claim from the start would read all jobs done since, and cost more
//! with every job. So a worker remembers for each lane a *floor*, below which there is nothing for
//! it, and claims from there.
//!
//! The floor must not pass a job that is not visible yet. Such a job can only come from a
//! transaction that was open when the floor was found, and `run_at` is never earlier than the
//! moment of its writing. Transaction ids are given out in order, so a claim's own id X, taken at
//! moment M, divides them: whoever has a higher id writes after M, and whoever has a lower one has
//! ended once the oldest running id is beyond X. From then on all that is still to come carries a
//! `run_at` later than M, and the floor may rise to M. PostgreSQL tells both numbers with each
//! snapshot; it does not matter who runs what, or with which privileges. A transaction that only
//! reads has no id: it may hold the xmin horizon as long as it likes, and the floor rises all the
//! same.
//!
//! What this cannot know is found by a *sweep*, a claim from the very start every few seconds: jobs
//! whose claim was rolled back, jobs of a transaction that stayed open for longer than
//! [`WRITER_PATIENCE`], and a clock that was set back.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::store::Claim;

/// How often a claim reads from the very start.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How long an open writing transaction may hold the floors down; jobs that it commits later wait
/// for a sweep.
const WRITER_PATIENCE: time::Duration = time::Duration::seconds(10);

/// Statements other than our own enqueue may read the clock for `run_at` a moment before their
/// transaction gets its id; this is a hundred times as much.
const CLOCK_MARGIN: time::Duration = time::Duration::milliseconds(5);

/// How often a claim takes a transaction id only for the sake of the floors.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// The priorities that a job can have.
const PRIORITIES: RangeInclusive<i16> = 1..=4;

/// The waiting jobs of one priority of one queue, from a moment on.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Lane {
    pub(super) queue: String,
    pub(super) priority: i16,
    pub(super) floor: OffsetDateTime,
}

/// The floors of one worker.
#[derive(Debug)]
pub(super) struct ClaimFloors {
    lanes: Vec<Lane>,
    /// The time and the transaction id of an earlier claim: the floors rise to it once all lower
    /// ids have ended.
    candidate: Option<(OffsetDateTime, i64)>,
    candidate_since: Instant,
    /// What still runs of the ids up to this one has run for longer than [`WRITER_PATIENCE`].
    ignored_xid: i64,
    last_claim_at: OffsetDateTime,
    next_sweep: Instant,
    sweeping: bool,
}

impl ClaimFloors {
    /// All priorities of these queues, from the very start.
    pub(super) fn new(queues: &[String]) -> Self {
        let lanes = PRIORITIES
            .flat_map(|priority| {
                queues.iter().map(move |queue| Lane {
                    queue: queue.clone(),
                    priority,
                    floor: OffsetDateTime::UNIX_EPOCH,
                })
            })
            .collect();
        Self {
            lanes,
            candidate: None,
            candidate_since: Instant::now(),
            ignored_xid: 0,
            last_claim_at: OffsetDateTime::UNIX_EPOCH,
            next_sweep: Instant::now(),
            sweeping: false,
        }
    }

    /// The lanes for the next claim, in the order of their priority; within a priority each queue
    /// is first in turn.
    pub(super) fn lanes_to_claim(&mut self) -> Vec<Lane> {
        let queues = self.lanes.len() / PRIORITIES.count();
        for of_priority in self.lanes.chunks_mut(queues) {
            of_priority.rotate_left(1);
        }
        self.sweeping = Instant::now() >= self.next_sweep;
        let mut lanes = self.lanes.clone();
        if self.sweeping {
            for lane in &mut lanes {
                lane.floor = OffsetDateTime::UNIX_EPOCH;
            }
        }
        lanes
    }

    /// Whether the next claim should take a transaction id even when nothing is due: an idle
    /// worker's floors must rise, too, over what busy ones leave behind.
    pub(super) fn wants_xid(&self) -> bool {
        self.candidate.is_none() && self.candidate_since.elapsed() >= MARK_INTERVAL
    }

    /// Transactions that are not waited for any more: without that, one that writes and then idles
    /// for an hour would hold the floors down for as long.
    pub(super) fn ignored_xid(&self) -> i64 {
        self.ignored_xid
    }

    /// Learns from a claim that asked for `limit` jobs of [`Self::lanes_to_claim`].
    pub(super) fn observe(&mut self, claim: &Claim, limit: usize) {
        let full = claim.jobs.len() >= limit;
        // A sweep that came back full has not seen everything yet: the next claim goes on with it.
        if self.sweeping && !full {
            self.next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        if claim.at < self.last_claim_at {
            // The database's clock was set back: nothing that is remembered holds.
            self.forget();
        }
        self.last_claim_at = claim.at;

        let Some(settled) = self.settled_moment(claim) else { return };
        let last_visited = match claim.jobs.last() {
            Some(job) if full => job.lane,
            _ => self.lanes.len(),
        };
        for (position, lane) in self.lanes.iter_mut().enumerate() {
            // Nothing was looked for there.
            if claim.closed_lanes.contains(&position) {
                continue;
            }
            let passed = match position.cmp(&last_visited) {
                std::cmp::Ordering::Less => settled,
                std::cmp::Ordering::Equal => {
                    claim.jobs.last().map_or(settled, |job| settled.min(job.run_at))
                }
                std::cmp::Ordering::Greater => continue,
            };
            lane.floor = lane.floor.max(passed);
        }
    }

    /// A moment before which every job is visible to this claim, if one is known.
    fn settled_moment(&mut self, claim: &Claim) -> Option<OffsetDateTime> {
        let Some((at, xid)) = self.candidate else {
            self.remember(claim);
            return None;
        };
        if claim.oldest_running_xid <= xid {
            if claim.at - at < WRITER_PATIENCE {
                return None;
            }
            self.ignored_xid = xid;
        }
        self.candidate = None;
        self.remember(claim);
        Some(at - CLOCK_MARGIN)
    }

    fn remember(&mut self, claim: &Claim) {
        if let Some(own_xid) = claim.own_xid {
            self.candidate = Some((claim.at, own_xid));
            self.candidate_since = Instant::now();
        }
    }

    fn forget(&mut self) {
        self.candidate = None;
        for lane in &mut self.lanes {
            lane.floor = OffsetDateTime::UNIX_EPOCH;
        }
    }
}
