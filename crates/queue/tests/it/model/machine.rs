//! The queue without a database: what a job is after each step, and what whoever took the step was
//! told.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::steps::{self, NewJob, Step};

pub(super) const QUEUES: usize = 2;
/// The third knows one kind and one queue only.
pub(super) const WORKERS: usize = 3;
/// A job that has taken so many workers down is discarded.
pub(super) const MAX_CRASHES: i16 = 3;
/// The priority and the bound of follow-ups, which are of the first kind.
pub(super) const FOLLOW_UP: (i16, i16) = (3, 2);

/// All that there is. The clock counts in units in which nothing happens by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    now: i64,
    /// How often the clock was read: what was written first comes first among equals.
    writes: u64,
    pub(super) jobs: Vec<Job>,
    /// Every claim there ever was, in the order of their fences.
    pub(super) claims: Vec<Claim>,
    /// Queues, and none for all.
    paused: BTreeSet<Option<usize>>,
    unique: BTreeMap<(usize, usize), Reservation>,
    /// What the last step was told.
    pub(super) said: String,
    /// The jobs that the last rescue put among the waiting ones, in the order that it gives.
    pub(super) rescued: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    queue: usize,
    kind: usize,
    priority: i16,
    max_attempts: i16,
    keeps_history: bool,
    is_followed_up: bool,
    due: (i64, u64),
    attempt: i16,
    crashes: i16,
    prior_attempts: i16,
    pub(super) state: State,
    wait_reason: Option<i64>,
    progress: Option<i16>,
    checkpoint: Option<i64>,
    output: Option<i64>,
    is_cancel_requested: bool,
    /// Number, claim, outcome.
    attempts: Vec<(i16, usize, Ended)>,
    /// At which attempt, and what.
    decisions: Vec<(i16, &'static str)>,
    cancels: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Waiting,
    Running {
        claim: usize,
        until: i64,
    },
    Completed,
    Cancelled,
    Discarded,
    /// Completed, and not kept.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    Completed,
    Failed,
    TimedOut,
    Crashed,
    Discarded,
    Cancelled,
}

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) job: usize,
    pub(super) worker: usize,
    /// What the worker knows of the job.
    attempt: i16,
    crashes: i16,
    max_attempts: i16,
    pub(super) is_handed_back: bool,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    job: usize,
    until: Option<i64>,
}

pub(super) fn kinds_of(worker: usize) -> &'static [usize] {
    if worker == 2 { &[0] } else { &[0, 1] }
}

/// In the order in which the worker asks them.
pub(super) fn queues_of(worker: usize) -> &'static [usize] {
    [&[0, 1][..], &[1, 0], &[0]][worker]
}

impl Claim {
    pub(super) fn is_last_attempt(&self) -> bool {
        self.attempt - self.crashes >= self.max_attempts
    }
}

impl Ended {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        steps::possible(model)
    }

    fn preconditions(model: &Self, step: &Step) -> bool {
        step.is_possible(model)
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        model.rescued.clear();
        model.said = model.take(step);
        model.assert_sound();
        model
    }
}

impl Model {
    pub(super) fn discarded(&self) -> Vec<usize> {
        let all = 0..self.jobs.len();
        all.filter(|job| self.jobs[*job].state == State::Discarded).collect()
    }

    pub(super) fn current_claims(&self) -> Vec<usize> {
        (0..self.claims.len()).filter(|claim| self.is_current(*claim)).collect()
    }

    /// Whether what is written under this claim has an effect (G4).
    pub(super) fn is_current(&self, claim: usize) -> bool {
        let job = &self.jobs[self.claims[claim].job];
        matches!(job.state, State::Running { claim: current, .. } if current == claim)
    }

