//! The counts of one worker, in memory.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::{Histogram, Outcome, Step};

/// Queues and kinds that are told apart; further ones are counted together, as [`OTHER`].
const MAX_SERIES: usize = 500;
/// The name of what is not told apart.
pub const OTHER: &str = "_other";
/// The name of all queues, and of all kinds, in stored rows.
pub(super) const ALL: &str = "";
/// While the database is away, counts of so many minutes wait for it; older ones are given up.
const MAX_MINUTES: usize = 120;

/// The counts of one worker since its start, and those that are not stored yet.
#[derive(Debug, Default)]
pub struct Activity {
    counts: Mutex<Counts>,
    engine: Engine,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) queue: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) outcome: Outcome,
    /// By the database's clock.
    pub(crate) at: OffsetDateTime,
    /// The time from when the job was due to its claim, and from there to its end; `None` of a lost
    /// worker's.
    pub(crate) times: Option<Times>,
}

/// The times of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) waited: Duration,
    pub(crate) ran: Duration,
}

/// The attempts of one kind in one queue that ended in one way, since the start.
#[derive(Clone, Debug)]
pub struct Totals {
    /// The queue, or [`OTHER`].
    pub queue: String,
    /// The kind, or [`OTHER`].
    pub kind: String,
    /// The end that they came to.
    pub outcome: Outcome,
    /// The number of attempts.
    pub jobs: u64,
    /// The times from when a job was due to its claim.
    pub wait: Histogram,
    /// The times from its claim to its end.
    pub run: Histogram,
}

/// The engine's own figures since the start of a worker.
#[derive(Clone, Debug, Default)]
pub struct EngineFigures {
    /// The times that claims took, those that brought nothing included.
    pub claims: Histogram,
    /// Jobs that claims brought.
    pub claimed_jobs: u64,
    /// Claims that brought nothing.
    pub empty_claims: u64,
    /// Claims that the database refused or did not answer.
    pub failed_claims: u64,
    /// The times that completions took, each of one or of several jobs, with the commit of what
    /// their handler wrote.
    pub completions: Histogram,
    /// Jobs that were completed by them.
    pub completed_jobs: u64,
    /// Completions that the database refused or did not answer.
    pub failed_completions: u64,
    /// Runs that were stopped, or came to nothing, because their lease was lost.
    pub leases_lost: u64,
    /// Renewals of leases that the database refused or did not answer.
    pub failed_renewals: u64,
    /// Ends of runs that changed nothing, because the job was another worker's by then.
    pub writes_refused: u64,
    /// Jobs that were handed back when a worker stopped.
    pub handed_back: u64,
    /// Jobs of lost workers that this one took back.
    pub rescued: u64,
}

/// The counters that [`EngineFigures`] are read from.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    claims: Mutex<Histogram>,
    completions: Mutex<Histogram>,
    pub(crate) claimed_jobs: Tally,
    pub(crate) empty_claims: Tally,
    pub(crate) failed_claims: Tally,
    pub(crate) completed_jobs: Tally,
    pub(crate) failed_completions: Tally,
    pub(crate) leases_lost: Tally,
    pub(crate) failed_renewals: Tally,
    pub(crate) writes_refused: Tally,
    pub(crate) handed_back: Tally,
    pub(crate) rescued: Tally,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Engine {
    pub(crate) fn claimed(&self, jobs: usize, took: Duration) {
        lock(&self.claims).add(took);
        self.claimed_jobs.add(jobs);
        if jobs == 0 {
            self.empty_claims.add(1);
        }
    }

    pub(crate) fn completed(&self, jobs: usize, took: Duration) {
        lock(&self.completions).add(took);
        self.completed_jobs.add(jobs);
    }
}

#[derive(Debug, Default)]
struct Counts {
    series: Vec<Series>,
    /// The place of a queue and kind among the series.
    places: HashMap<String, HashMap<String, usize>>,
    /// Not stored yet, by the minute since 1970.
    pending: BTreeMap<i64, HashMap<(usize, Outcome), Cell>>,
}

