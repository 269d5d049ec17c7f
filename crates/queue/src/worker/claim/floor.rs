//! Claim floors: the moments at which claims begin to read, so that they stay cheap while dead rows
//! cannot be vacuumed (G10).
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
//! What this cannot know is found by a *sweep* from the very start every few seconds: jobs whose
//! claim was rolled back or had no slot for them, jobs of a transaction that stayed open for longer
//! than [`WRITER_PATIENCE`], and a clock that was set back. A claim that fills its limit below the
//! floor leaves the sweep to the next one, which goes on where it stopped: not even a sweep reads
//! the dead rows of one moment twice. Each lane is swept by itself: those of a queue that has no
//! slots left, and is not read at all, hold up no other.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::statements::{Claim, ClaimedJob, Lane};
use crate::worker::slots::{Rooms, may_take_own_slots};

/// From the end of one sweep to the begin of the next.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The longest that an open writing transaction may hold the floors down; jobs that it commits
/// later wait for a sweep.
const WRITER_PATIENCE: time::Duration = time::Duration::seconds(10);

/// Statements other than our own enqueue may read the clock for `run_at` a moment before their
/// transaction gets its id; this is a hundred times as much.
const CLOCK_MARGIN: time::Duration = time::Duration::milliseconds(5);

/// The time between two claims that take a transaction id only for the sake of the floors.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// The priorities that a job can have.
const PRIORITIES: RangeInclusive<i16> = 1..=4;

/// The floors of one worker.
#[derive(Debug)]
pub(crate) struct ClaimFloors {
    lanes: Vec<LaneFloor>,
    /// The time and the transaction id of an earlier claim: the floors rise to it once all lower
    /// ids have ended.
    candidate: Option<(OffsetDateTime, i64)>,
    candidate_since: Instant,
    /// Transactions with this id or a lower one that still run have run for longer than
    /// [`WRITER_PATIENCE`].
    ignored_xid: i64,
    last_claim_at: OffsetDateTime,
}

/// A lane and what is known of it.
#[derive(Debug)]
struct LaneFloor {
    queue: String,
    priority: i16,
    floor: OffsetDateTime,
    /// The moment that a sweep has reached, while it is below the floor.
    swept_to: Option<OffsetDateTime>,
    /// The moment at which the next one begins.
    next_sweep: Instant,
}

impl LaneFloor {
    fn lane(&self) -> Lane {
        let floor = self.swept_to.map_or(self.floor, |swept| swept.min(self.floor));
        Lane { queue: self.queue.clone(), priority: self.priority, floor }
    }

    fn end_sweep(&mut self, next_sweep: Instant) {
        if self.swept_to.take().is_some() {
            self.next_sweep = next_sweep;
        }
    }
}