    fn take(&mut self, step: &Step) -> String {
        match step {
            Step::Enqueue(job) => self.enqueue(job),
            Step::Claim { worker, limit, lease } => self.claim(*worker, *limit, *lease),
            Step::Heartbeat { claims, lease } => {
                let until = self.now + lease;
                self.each_current(claims, |model, claim| {
                    let job = model.job_of(claim);
                    job.state = State::Running { claim, until };
                })
            }
            Step::Complete { claims, output } => {
                self.each_current(claims, |model, claim| model.complete(claim, *output))
            }
            Step::Fail { claim, delay, outcome } => self.fail(*claim, *delay, *outcome),
            Step::Discard { claim, follow_up } => self.under(*claim, |model| {
                model.finish(*claim, State::Discarded, Ended::Discarded, *follow_up);
                "done".to_owned()
            }),
            Step::CancelOwn { claim } => self.under(*claim, |model| {
                model.finish(*claim, State::Cancelled, Ended::Cancelled, true);
                "done".to_owned()
            }),
            Step::HandBack { claim, delay, reason } => self.under(*claim, |model| {
                model.claims[*claim].is_handed_back = true;
                let due = model.due_in(*delay);
                let job = model.job_of(*claim);
                job.attempt -= 1;
                (job.state, job.due, job.wait_reason) = (State::Waiting, due, *reason);
                waits(job)
            }),
            Step::Tell { claim, progress, checkpoint } => self.under(*claim, |model| {
                let job = model.job_of(*claim);
                job.progress = progress.or(job.progress);
                job.checkpoint = checkpoint.or(job.checkpoint);
                "done".to_owned()
            }),
            Step::LockLease { claim } => self.under(*claim, |_| "done".to_owned()),
            Step::AskOutcome { claim } => {
                self.claims[*claim].ended.map_or("unknown", Ended::name).to_owned()
            }
            Step::Rescue { limit } => self.rescue(*limit),
            Step::Cancel { job } => self.cancel(*job),
            Step::AskCancelRequests { worker } => {
                let mut asked = self.current_claims();
                asked.retain(|claim| self.claims[*claim].worker == *worker);
                asked.retain(|claim| self.jobs[self.claims[*claim].job].is_cancel_requested);
                format!("{asked:?}")
            }
            Step::CancelLeftOver => {
                let mut cancelled = 0;
                for job in &mut self.jobs {
                    if job.state == State::Waiting && job.is_cancel_requested {
                        job.state = State::Cancelled;
                        cancelled += 1;
                    }
                }
                format!("{cancelled}")
            }
            Step::Pause { queue } => {
                self.paused.insert(*queue);
                String::new()
            }
            Step::Resume { queue } => {
                self.paused.remove(queue);
                String::new()
            }
            Step::Redrive { job } => self.redrive(*job),
            Step::Dismiss { job } => {
                let is_open = self.is_open(*job);
                if is_open {
                    let attempt = self.jobs[*job].attempt;
                    self.jobs[*job].decisions.push((attempt, "dismissed"));
                }
                format!("{is_open}")
            }
            Step::Pass { units } => {
                self.now += units;
                String::new()
            }
        }
    }

    fn due_in(&mut self, units: i64) -> (i64, u64) {
        self.writes += 1;
        (self.now + units, self.writes)
    }

    fn job_of(&mut self, claim: usize) -> &mut Job {
        &mut self.jobs[self.claims[claim].job]
    }

    /// Does what is told for a claim that is current, and nothing for another one.
    fn under(&mut self, claim: usize, write: impl FnOnce(&mut Self) -> String) -> String {
        if self.is_current(claim) { write(self) } else { "not ours".to_owned() }
    }

    /// The same for several at once; tells the jobs.
    fn each_current(
        &mut self,
        claims: &[usize],
        mut write: impl FnMut(&mut Self, usize),
    ) -> String {
        let current: Vec<usize> =
            claims.iter().copied().filter(|claim| self.is_current(*claim)).collect();
        let mut jobs: Vec<usize> = current.iter().map(|claim| self.claims[*claim].job).collect();
        jobs.sort_unstable();
        current.into_iter().for_each(|claim| write(self, claim));
        format!("{jobs:?}")
    }

    fn enqueue(&mut self, new: &NewJob) -> String {
        let due = self.due_in(new.delay);
        if let Some((value, lasts)) = new.unique {
            let reserved = self.unique.get(&(new.kind, value));
            if let Some(holder) = reserved.and_then(|it| self.holder(*it, lasts)) {
                return format!("job {holder} is there");
            }
            let until = lasts.map(|units| self.now + units);
            let reservation = Reservation { job: self.jobs.len(), until };
            self.unique.insert((new.kind, value), reservation);
        }
        let number = self.jobs.len();
        self.jobs.push(Job {
            queue: new.queue,
            kind: new.kind,
            priority: new.priority,
            max_attempts: new.max_attempts,
            keeps_history: new.keeps_history,
            is_followed_up: new.is_followed_up,
            ..Job::waiting(due)
        });
        format!("job {number} is new")
    }

    /// The job that a reservation is for, if it still counts to somebody who asks for so long.
    fn holder(&self, reservation: Reservation, lasts: Option<i64>) -> Option<usize> {
        if reservation.until.is_some_and(|until| until <= self.now) {
            return None;
        }
        let counts = match self.jobs[reservation.job].state {
            State::Waiting | State::Running { .. } => true,
            State::Completed => lasts.is_some(),
            // Only within a window is it known to have been completed.
            State::Gone => lasts.is_some() && reservation.until.is_some(),
            State::Cancelled | State::Discarded => false,
        };
        counts.then_some(reservation.job)
    }

