//! The registry of kinds: the handler of each. Behind it, kinds are no longer types: a handler
//! takes arguments as JSON.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::batches::BatchBounds;
use super::hooks::{AllHooks, RunHooks};
use crate::enqueue::kinds::KindDeclaration;
use crate::handler::{
    Backoff, BatchContext, BatchJob, Committed, Job, JobContext, JobError, Seats,
};
use crate::json::JsonText;
#[cfg(feature = "schedules")]
use crate::schedules::Schedule;

pub(crate) type Run = Pin<Box<dyn Future<Output = Result<Committed, JobError>> + Send>>;

/// A claimed job waits no longer for its batch to be filled, as nobody else can run it meanwhile.
const MAX_BATCH_WAIT: Duration = Duration::from_secs(5);

/// The kinds that a worker knows. A kind that it does not know is left alone, for a worker that
/// does (G9).
#[derive(Clone)]
pub struct Registry<S> {
    state: S,
    handlers: BTreeMap<&'static str, Arc<dyn Handler<S>>>,
    #[cfg(feature = "schedules")]
    schedules: Vec<Schedule>,
    hooks: AllHooks,
}

impl<S: Clone + Send + Sync + 'static> Registry<S> {
    /// An empty registry. Every run gets a clone of `state`.
    pub fn new(state: S) -> Self {
        Self {
            state,
            handlers: BTreeMap::new(),
            #[cfg(feature = "schedules")]
            schedules: Vec::new(),
            hooks: AllHooks::default(),
        }
    }

    /// Adds a kind whose jobs run one by one.
    ///
    /// # Panics
    ///
    /// When the kind is registered already: two kinds of one name are a mistake to be found at
    /// start.
    #[must_use]
    pub fn register<J: Job<State = S>>(self) -> Self {
        self.add(J::KIND, Arc::new(OneByOne::<J>(PhantomData)))
    }

    /// Adds a kind whose jobs run in batches.
    ///
    /// # Panics
    ///
    /// As [`Self::register`].
    #[must_use]
    pub fn register_batch<J: BatchJob<State = S>>(self) -> Self {
        self.add(<J as Job>::KIND, Arc::new(InBatches::<J>::new(J::MAX_AT_ONCE_OVERALL)))
    }

    /// Lets so many batches of a registered kind have a transaction open at once, over all workers
    /// that are told the same, in place of its
    /// [`MAX_AT_ONCE_OVERALL`](BatchJob::MAX_AT_ONCE_OVERALL).
    ///
    /// # Panics
    ///
    /// When the kind is not registered.
    #[must_use]
    pub fn at_once_overall<J: BatchJob<State = S>>(mut self, batches: NonZeroU16) -> Self {
        let kind = <J as Job>::KIND;
        let handler = Arc::new(InBatches::<J>::new(Some(batches)));
        let known = self.handlers.insert(kind, handler).is_some();
        assert!(known, "the job kind {kind} is not registered");
        self
    }

    /// Adds a schedule, which every worker defines at its start, see [`crate::schedules`].
    ///
    /// # Panics
    ///
    /// When there is one of this name already.
    #[cfg(feature = "schedules")]
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        let name = schedule.name();
        let taken = self.schedules.iter().any(|other| other.name() == name);
        assert!(!taken, "the schedule {name} is registered twice");
        self.schedules.push(schedule);
        self
    }

    /// The schedules that were added.
    #[cfg(feature = "schedules")]
    pub fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    /// Adds code that is called around each run of each kind, after that which was added before.
    #[must_use]
    pub fn hooks(mut self, hooks: impl RunHooks) -> Self {
        self.hooks.add(hooks);
        self
    }

    fn add(mut self, kind: &'static str, handler: Arc<dyn Handler<S>>) -> Self {
        let taken = self.handlers.insert(kind, handler).is_some();
        assert!(!taken, "the job kind {kind} is registered twice");
        self
    }

    /// The names of all kinds, in order.
    pub fn kinds(&self) -> Vec<String> {
        self.handlers.keys().map(|&kind| kind.to_owned()).collect()
    }

    /// The queues that these kinds go to, in order.
    pub fn queues(&self) -> Vec<String> {
        let mut queues: Vec<String> =
            self.handlers.values().map(|handler| handler.traits().queue.to_owned()).collect();
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    /// The declarations of these kinds, in the order of their names.
    pub fn declarations(&self) -> Vec<KindDeclaration> {
        self.handlers.values().map(|handler| handler.declaration()).collect()
    }

    /// Checks that these can be the arguments of a job of this kind. Of a kind that is not
    /// registered, anything can.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn check_args(&self, kind: &str, args: &JsonText) -> Result<(), serde_json::Error> {
        self.handlers.get(kind).map_or(Ok(()), |handler| handler.check(args))
    }

    pub(crate) fn handler(&self, kind: &str) -> Option<Arc<dyn Handler<S>>> {
        self.handlers.get(kind).cloned()
    }

    /// The bounds of the batches of a kind that runs in batches.
    pub(super) fn batch_bounds(&self, kind: &str) -> Option<BatchBounds> {
        self.handlers.get(kind)?.traits().batches
    }

    pub(super) fn all_hooks(&self) -> &AllHooks {
        &self.hooks
    }

    pub(crate) fn state(&self) -> S {
        self.state.clone()
    }
}