impl ClaimFloors {
    /// All priorities of these queues, from the very start.
    pub(crate) fn new(queues: &[String]) -> Self {
        // From the very start is where the floors are.
        let next_sweep = Instant::now() + SWEEP_INTERVAL;
        let lanes = PRIORITIES
            .flat_map(|priority| {
                queues.iter().map(move |queue| LaneFloor {
                    queue: queue.clone(),
                    priority,
                    floor: OffsetDateTime::UNIX_EPOCH,
                    swept_to: None,
                    next_sweep,
                })
            })
            .collect();
        Self {
            lanes,
            candidate: None,
            candidate_since: Instant::now(),
            ignored_xid: 0,
            last_claim_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// The lanes for the next claim, in the order of their priority; within a priority each queue
    /// is first in turn.
    pub(crate) fn lanes_to_claim(&mut self) -> Vec<Lane> {
        let queues = self.lanes.len() / PRIORITIES.count();
        for of_priority in self.lanes.chunks_mut(queues) {
            of_priority.rotate_left(1);
        }
        let now = Instant::now();
        for lane in &mut self.lanes {
            if lane.swept_to.is_none() && now >= lane.next_sweep {
                lane.swept_to = Some(OffsetDateTime::UNIX_EPOCH);
            }
        }
        self.lanes.iter().map(LaneFloor::lane).collect()
    }

    /// Tells whether the next claim should take a transaction id even when nothing is due: an idle
    /// worker's floors must rise, too, over what busy ones leave behind.
    pub(crate) fn wants_xid(&self) -> bool {
        self.candidate.is_none() && self.candidate_since.elapsed() >= MARK_INTERVAL
    }

    /// Transactions that are not waited for any more: without that, one that writes and then idles
    /// for an hour would hold the floors down for as long.
    pub(crate) fn ignored_xid(&self) -> i64 {
        self.ignored_xid
    }

    /// Learns from a claim in [`Self::lanes_to_claim`] that left these slots free.
    pub(crate) fn observe(&mut self, claim: &Claim, left: &Rooms) {
        if claim.at < self.last_claim_at {
            // The database's clock was set back: nothing that is remembered holds.
            self.forget();
        }
        self.last_claim_at = claim.at;

        let settled = self.settled_moment(claim);
        let next_sweep = Instant::now() + SWEEP_INTERVAL;
        // A full claim did not read beyond its last job, lanes without slots not beyond the last
        // one of their queue.
        let last = claim.jobs.last().filter(|_| claim.is_cut || left.jobs == 0);
        let last_of_queues = last_of_queues(claim, left);
        for (position, lane) in self.lanes.iter_mut().enumerate() {
            // Nothing was looked for there.
            if claim.closed_lanes.contains(&position) {
                lane.end_sweep(next_sweep);
                continue;
            }
            let may_take_own = may_take_own_slots(lane.priority);
            let has_slots = left.common > 0 || (may_take_own && left.own_of(&lane.queue) > 0);
            let last = match has_slots {
                true => last,
                false => match last_of_queues.get(&(&*lane.queue, may_take_own)) {
                    Some(of_queue) => Some(*of_queue),
                    None => continue,
                },
            };
            let read_to = match last {
                Some(job) if position > job.lane => continue,
                Some(job) if position == job.lane => Some(job.run_at),
                _ => None,
            };
            match read_to.filter(|read_to| *read_to < lane.floor) {
                Some(read_to) => lane.swept_to = lane.swept_to.and(Some(read_to)),
                None => lane.end_sweep(next_sweep),
            }
            if let Some(settled) = settled {
                let passed = read_to.map_or(settled, |read_to| settled.min(read_to));
                lane.floor = lane.floor.max(passed);
            }
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
            lane.swept_to = None;
        }
    }
}

/// The last job of each queue, and the last of those that take common slots only: by whether a lane
/// may take others. Empty while there are common slots, and so nobody has to know.
fn last_of_queues<'a>(claim: &'a Claim, left: &Rooms) -> HashMap<(&'a str, bool), &'a ClaimedJob> {
    let mut last = HashMap::new();
    for job in claim.jobs.iter().filter(|_| left.common == 0) {
        last.insert((&*job.queue, true), job);
        if !job.may_take_own_slot {
            last.insert((&*job.queue, false), job);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::ids::{Fence, JobId};

    /// Far enough below the moments of all claims to be settled.
    const LONG_AGO: i64 = 1_000;

    fn at(secs: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(secs)
    }

    fn job(lane: usize, run_at: OffsetDateTime) -> ClaimedJob {
        job_of("a", lane, run_at)
    }

    fn job_of(queue: &str, lane: usize, run_at: OffsetDateTime) -> ClaimedJob {
        ClaimedJob {
            id: JobId(1),
            queue: queue.to_owned(),
            kind: "k".to_owned(),
            attempt: 1,
            max_attempts: 1,
            crash_count: 0,
            prior_attempts: 0,
            fence: Fence(1),
            run_at,
            claimed_at: run_at,
            held_for: Duration::ZERO,
            args: RawValue::NULL.to_owned(),
            trace_context: None,
            last_traceparent: None,
            key: None,
            args_key: None,
            checkpoint: None,
            lane,
            by_key: false,
            // In the order of the lanes of one queue.
            may_take_own_slot: lane < 2,
        }
    }

    /// A claim in the second `secs` of a database where nobody else writes.
    fn claim(secs: i64, jobs: Vec<ClaimedJob>) -> Claim {
        Claim {
            jobs,
            at: at(secs),
            oldest_running_xid: secs,
            own_xid: Some(secs),
            closed_lanes: Vec::new(),
            by_key: Vec::new(),
            is_cut: false,
        }
    }

    fn floors_of(floors: &mut ClaimFloors) -> Vec<OffsetDateTime> {
        floors.lanes_to_claim().into_iter().map(|lane| lane.floor).collect()
    }

    /// The floors of queue `a` learn from a claim of so many jobs at most.
    fn observe(floors: &mut ClaimFloors, limit: usize, claim: &Claim) {
        let left = limit - claim.jobs.len();
        floors.observe(claim, &Rooms::new(left, left, &[("a", 0)]));
    }

    /// One queue's floors after two claims that found nothing.
    fn risen() -> (ClaimFloors, OffsetDateTime) {
        let mut floors = ClaimFloors::new(&["a".to_owned()]);
        for secs in [5_000, 5_001] {
            assert_eq!(floors_of(&mut floors), [OffsetDateTime::UNIX_EPOCH; 4]);
            observe(&mut floors, 1, &claim(secs, Vec::new()));
        }
        (floors, at(5_000) - CLOCK_MARGIN)
    }

    fn sweep_now(floors: &mut ClaimFloors) {
        floors.lanes.iter_mut().for_each(|lane| lane.next_sweep = Instant::now());
    }

    /// By queue and priority.
    fn lanes_of(floors: &mut ClaimFloors) -> Vec<(String, i16, OffsetDateTime)> {
        let lanes = floors.lanes_to_claim().into_iter();
        let mut lanes: Vec<_> = lanes.map(|lane| (lane.queue, lane.priority, lane.floor)).collect();
        lanes.sort_unstable();
        lanes
    }

    #[test]
    fn a_backlog_is_read_once() {
        let mut floors = ClaimFloors::new(&["a".to_owned()]);
        for secs in 0..100 {
            floors.lanes_to_claim();
            observe(&mut floors, 1, &claim(5_000 + secs, vec![job(1, at(LONG_AGO + secs))]));
        }
        let last = floors_of(&mut floors);
        assert_eq!(last[1], at(LONG_AGO + 99), "the next claim begins where the last one ended");
        assert_eq!(last[2..], [OffsetDateTime::UNIX_EPOCH; 2], "nobody has looked there yet");
    }

    #[test]
    fn a_claim_that_is_cut_is_full_whatever_it_brought() {
        let mut floors = ClaimFloors::new(&["a".to_owned()]);
        for secs in 0..3 {
            floors.lanes_to_claim();
            let cut = Claim { is_cut: true, ..claim(5_000 + secs, vec![job(1, at(LONG_AGO))]) };
            observe(&mut floors, 500, &cut);
        }
        let last = floors_of(&mut floors);
        assert_eq!(last[1], at(LONG_AGO), "the next claim begins at what found no room");
        assert_eq!(last[2..], [OffsetDateTime::UNIX_EPOCH; 2], "nobody has looked there yet");
    }

    #[test]
    fn a_sweep_goes_on_where_a_full_claim_left_it() {
        let (mut floors, floor) = risen();
        assert_eq!(floors_of(&mut floors), [floor; 4]);
        sweep_now(&mut floors);
        assert_eq!(floors_of(&mut floors), [OffsetDateTime::UNIX_EPOCH; 4]);

        // Below the floor: what a worker rolled back, say.
        observe(&mut floors, 1, &claim(5_001, vec![job(1, at(LONG_AGO))]));
        let unread = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(floors_of(&mut floors), [floor, at(LONG_AGO), unread, unread]);

        observe(&mut floors, 1, &claim(5_001, Vec::new()));
        assert!(floors_of(&mut floors).iter().all(|lane| *lane >= floor), "all has been read");
        assert!(floors.lanes.iter().all(|lane| lane.next_sweep > Instant::now()));
    }

    #[test]
    fn a_sweep_ends_at_the_floor() {
        let (mut floors, floor) = risen();
        sweep_now(&mut floors);
        floors.lanes_to_claim();
        observe(&mut floors, 1, &claim(5_001, vec![job(3, at(6_000))]));
        assert!(floors_of(&mut floors).iter().all(|lane| *lane >= floor));
        assert!(floors.lanes.iter().all(|lane| lane.swept_to.is_none()));
    }

    #[test]
    fn a_queue_without_slots_is_read_to_its_last_job_and_holds_up_no_sweep_of_another() {
        let mut floors = ClaimFloors::new(&["a".to_owned(), "b".to_owned()]);
        let none_for_a = Rooms::new(1, 0, &[("a", 0), ("b", 1)]);
        let unread = OffsetDateTime::UNIX_EPOCH;
        for secs in [5_000, 5_001] {
            let lanes = floors.lanes_to_claim();
            let first = lanes.iter().position(|lane| lane.queue == "a").unwrap();
            let jobs = (0..3).map(|n| job_of("a", first, at(LONG_AGO + n))).collect();
            floors.observe(&claim(secs, jobs), &none_for_a);
        }
        let settled = at(5_000) - CLOCK_MARGIN;
        let of = |queue: &str, floors: [OffsetDateTime; 4]| {
            (1..).zip(floors).map(|(priority, floor)| (queue.to_owned(), priority, floor)).collect()
        };
        let mut expected: Vec<_> = of("a", [at(LONG_AGO + 2), unread, unread, unread]);
        // No common slot is left to its low priorities.
        expected.append(&mut of("b", [settled, settled, unread, unread]));
        assert_eq!(lanes_of(&mut floors), expected);

        sweep_now(&mut floors);
        assert!(floors.lanes_to_claim().iter().all(|lane| lane.floor == unread));
        floors.observe(&claim(5_001, Vec::new()), &none_for_a);
        let lanes = floors.lanes.iter();
        let (read, others): (Vec<_>, Vec<_>) =
            lanes.partition(|lane| lane.queue == "b" && lane.priority <= 2);
        assert!(others.iter().all(|lane| lane.swept_to == Some(unread)), "it is still to come");
        assert!(read.iter().all(|lane| lane.swept_to.is_none()));
        assert!(read.iter().all(|lane| lane.next_sweep > Instant::now()));
    }
}
