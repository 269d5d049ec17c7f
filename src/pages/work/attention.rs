//! Whatever needs a person, each with the page to look at next.

use crate::operations::failures::FailureView;
use crate::operations::queues::QueueList;
use crate::operations::verify::LastVerify;
use crate::operations::workers::{WorkerInfo, WorkerState};
use crate::pages::words;

/// Something that needs a person.
pub(in crate::pages) struct Todo {
    /// The class of its severity.
    pub(in crate::pages) tone: &'static str,
    /// Its severity in one word.
    pub(in crate::pages) word: &'static str,
    /// The matter.
    pub(in crate::pages) title: String,
    /// More about it.
    pub(in crate::pages) detail: String,
    /// The page to look at next, and the words for it.
    pub(in crate::pages) next: (String, &'static str),
}

/// More open conflicts than this are told as more.
pub(super) const MAX_CONFLICTS: i64 = 1_000;
/// The failures that are told each by itself.
const FAILURES_TOLD: usize = 3;
/// The most characters of an error.
const ERROR_CHARS: usize = 140;

/// All that needs a person, the worst first.
pub(super) fn of(
    queues: &QueueList,
    failures: &[FailureView],
    workers: &[WorkerInfo],
    open_conflicts: i64,
    verified: Option<&LastVerify>,
) -> Vec<Todo> {
    let mut todo = Vec::new();
    todo.extend(verified.filter(|it| !it.ok).map(broken_ledger));
    todo.extend(of_workers(workers));
    todo.extend(failures.iter().take(FAILURES_TOLD).map(failing));
    todo.extend(paused(queues));
    if open_conflicts > 0 {
        todo.push(conflicting(open_conflicts));
    }
    todo
}

fn broken_ledger(verified: &LastVerify) -> Todo {
    let names: Vec<&str> = verified.broken.iter().map(|it| it.invariant.as_str()).collect();
    Todo {
        tone: "bad",
        word: "Broken",
        title: "The ledger does not hold".to_owned(),
        detail: format!(
            "{}: {}. Stop what writes, and look at 'app verify'.",
            words::counted(verified.violations, "violation"),
            names.join(", ")
        ),
        next: ("/ui/jobs?state=discarded".to_owned(), "See dead letters"),
    }
}

fn of_workers(workers: &[WorkerInfo]) -> Option<Todo> {
    let lost = workers.iter().filter(|worker| worker.state == WorkerState::Lost).count();
    let (tone, word, title, detail) = match (workers.len() - lost, lost) {
        (0, _) => (
            "bad",
            "Stopped",
            "No worker is alive".to_owned(),
            "Jobs are taken and wait. Start one with 'app work'.",
        ),
        (_, 0) => return None,
        (_, lost) => (
            "warn",
            "Lost",
            format!("{} lost within the last day", words::counted(lost as i64, "worker")),
            "Others have taken their jobs back.",
        ),
    };
    let next = ("/ui/workers".to_owned(), "See workers");
    Some(Todo { tone, word, title, detail: detail.to_owned(), next })
}

fn failing(failure: &FailureView) -> Todo {
    let is_final = failure.discarded > 0;
    let kept = match (failure.waiting, failure.discarded) {
        (1, 0) => "1 job is tried again by itself".to_owned(),
        (waiting, 0) => format!("{} are tried again by themselves", words::counted(waiting, "job")),
        (0, discarded) => format!("{} for a decision", of_jobs(discarded, "waits", "wait")),
        (waiting, discarded) => format!(
            "{} for a decision, {} tried again",
            of_jobs(discarded, "waits", "wait"),
            of_jobs(waiting, "is", "are")
        ),
    };
    Todo {
        tone: if is_final { "bad" } else { "warn" },
        word: if is_final { "Failed" } else { "Failing" },
        title: format!("{} · {}", failure.kind, words::line(&failure.error, ERROR_CHARS)),
        detail: format!("{kept}. Since {}.", words::utc(failure.first_at)),
        next: (format!("/ui/failures/{}", failure.fingerprint), "See the jobs"),
    }
}

fn of_jobs(jobs: i64, singular: &str, plural: &str) -> String {
    format!("{} {}", words::counted(jobs, "job"), if jobs == 1 { singular } else { plural })
}

fn paused(queues: &QueueList) -> Option<Todo> {
    let paused: Vec<_> = queues.queues.iter().filter(|queue| queue.pause.is_some()).collect();
    let names: Vec<&str> = paused.iter().map(|queue| queue.queue.as_str()).collect();
    let title = match (&queues.pause_of_all, names.as_slice()) {
        (Some(_), _) => "All queues are paused".to_owned(),
        (None, []) => return None,
        (None, [name]) => format!("Queue {name} is paused"),
        (None, names) => format!("Queues {} are paused", names.join(", ")),
    };
    let first = paused.iter().find_map(|queue| queue.pause.as_ref());
    let pause = queues.pause_of_all.as_ref().or(first)?;
    Some(Todo {
        tone: "warn",
        word: "Paused",
        title,
        detail: format!("By {}: {}", pause.paused_by, words::line(&pause.reason, ERROR_CHARS)),
        next: ("/ui/queues".to_owned(), "See queues"),
    })
}

fn conflicting(open: i64) -> Todo {
    let open = words::capped(open, MAX_CONFLICTS);
    Todo {
        tone: "warn",
        word: "Conflict",
        title: format!("{open} came again with other content"),
        detail: "What came first is kept. 'app conflicts list' shows both.".to_owned(),
        next: ("/ui/jobs?kind=settle_transaction".to_owned(), "See jobs"),
    }
}