    fn claim(&mut self, worker: usize, limit: usize, lease: i64) -> String {
        let is_open =
            |queue: usize| !self.paused.contains(&None) && !self.paused.contains(&Some(queue));
        let lane = |queue: usize| queues_of(worker).iter().position(|asked| *asked == queue);
        let mut due: Vec<_> = (0..self.jobs.len())
            .filter_map(|number| {
                let job = &self.jobs[number];
                let is_due = job.state == State::Waiting && job.due.0 <= self.now;
                let is_known = kinds_of(worker).contains(&job.kind);
                let lane = lane(job.queue).filter(|_| is_due && is_known && is_open(job.queue))?;
                Some((job.priority, lane, job.due, number))
            })
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let mut said = Vec::new();
        for (_, _, _, number) in due {
            let claim = self.claims.len();
            let until = self.now + lease;
            let job = &mut self.jobs[number];
            job.attempt += 1;
            job.wait_reason = None;
            job.state = State::Running { claim, until };
            said.push(format!(
                "job {number} attempt {} of {} crashes {} prior {} checkpoint {:?}",
                job.attempt, job.max_attempts, job.crashes, job.prior_attempts, job.checkpoint
            ));
            self.claims.push(Claim {
                job: number,
                worker,
                attempt: job.attempt,
                crashes: job.crashes,
                max_attempts: job.max_attempts,
                is_handed_back: false,
                ended: None,
            });
        }
        said.join("; ")
    }

    fn record(&mut self, claim: usize, ended: Ended) {
        self.claims[claim].ended = Some(ended);
        let job = self.job_of(claim);
        if ended != Ended::Completed || job.keeps_history {
            job.attempts.push((job.attempt, claim, ended));
        }
    }

    fn complete(&mut self, claim: usize, output: Option<i64>) {
        self.record(claim, Ended::Completed);
        let job = self.job_of(claim);
        job.output = output;
        // Nobody redrives a completed job: its history does without the number.
        job.prior_attempts = 0;
        job.state = if job.keeps_history { State::Completed } else { State::Gone };
    }

    fn fail(&mut self, claim: usize, delay: i64, outcome: Ended) -> String {
        self.under(claim, |model| {
            if model.claims[claim].is_last_attempt() {
                model.finish(claim, State::Discarded, outcome, true);
                return "done".to_owned();
            }
            model.record(claim, outcome);
            let due = model.due_in(delay);
            let job = model.job_of(claim);
            (job.state, job.due) = (State::Waiting, due);
            waits(job)
        })
    }

    fn finish(&mut self, claim: usize, state: State, ended: Ended, follow_up: bool) {
        self.record(claim, ended);
        let job = self.job_of(claim);
        job.state = state;
        if follow_up && state == State::Discarded && job.is_followed_up {
            let queue = job.queue;
            self.follow_up(queue);
        }
    }

    fn follow_up(&mut self, queue: usize) {
        let (priority, max_attempts) = FOLLOW_UP;
        let due = self.due_in(0);
        self.jobs.push(Job { queue, priority, max_attempts, ..Job::waiting(due) });
    }

    fn rescue(&mut self, limit: usize) -> String {
        let mut lost: Vec<(usize, usize)> = Vec::new();
        for (number, job) in self.jobs.iter().enumerate() {
            if let State::Running { claim, until } = job.state
                && until <= self.now
            {
                lost.push((number, claim));
            }
        }
        lost.truncate(limit);
        let mut said = Vec::new();
        let mut followed = Vec::new();
        for (number, claim) in lost {
            self.record(claim, Ended::Crashed);
            let due = self.due_in(0);
            let job = &mut self.jobs[number];
            job.crashes += 1;
            let is_poison = job.crashes >= MAX_CRASHES && !job.is_cancel_requested;
            if job.is_cancel_requested {
                job.state = State::Cancelled;
            } else if is_poison {
                job.state = State::Discarded;
                followed.extend(job.is_followed_up.then_some(job.queue));
            } else {
                (job.state, job.due, job.priority) = (State::Waiting, due, 1);
                self.rescued.push(number);
            }
            said.push((number, is_poison));
        }
        for queue in followed {
            self.rescued.push(self.jobs.len());
            self.follow_up(queue);
        }
        format!("{said:?}")
    }

    fn cancel(&mut self, number: usize) -> String {
        let job = &mut self.jobs[number];
        let said = match job.state {
            State::Waiting => {
                job.cancels += 1;
                job.state = State::Cancelled;
                "cancelled"
            }
            State::Running { .. } => {
                job.cancels += usize::from(!job.is_cancel_requested);
                job.is_cancel_requested = true;
                "requested"
            }
            State::Completed | State::Cancelled | State::Discarded => "finished",
            State::Gone => "unknown",
        };
        said.to_owned()
    }

