//! Remedies for findings, worded as commands of this binary.

use crate::operations::health::Fix;

/// The command, statement or setting that is the remedy.
pub(super) fn in_words(fix: &Fix) -> String {
    match fix {
        Fix::AddWorkers { job, queue } => {
            format!("'app jobs show {job}' says why; more workers: 'app work --queues {queue}'")
        }
        Fix::ReviewLimits { job, queue } => format!(
            "'app jobs show {job}' says why; 'app queues limits {queue}' says what the queue is \
             held to"
        ),
        Fix::StartWorker => "start one: 'app work'".to_owned(),
        Fix::StartRescuer => {
            "every worker rescues such jobs: start one that reaches this database, 'app work'"
                .to_owned()
        }
        Fix::StartWorkerFor { kind, queue } => format!(
            "start a worker that knows kind {kind} and takes the queue, 'app work --queues \
             {queue}'; or cancel them"
        ),
        Fix::Resume { queue } => {
            format!("app queues resume {}", queue.as_deref().unwrap_or("--all"))
        }
        Fix::UnblockKeys { queue } => {
            format!("'app queues blocked {queue}' names them and the jobs at their heads")
        }
        Fix::ReviewFailures { job, kind } => format!(
            "'app jobs show {job}' says why; mend that, and they are tried again by themselves; \
             'app jobs list --state retryable --kind {kind}' lists them"
        ),
        Fix::DecideDiscarded => {
            "'app dead-letters list' and 'app dead-letters show' tell of them; then 'redrive' or \
             'write-off'"
                .to_owned()
        }
        Fix::ApplyMigrations => "app migrate run".to_owned(),
        Fix::CompareMigrations => {
            "compare the schema with the migrations: 'app migrate status'".to_owned()
        }
        Fix::Other(words) => words.clone(),
    }
}
