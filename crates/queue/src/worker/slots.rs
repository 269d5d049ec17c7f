//! Slots: the bound on a worker's jobs in progress, and the share of it that each queue has.
//!
//! A queue whose runs hang keeps every slot that it gets, and has more jobs for the next. Did it
//! get them all, no other queue of the worker would go on (G9). So a quarter of the slots are
//! shared out among the queues as their own, one at least for each, and the others are common: a
//! job takes one that is its queue's own if there is one, and a common one otherwise. However many
//! queues hang, the next one has its own; and a queue that is busy alone has all slots but those of
//! the others. Jobs without a key of the priorities 3 and 4 take common ones only: they wait for
//! what is more urgent in any queue.
//!
//! A claim is told how many slots of both sorts are free. A queue that found none left is looked at
//! again as soon as it has one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

/// A busy worker waits so long for more free slots before it claims for few.
const GATHER_SLOTS: Duration = Duration::from_millis(2);

/// One of so many slots is some queue's own.
const ONE_OWN_OF: usize = 4;

/// The lowest priority of which jobs without a key may take the slots that are their queue's own:
/// that of most kinds.
const LOWEST_WITH_OWN_SLOTS: i16 = 2;

/// The places for jobs in progress.
pub(crate) struct Slots(Arc<Places>);

struct Places {
    total: usize,
    /// The slots of each queue that are its own.
    own: usize,
    /// The positions of the queues in `in_use`.
    queues: HashMap<String, usize>,
    /// The jobs in progress of each queue. Only [`Slots::take`] adds to them, so what was free
    /// stays free for whoever is about to take it.
    in_use: Vec<AtomicUsize>,
    free: Semaphore,
    /// Told when a queue that had no room may have some.
    freed: Notify,
}

/// The place of one job, which is freed when dropped.
pub(crate) struct Slot {
    places: Arc<Places>,
    queue: usize,
}

/// The jobs that may be added to those in progress.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    /// Of all queues together.
    pub(crate) jobs: usize,
    /// The slots that any queue may take.
    pub(crate) common: usize,
    own: HashMap<String, usize>,
}

impl Slots {
    /// Slots for the jobs of these queues.
    pub(crate) fn new(total: usize, queues: &[String]) -> Self {
        let mut positions = HashMap::new();
        for queue in queues {
            let next = positions.len();
            positions.entry(queue.clone()).or_insert(next);
        }
        let in_use = positions.values().map(|_| AtomicUsize::new(0)).collect();
        Self(Arc::new(Places {
            total,
            own: own_slots(total, positions.len()),
            queues: positions,
            in_use,
            free: Semaphore::new(total),
            freed: Notify::new(),
        }))
    }

    /// Waits until a slot is free, and when only few common ones are, a moment longer for more: a
    /// claim costs nearly the same for one job as for many.
    pub(crate) async fn wait_for_some(&self) {
        let Places { total, own, free, in_use, .. } = &*self.0;
        let in_use = in_use.iter().map(|in_use| in_use.load(Ordering::SeqCst));
        let own_free: usize = in_use.map(|in_use| own.saturating_sub(in_use)).sum();
        let enough = (self.0.few() + own_free).min(*total);
        if free.available_permits() < enough {
            drop(free.acquire().await);
            let gathered = free.acquire_many(enough as u32);
            let _enough_or_late = tokio::time::timeout(GATHER_SLOTS, gathered).await;
        }
    }

    /// Waits until one of these queues has room; for ever, if there are no such queues.
    pub(crate) async fn wait_for_room(&self, queues: &[String]) {
        if queues.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let rooms = self.rooms();
            if queues.iter().any(|queue| rooms.of(queue) > 0) {
                return;
            }
            self.0.freed.notified().await;
        }
    }

    /// The slots that are free now. There may be more when they are taken, and never fewer.
    pub(crate) fn rooms(&self) -> Rooms {
        let Places { own, queues, in_use, free, .. } = &*self.0;
        // Read first: what is freed meanwhile is for the next claim.
        let free = free.available_permits();
        let mut common = self.0.common();
        let mut own_rooms = HashMap::with_capacity(queues.len());
        for (queue, position) in queues {
            let in_use = in_use[*position].load(Ordering::SeqCst);
            common = common.saturating_sub(in_use.saturating_sub(*own));
            own_rooms.insert(queue.clone(), own.saturating_sub(in_use));
        }
        // While there are plenty, a claim takes no more than may all be common ones: then it need
        // not count what each queue takes.
        let jobs = if common >= self.0.few() { free.min(common) } else { free };
        Rooms { jobs, common, own: own_rooms }
    }

    /// The slot of a job that [`Self::rooms`] had room for. Only the claim loop takes slots. None
    /// for a queue that has none here.
    pub(crate) fn take(&self, queue: &str) -> Option<Slot> {
        let queue = *self.0.queues.get(queue)?;
        self.0.free.try_acquire().ok()?.forget();
        self.0.in_use[queue].fetch_add(1, Ordering::SeqCst);
        Some(Slot { places: Arc::clone(&self.0), queue })
    }
}

impl Places {
    /// The slots that any queue may take, when none is taken.
    fn common(&self) -> usize {
        self.total - self.own * self.in_use.len()
    }

    /// With fewer free ones than this, a claim waits a moment for more.
    fn few(&self) -> usize {
        (self.common() / 4).max(1)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Places { own, in_use, free, freed, .. } = &*self.places;
        let before = in_use[self.queue].fetch_sub(1, Ordering::SeqCst);
        free.add_permits(1);
        // With fewer, its queue has had room all the while, and others get none by this.
        if before >= *own {
            freed.notify_one();
        }
    }
}