#[derive(Debug)]
struct Series {
    queue: String,
    kind: String,
    totals: [Cell; Outcome::ALL.len()],
}

#[derive(Clone, Debug, Default)]
struct Cell {
    jobs: u64,
    wait: Histogram,
    run: Histogram,
}

impl Cell {
    fn add(&mut self, times: Option<Times>) {
        self.jobs += 1;
        if let Some(Times { waited, ran }) = times {
            self.wait.add(waited);
            self.run.add(ran);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.wait.merge(&other.wait);
        self.run.merge(&other.run);
    }
}

/// One row of a batch, as `queue.record_activity` reads it.
#[derive(Serialize, Debug)]
pub(super) struct Row {
    step: Step,
    at_secs: i64,
    queue: String,
    kind: String,
    outcome: Outcome,
    jobs: u64,
    wait: Vec<u64>,
    run: Vec<u64>,
}

impl Activity {
    /// Counts an attempt.
    pub(crate) fn count(&self, ended: &Ended<'_>) {
        let mut counts = lock(&self.counts);
        let place = counts.place(ended.queue, ended.kind);
        counts.series[place].totals[ended.outcome as usize].add(ended.times);
        let minute = ended.at.unix_timestamp().div_euclid(60);
        counts.pending_of(minute, place, ended.outcome).add(ended.times);
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The attempts since the start, in no order; without those of which there are none.
    #[must_use]
    pub fn totals(&self) -> Vec<Totals> {
        let counts = lock(&self.counts);
        let of_series = |series: &Series| {
            let Series { queue, kind, totals } = series;
            let ended = Outcome::ALL.into_iter().zip(totals).filter(|(_, cell)| cell.jobs > 0);
            let totals = ended.map(|(outcome, cell)| Totals {
                queue: queue.clone(),
                kind: kind.clone(),
                outcome,
                jobs: cell.jobs,
                wait: cell.wait.clone(),
                run: cell.run.clone(),
            });
            totals.collect::<Vec<_>>()
        };
        counts.series.iter().flat_map(of_series).collect()
    }

    /// The engine's figures since the start.
    #[must_use]
    pub fn engine_figures(&self) -> EngineFigures {
        let engine = &self.engine;
        EngineFigures {
            claims: lock(&engine.claims).clone(),
            claimed_jobs: engine.claimed_jobs.get(),
            empty_claims: engine.empty_claims.get(),
            failed_claims: engine.failed_claims.get(),
            completions: lock(&engine.completions).clone(),
            completed_jobs: engine.completed_jobs.get(),
            failed_completions: engine.failed_completions.get(),
            leases_lost: engine.leases_lost.get(),
            failed_renewals: engine.failed_renewals.get(),
            writes_refused: engine.writes_refused.get(),
            handed_back: engine.handed_back.get(),
            rescued: engine.rescued.get(),
        }
    }

    /// Takes all that is not stored yet, as rows of all steps; empty when there is nothing.
    pub(super) fn take_rows(&self) -> Vec<Row> {
        let mut counts = lock(&self.counts);
        let pending = mem::take(&mut counts.pending);
        let mut rows: HashMap<(Step, i64, Option<usize>, Outcome), Cell> = HashMap::new();
        for (minute, cells) in pending {
            for ((place, outcome), cell) in cells {
                for step in Step::ALL {
                    let at_secs = (minute * 60).div_euclid(step.secs()) * step.secs();
                    for place in [Some(place), None] {
                        rows.entry((step, at_secs, place, outcome)).or_default().merge(&cell);
                    }
                }
            }
        }
        rows.into_iter().map(|(key, cell)| counts.row(key, &cell)).collect()
    }
}

impl Counts {
    /// The place of a queue and kind, or of all others.
    fn place(&mut self, queue: &str, kind: &str) -> usize {
        if let Some(place) = self.places.get(queue).and_then(|kinds| kinds.get(kind)) {
            return *place;
        }
        if self.series.len() >= MAX_SERIES && (queue, kind) != (OTHER, OTHER) {
            return self.place(OTHER, OTHER);
        }
        let place = self.series.len();
        self.places.entry(queue.to_owned()).or_default().insert(kind.to_owned(), place);
        let (queue, kind, totals) = (queue.to_owned(), kind.to_owned(), Default::default());
        self.series.push(Series { queue, kind, totals });
        place
    }

