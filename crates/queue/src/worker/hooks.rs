//! Code of the program around each run of a job.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::telemetry::{Ending, Failure, Run};

/// Code that a worker calls around each run of a job, of whatever kind: for error reporters,
/// figures and logs of the program's own. Each call is made on the worker's threads, so it must
/// not block. A hook that panics is told in the log, and changes nothing: neither the run nor its
/// outcome. What must hold together with the job belongs into its handler's transaction.
///
/// Each claim of a job has one [`before`](Self::before) and one [`after`](Self::after), also in a
/// batch, unless the process is lost between the two.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use surety_queue::telemetry::{Failure, Run};
/// use surety_queue::{Registry, RunHooks};
///
/// /// Counts failures.
/// #[derive(Default)]
/// struct Alarm(AtomicU64);
///
/// impl RunHooks for Alarm {
///     fn on_failure(&self, run: &Run<'_>, _failure: Failure, error: &str) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         eprintln!("job {} of kind {} failed: {error}", run.job_id, run.kind);
///     }
/// }
///
/// let alarm = Arc::new(Alarm::default());
/// let registry = Registry::new(()).hooks(Arc::clone(&alarm));
/// # let _: Registry<()> = registry;
/// ```
pub trait RunHooks: Send + Sync + 'static {
    /// Is called when a job has been claimed, before its handler begins.
    fn before(&self, _run: &Run<'_>) {}

    /// Is called when a run has ended and its end has been recorded, or could not be.
    fn after(&self, _run: &Run<'_>, _ending: &Ending<'_>) {}

    /// Is called before [`after`](Self::after) when the attempt failed: by its handler's error or
    /// panic, its timeout, or because its handler said that it can never succeed. `error` is the
    /// error with all its sources.
    fn on_failure(&self, _run: &Run<'_>, _failure: Failure, _error: &str) {}
}

impl<T: RunHooks> RunHooks for Arc<T> {
    fn before(&self, run: &Run<'_>) {
        T::before(self, run);
    }

    fn after(&self, run: &Run<'_>, ending: &Ending<'_>) {
        T::after(self, run, ending);
    }

    fn on_failure(&self, run: &Run<'_>, failure: Failure, error: &str) {
        T::on_failure(self, run, failure, error);
    }
}

/// The hooks of a registry, in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct AllHooks(Vec<Arc<dyn RunHooks>>);

impl AllHooks {
    pub(super) fn add(&mut self, hooks: impl RunHooks) {
        self.0.push(Arc::new(hooks));
    }

    pub(super) fn before(&self, run: &Run<'_>) {
        self.each("before", run, |hooks| hooks.before(run));
    }

    pub(super) fn after(&self, run: &Run<'_>, ending: &Ending<'_>) {
        let failed = match *ending {
            Ending::Retried { failure, error, .. } | Ending::Discarded { failure, error } => {
                Some((failure, error))
            }
            Ending::Completed
            | Ending::Snoozed { .. }
            | Ending::Cancelled { .. }
            | Ending::LeaseLost
            | Ending::HandedBack => None,
        };
        if let Some((failure, error)) = failed {
            self.each("on_failure", run, |hooks| hooks.on_failure(run, failure, error));
        }
        self.each("after", run, |hooks| hooks.after(run, ending));
    }

    fn each(&self, name: &'static str, run: &Run<'_>, call: impl Fn(&dyn RunHooks)) {
        for hooks in &self.0 {
            // The panic itself is told by the process's hook for panics.
            if catch_unwind(AssertUnwindSafe(|| call(hooks.as_ref()))).is_err() {
                tracing::error!(job_id = run.job_id.0, kind = run.kind, "the hook {name} panicked");
            }
        }
    }
}

impl fmt::Debug for AllHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AllHooks").field(&self.0.len()).finish()
    }
}