    fn is_open(&self, number: usize) -> bool {
        let job = &self.jobs[number];
        let is_decided = job.decisions.iter().any(|(attempt, _)| *attempt == job.attempt);
        job.state == State::Discarded && !is_decided
    }

    fn redrive(&mut self, number: usize) -> String {
        let is_open = self.is_open(number);
        if is_open {
            let due = self.due_in(0);
            let job = &mut self.jobs[number];
            job.decisions.push((job.attempt, "redriven"));
            job.max_attempts += job.attempt - job.prior_attempts;
            job.prior_attempts = job.attempt;
            job.crashes = 0;
            job.keeps_history = true;
            job.is_cancel_requested = false;
            (job.state, job.due) = (State::Waiting, due);
        }
        format!("{is_open}")
    }

    /// What is promised whatever happens.
    fn assert_sound(&self) {
        for (number, job) in self.jobs.iter().enumerate() {
            let completions = job.attempts.iter().filter(|it| it.2 == Ended::Completed).count();
            assert!(completions <= 1, "job {number} was completed twice: {job:?}");
            let counted = job.attempt - job.crashes;
            assert!(counted <= job.max_attempts, "job {number} was run too often: {job:?}");
            if job.keeps_history {
                let is_running = matches!(job.state, State::Running { .. });
                let ended = job.attempt - i16::from(is_running);
                let numbers: Vec<i16> = job.attempts.iter().map(|it| it.0).collect();
                assert_eq!(numbers, (1..=ended).collect::<Vec<_>>(), "job {number}: {job:?}");
            }
        }
    }

    /// Every job that the database must have, as the replay writes it down.
    pub(super) fn rows(&self) -> Vec<String> {
        let all = self.jobs.iter().enumerate();
        all.filter(|(_, job)| job.state != State::Gone)
            .map(|(number, job)| {
                let now = self.now;
                let state = match job.state {
                    State::Waiting => format!("{} due {}", job.word(now), job.due.0 - now),
                    State::Running { claim, until } => format!(
                        "running, claim {claim} worker {} lease {}",
                        self.claims[claim].worker,
                        until - now
                    ),
                    State::Completed => format!("completed, output {:?}", job.output),
                    State::Cancelled => "cancelled".to_owned(),
                    State::Discarded => "discarded".to_owned(),
                    State::Gone => unreachable!("filtered out"),
                };
                let is_to_be_cancelled = job.is_cancel_requested && !job.is_finished();
                let wait_reason = job.wait_reason.filter(|_| !job.is_finished());
                let attempts: Vec<String> = job
                    .attempts
                    .iter()
                    .map(|(attempt, claim, ended)| format!("{attempt} {claim} {}", ended.name()))
                    .collect();
                let decisions: Vec<String> =
                    job.decisions.iter().map(|(at, what)| format!("{at} {what}")).collect();
                format!(
                    "job {number}: {state}, attempt {} of {} crashes {} prior {}, \
                     waits for {wait_reason:?}, progress {:?} checkpoint {:?}, \
                     to be cancelled {is_to_be_cancelled}, attempts {attempts:?}, \
                     decisions {decisions:?}, cancels {}",
                    job.attempt,
                    job.max_attempts,
                    job.crashes,
                    job.prior_attempts,
                    job.progress,
                    job.checkpoint,
                    job.cancels,
                )
            })
            .collect()
    }
}

/// What the end of an attempt is told when its job goes on to wait.
fn waits(job: &Job) -> String {
    if job.is_cancel_requested { "to be cancelled".to_owned() } else { "done".to_owned() }
}

impl Job {
    fn waiting(due: (i64, u64)) -> Self {
        Self {
            queue: 0,
            kind: 0,
            priority: 2,
            max_attempts: 1,
            keeps_history: true,
            is_followed_up: false,
            due,
            attempt: 0,
            crashes: 0,
            prior_attempts: 0,
            state: State::Waiting,
            wait_reason: None,
            progress: None,
            checkpoint: None,
            output: None,
            is_cancel_requested: false,
            attempts: Vec::new(),
            decisions: Vec::new(),
            cancels: 0,
        }
    }

    fn is_finished(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Running { .. })
    }

    /// The state of a waiting job, as people speak of it.
    fn word(&self, now: i64) -> &'static str {
        match (self.due.0 <= now, self.attempt) {
            (true, _) => "available",
            (false, 0) => "scheduled",
            (false, _) => "retryable",
        }
    }
}