    fn pending_of(&mut self, minute: i64, place: usize, outcome: Outcome) -> &mut Cell {
        if self.pending.len() >= MAX_MINUTES && !self.pending.contains_key(&minute) {
            self.pending.pop_first();
        }
        self.pending.entry(minute).or_default().entry((place, outcome)).or_default()
    }

    fn row(&self, key: (Step, i64, Option<usize>, Outcome), cell: &Cell) -> Row {
        let (step, at_secs, place, outcome) = key;
        let (queue, kind) = match place {
            Some(place) => (&*self.series[place].queue, &*self.series[place].kind),
            None => (ALL, ALL),
        };
        Row {
            step,
            at_secs,
            queue: queue.to_owned(),
            kind: kind.to_owned(),
            outcome,
            jobs: cell.jobs,
            wait: cell.wait.counts().to_vec(),
            run: cell.run.counts().to_vec(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn count(activity: &Activity, queue: &str, at: OffsetDateTime) {
        let times = Times { waited: Duration::from_millis(1), ran: Duration::from_millis(2) };
        activity.count(&Ended {
            queue,
            kind: "greet",
            outcome: Outcome::Completed,
            at,
            times: Some(times),
        });
    }

    #[test]
    fn a_minute_makes_a_row_of_each_step_for_its_queue_and_one_for_all() {
        let activity = Activity::default();
        count(&activity, "mail", datetime!(2026-07-01 10:44:59 UTC));
        count(&activity, "mail", datetime!(2026-07-01 10:45:00 UTC));
        count(&activity, "bank", datetime!(2026-07-01 10:45:01 UTC));
        let rows = activity.take_rows();
        let jobs = |step, queue: &str| {
            let mut jobs: Vec<_> = rows
                .iter()
                .filter(|row| row.step == step && row.queue == queue)
                .map(|row| (row.at_secs % 86_400 / 60, row.jobs))
                .collect();
            jobs.sort_unstable();
            jobs
        };

        assert_eq!(jobs(Step::Minute, "mail"), [(644, 1), (645, 1)]);
        assert_eq!(jobs(Step::Quarter, ""), [(630, 1), (645, 2)]);
        assert_eq!(jobs(Step::Hour, "mail"), [(600, 2)]);
        assert_eq!(jobs(Step::Day, ""), [(0, 3)]);
        assert_eq!(activity.take_rows().len(), 0);
    }

    #[test]
    fn queues_beyond_the_bound_are_counted_together() {
        let activity = Activity::default();
        for number in 0..MAX_SERIES + 20 {
            count(&activity, &format!("queue-{number}"), OffsetDateTime::UNIX_EPOCH);
        }
        let totals = activity.totals();
        assert_eq!(totals.len(), MAX_SERIES + 1);
        let other = totals.iter().find(|totals| totals.queue == OTHER).unwrap();
        assert_eq!((other.kind.as_str(), other.jobs), (OTHER, 20));
    }

    #[test]
    fn while_nothing_can_be_stored_the_oldest_minutes_are_given_up() {
        let activity = Activity::default();
        for minute in 0..MAX_MINUTES as i64 + 30 {
            let at = OffsetDateTime::from_unix_timestamp(minute * 60).unwrap();
            count(&activity, "mail", at);
        }
        let rows = activity.take_rows();
        let minutes = rows.iter().filter(|row| row.step == Step::Minute && row.queue.is_empty());
        assert_eq!(minutes.count(), MAX_MINUTES);
    }
}