/// The properties of a kind that the worker needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KindTraits {
    pub(crate) queue: &'static str,
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
    /// None for a kind whose jobs run one by one.
    pub(crate) batches: Option<BatchBounds>,
}

/// A kind without its type.
pub(crate) trait Handler<S>: Send + Sync {
    fn traits(&self) -> KindTraits;
    fn declaration(&self) -> KindDeclaration;
    fn check(&self, args: &JsonText) -> Result<(), serde_json::Error>;
    fn run(&self, args: &RawValue, state: S, cx: JobContext) -> Result<Run, JobError>;
    fn run_batch(&self, args: &[&RawValue], state: S, cx: BatchContext) -> Result<Run, JobError>;
}

struct OneByOne<J>(PhantomData<fn() -> J>);

struct InBatches<J> {
    at_once_overall: Option<NonZeroU16>,
    of: PhantomData<fn() -> J>,
}

impl<J> InBatches<J> {
    fn new(at_once_overall: Option<NonZeroU16>) -> Self {
        Self { at_once_overall, of: PhantomData }
    }
}

impl<J: Job> Handler<J::State> for OneByOne<J> {
    fn traits(&self) -> KindTraits {
        KindTraits { queue: J::QUEUE, timeout: J::TIMEOUT, backoff: J::BACKOFF, batches: None }
    }

    fn declaration(&self) -> KindDeclaration {
        KindDeclaration::of::<J>()
    }

    fn check(&self, args: &JsonText) -> Result<(), serde_json::Error> {
        args.parse::<J>().map(drop)
    }

    fn run(&self, args: &RawValue, state: J::State, cx: JobContext) -> Result<Run, JobError> {
        let job: J = parse(args)?;
        Ok(Box::pin(async move { job.run(&state, cx).await }))
    }

    fn run_batch(&self, _: &[&RawValue], _: J::State, _: BatchContext) -> Result<Run, JobError> {
        Err(anyhow::anyhow!("the kind {} has no batch handler", J::KIND).into())
    }
}

impl<J: BatchJob> Handler<<J as BatchJob>::State> for InBatches<J> {
    fn traits(&self) -> KindTraits {
        let one_by_one = OneByOne::<J>(PhantomData).traits();
        let seats = |count: NonZeroU16| Seats { kind: <J as Job>::KIND, count: count.get() };
        let bounds = BatchBounds {
            jobs: J::MAX_BATCH.max(1),
            wait: J::MAX_WAIT.min(MAX_BATCH_WAIT),
            at_once: J::MAX_AT_ONCE.max(1),
            seats: self.at_once_overall.map(seats),
        };
        KindTraits { batches: Some(bounds), ..one_by_one }
    }

    fn declaration(&self) -> KindDeclaration {
        KindDeclaration::of::<J>()
    }

    fn check(&self, args: &JsonText) -> Result<(), serde_json::Error> {
        OneByOne::<J>(PhantomData).check(args)
    }

    fn run(
        &self,
        args: &RawValue,
        state: <J as BatchJob>::State,
        cx: JobContext,
    ) -> Result<Run, JobError> {
        OneByOne::<J>(PhantomData).run(args, state, cx)
    }

    fn run_batch(
        &self,
        args: &[&RawValue],
        state: <J as BatchJob>::State,
        cx: BatchContext,
    ) -> Result<Run, JobError> {
        let jobs = args.iter().map(|args| parse(args)).collect::<Result<Vec<J>, _>>()?;
        Ok(Box::pin(async move { J::run_batch(jobs, &state, cx).await }))
    }
}

/// Arguments that do not parse are a failed attempt like any other, not a reason to discard: they
/// may have been written by a newer binary, whose workers know them.
///
/// The parser repeats the value that it does not like, and errors are kept and shown: where some of
/// the arguments are secret, only the place is told.
fn parse<J: Job>(args: &RawValue) -> Result<J, JobError> {
    serde_json::from_str(args.get()).map_err(|error| {
        let kind = J::KIND;
        if J::SEALED || !J::REDACTED.is_empty() {
            let column = error.column();
            anyhow::anyhow!("arguments of kind {kind} do not parse at character {column}").into()
        } else {
            anyhow::anyhow!("arguments of kind {kind} do not parse: {error}").into()
        }
    })
}
