//! Claims whose answer never came. The database may have made them all the same, and then this
//! worker has jobs that it does not know of. Nobody would run them until their leases are over, and
//! then they would count as jobs that cost a worker, though none of them ever began.
//!
//! So for a while after such a claim the worker hands back what is its own by the fences that it
//! has heard of, and by the database's word is nobody else's: jobs of its own with later fences
//! than it had heard of before, and other ones than it has heard of since. A claim may still be
//! under way on the server when its worker has given it up, hence the while.

use std::time::{Duration, Instant};

use super::statements::ClaimedJob;

/// The time between two looks for jobs of a claim that was not answered.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The most claims that a worker remembers having heard of. Beyond that it looks no more: what it
/// has not handed back by then is left to the rescue.
const MAX_HEARD: usize = 20_000;

/// The claims that a worker has heard of, and whether there may be others.
#[derive(Debug)]
pub(super) struct Unheard {
    /// The time for which it looks.
    look_for: Duration,
    /// The highest fence that it has heard of.
    last_fence: i64,
    /// A claim was sent, and not answered yet.
    is_waiting: bool,
    lost: Option<Lost>,
}

/// A claim that was not answered.
#[derive(Debug)]
struct Lost {
    /// The highest fence that the worker had heard of before.
    since: i64,
    /// The fences that it has heard of since.
    heard: Vec<i64>,
    until: Instant,
    next_look: Instant,
}

/// The fences by which a worker's jobs that it has not heard of are found.
pub(super) struct Bounds {
    /// They have later fences than this.
    pub(super) since: i64,
    /// And none of these.
    pub(super) heard: Vec<i64>,
}

impl Unheard {
    /// A worker whose leases are as long as this: after that, the rescue has its jobs.
    pub(super) fn new(lease: Duration) -> Self {
        Self { look_for: lease, last_fence: 0, is_waiting: false, lost: None }
    }

    /// A claim is about to be sent.
    pub(super) fn send(&mut self) {
        self.is_waiting = true;
    }

    /// The claim was answered with these jobs.
    pub(super) fn hear(&mut self, jobs: &[ClaimedJob]) {
        self.is_waiting = false;
        let fences = jobs.iter().map(|job| job.fence.0);
        self.last_fence = fences.clone().fold(self.last_fence, i64::max);
        if let Some(lost) = &mut self.lost {
            lost.heard.extend(fences);
        }
    }

    /// Bounds of the jobs to look for now, if there may be some: called when no claim is under way.
    /// One that was sent and not heard of is lost.
    pub(super) fn bounds(&mut self) -> Option<Bounds> {
        let now = Instant::now();
        if std::mem::take(&mut self.is_waiting) {
            let (since, until) = (self.last_fence, now + self.look_for);
            let lost = Lost { since, heard: Vec::new(), until, next_look: now };
            self.lost.get_or_insert(lost).until = until;
        }
        self.lost.take_if(|lost| lost.until <= now || lost.heard.len() > MAX_HEARD);
        let lost = self.lost.as_mut().filter(|lost| lost.next_look <= now)?;
        lost.next_look = now + LOOK_INTERVAL;
        Some(Bounds { since: lost.since, heard: lost.heard.clone() })
    }
}