impl Rooms {
    /// The jobs of this queue that may be added, if none of another is.
    pub(crate) fn of(&self, queue: &str) -> usize {
        self.jobs.min(self.common + self.own_of(queue))
    }

    /// Those of them that take nothing from another queue.
    pub(crate) fn own_of(&self, queue: &str) -> usize {
        self.own.get(queue).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn new(jobs: usize, common: usize, own: &[(&str, usize)]) -> Self {
        let own = own.iter().map(|(queue, own)| ((*queue).to_owned(), *own)).collect();
        Self { jobs, common, own }
    }

    /// The same rooms for fewer jobs.
    pub(crate) fn at_most(self, jobs: usize) -> Self {
        Self { jobs: self.jobs.min(jobs), ..self }
    }

    /// The queues that have no slots left.
    pub(crate) fn full_queues(&self) -> impl Iterator<Item = &str> {
        let full = self.own.iter().filter(|(_, own)| self.common + **own == 0);
        full.map(|(queue, _)| queue.as_str())
    }

    /// A job of this queue is added.
    pub(crate) fn take(&mut self, queue: &str, may_take_own: bool) {
        self.jobs = self.jobs.saturating_sub(1);
        match self.own.get_mut(queue) {
            Some(own) if may_take_own && *own > 0 => *own -= 1,
            _ => self.common = self.common.saturating_sub(1),
        }
    }
}

/// Tells if jobs of this priority without a key may take slots that are their queue's own. Others
/// wait for what is more urgent in any queue.
pub(crate) fn may_take_own_slots(priority: i16) -> bool {
    priority <= LOWEST_WITH_OWN_SLOTS
}

/// The slots that each of so many queues has of its own. With fewer slots than queues there is
/// nothing to share out.
fn own_slots(total: usize, queues: usize) -> usize {
    match queues {
        // Nobody else wants any.
        0 | 1 => 0,
        _ if total < queues => 0,
        _ => (total / (ONE_OWN_OF * queues)).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(queues: usize) -> Vec<String> {
        (0..queues).map(|n| format!("q{n}")).collect()
    }

    /// The slots of as many jobs of the queue as there is room for.
    fn fill(slots: &Slots, queue: &str) -> Vec<Slot> {
        let mut taken = Vec::new();
        loop {
            match slots.rooms().of(queue) {
                0 => return taken,
                room => taken.extend((0..room).map(|_| slots.take(queue).unwrap())),
            }
        }
    }

    #[test]
    fn whoever_comes_last_finds_a_slot_if_there_are_as_many_as_queues() {
        for (total, queues) in (1..=64).flat_map(|total| (1..=10).map(move |of| (total, of))) {
            let names = names(queues);
            let slots = Slots::new(total, &names);
            let mut filled = Vec::new();
            for (n, queue) in names.iter().enumerate() {
                let of_queue = fill(&slots, queue);
                if total >= queues || n == 0 {
                    assert!(!of_queue.is_empty(), "queue {n} of {queues}, {total} slots");
                }
                filled.extend(of_queue);
            }
            assert_eq!(filled.len(), total, "none stays unused");
            assert_eq!(slots.rooms().jobs, 0);
            assert_eq!(slots.rooms().full_queues().count(), queues);
            filled.clear();
            assert_eq!(slots.0.free.available_permits(), total, "all are given back");
            assert_eq!(slots.rooms().common, slots.0.common());
        }
    }

    #[test]
    fn one_busy_queue_has_all_slots_but_those_of_the_others() {
        for (total, queues, room) in
            [(1, 1, 1), (64, 1, 64), (1, 2, 1), (2, 2, 1), (8, 2, 7), (10, 5, 6), (1024, 8, 800)]
        {
            let slots = Slots::new(total, &names(queues));
            assert_eq!(fill(&slots, "q0").len(), room, "{total} slots, {queues} queues");
        }
        for (total, queues) in (1..=64).flat_map(|total| (1..=10).map(move |of| (total, of))) {
            let own = own_slots(total, queues);
            assert!(own * queues <= (total / 4).max(queues), "{total} slots, {queues} queues");
            assert_eq!(own == 0, queues == 1 || total < queues);
        }
    }

    #[test]
    fn jobs_of_several_queues_do_not_take_what_is_a_third_ones() {
        let names = names(3);
        let slots = Slots::new(24, &names);
        let mut rooms = slots.rooms();
        assert_eq!((rooms.common, rooms.jobs), (18, 18), "any of them may be any queue's");
        let mut taken = Vec::new();
        for _ in 0..11 {
            for queue in ["q0", "q1"] {
                rooms.take(queue, true);
                taken.extend(slots.take(queue));
            }
        }
        for rooms in [rooms, slots.rooms()] {
            let mut full: Vec<&str> = rooms.full_queues().collect();
            full.sort_unstable();
            assert_eq!((full, rooms.own_of("q2")), (vec!["q0", "q1"], 2));
        }
        assert_eq!(slots.rooms().of("q2"), 2);
    }

    #[tokio::test]
    async fn room_is_waited_for_until_a_slot_that_the_queue_may_take_is_freed() {
        let names = names(2);
        let slots = Slots::new(8, &names);
        let mut of_one = fill(&slots, "q0");
        let of_other = slots.take("q1");
        let one = &names[..1];
        let moment = Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, slots.wait_for_room(one)).await.is_err());
        drop(of_other);
        let waited = tokio::time::timeout(moment, slots.wait_for_room(one)).await;
        assert!(waited.is_err(), "that was another queue's own");
        assert!(tokio::time::timeout(moment, slots.wait_for_room(&[])).await.is_err());
        let (waited, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(10), slots.wait_for_room(one)),
            async { drop(of_one.pop()) },
        );
        waited.unwrap();
    }
}
