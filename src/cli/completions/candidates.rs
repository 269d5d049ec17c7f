//! The names and numbers that an argument may have, from the database.

use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use sqlx::PgPool;

use super::subjects::Subject;
use super::{value_of, words};
use crate::cli::database::connect_in_silence;
use crate::operations::endpoints::{self, Scope};
use crate::operations::jobs::reading;
use crate::operations::{
    bulk, conflicts, dead_letters, failures, jobs, known_names, schedules, workers,
};

const APPLICATION: &str = "surety-completions";
/// A database that does not answer for so long is away. Less than a shell waits.
const DATABASE_WITHIN: Duration = Duration::from_millis(700);
/// The newest ones: a longer list is none to choose from.
const MAX_CANDIDATES: u16 = 100;

/// A candidate and a few words on it, which some shells show.
type Named = (String, String);

/// All that there is of this subject; nothing where the database cannot say so in time.
pub(super) fn candidates(subject: Subject) -> Vec<CompletionCandidate> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let reading = async { tokio::time::timeout(DATABASE_WITHIN, read(subject)).await };
    let found = runtime.block_on(reading);
    // A name that is still looked up is not waited for.
    runtime.shutdown_background();
    let found = found.ok().and_then(Result::ok).unwrap_or_default();
    let harmless = found.into_iter().filter(|(name, _)| is_harmless(name));
    let in_order = harmless.enumerate().map(|(place, (name, about))| {
        let about = Some(about).filter(|about| !about.is_empty() && !has_controls(about));
        CompletionCandidate::new(name).help(about.map(Into::into)).display_order(Some(place))
    });
    in_order.collect()
}

/// True of names that a shell takes for words and nothing else: whoever may enqueue by SQL chooses
/// names of queues and kinds, and some shells put a candidate on the command line as it is.
fn is_harmless(name: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"_-.:/@+,".contains(&it);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_plain)
}

fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

async fn read(subject: Subject) -> anyhow::Result<Vec<Named>> {
    // That of the command line goes first: names from another one would mislead.
    let url = value_of("--database-url", &words()).map(str::to_owned);
    let pool = connect_in_silence(url, APPLICATION).await?;
    match subject {
        Subject::Queues | Subject::Kinds => {
            let known = known_names(&mut *pool.acquire().await?).await?;
            let names = if subject == Subject::Queues { known.queues } else { known.kinds };
            Ok(names.into_iter().map(|name| (name, String::new())).collect())
        }
        Subject::Jobs => jobs_in(&pool, Vec::new()).await,
        Subject::UnfinishedJobs => jobs_in(&pool, jobs::JobState::UNFINISHED.to_vec()).await,
        Subject::JobsTo(action) => jobs_in(&pool, action.states(&[])?).await,
        Subject::DeadLetters
        | Subject::Failures
        | Subject::Operations
        | Subject::Conflicts
        | Subject::Workers
        | Subject::Schedules
        | Subject::Endpoints => read_others(subject, &pool).await,
    }
}

async fn jobs_in(pool: &PgPool, states: Vec<jobs::JobState>) -> anyhow::Result<Vec<Named>> {
    let filter = jobs::JobFilter { states, ..jobs::JobFilter::default() };
    let mut conn = pool.acquire().await?;
    let page = reading::list(&mut conn, &filter, None, MAX_CANDIDATES.into()).await?;
    let named =
        |job: jobs::JobSummary| (job.id.to_string(), format!("{}, {}", job.kind, job.state.name()));
    Ok(page.jobs.into_iter().map(named).collect())
}

async fn read_others(subject: Subject, pool: &PgPool) -> anyhow::Result<Vec<Named>> {
    let mut conn = pool.acquire().await?;
    let named = match subject {
        Subject::DeadLetters => {
            let filter = dead_letters::DeadLetterFilter::default();
            let letters =
                dead_letters::list(&mut conn, &filter, None, MAX_CANDIDATES.into()).await?;
            letters.into_iter().map(|letter| (letter.job_id.to_string(), letter.kind)).collect()
        }
        Subject::Failures => {
            let failures = failures::list(&mut conn, MAX_CANDIDATES.into()).await?;
            failures.into_iter().map(|failure| (failure.fingerprint, failure.kind)).collect()
        }
        Subject::Operations => {
            let operations = bulk::list(&mut conn, None, MAX_CANDIDATES).await?;
            let named = |operation: bulk::BulkView| {
                let about = format!("{}, {}", operation.action, operation.state.name());
                Some((operation.id?.to_string(), about))
            };
            operations.into_iter().filter_map(named).collect()
        }
        Subject::Conflicts => {
            let open = conflicts::ConflictFilter { open_only: true, transaction_id: None };
            let conflicts = conflicts::list(&mut conn, &open, None, MAX_CANDIDATES).await?;
            conflicts.into_iter().map(|it| (it.id.to_string(), it.transaction_id)).collect()
        }
        Subject::Workers => {
            let workers = workers::list(&mut conn).await?.workers;
            let named = |it: workers::WorkerView| (it.worker.id.to_string(), it.worker.host);
            workers.into_iter().map(named).collect()
        }
        Subject::Schedules => {
            let schedules = schedules::list(&mut conn).await?;
            schedules.into_iter().map(|schedule| (schedule.name, schedule.kind)).collect()
        }
        Subject::Endpoints => {
            drop(conn);
            let endpoints = endpoints::list(pool, Scope::All, None, MAX_CANDIDATES).await?;
            endpoints.into_iter().map(|it| (it.id.to_string(), it.place())).collect()
        }
        Subject::Queues
        | Subject::Kinds
        | Subject::Jobs
        | Subject::UnfinishedJobs
        | Subject::JobsTo(_) => Vec::new(),
    };
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_act_on_is_no_candidate() {
        for name in ["default", "send_mail", "812", "eu-west.payouts", "a:b/c@d+e"] {
            assert!(is_harmless(name), "{name}");
        }
        for name in ["", "-rf", "$(reboot)", "`reboot`", "a b", "a;b", "a\nb", "*", "~", "a'b", "ä"]
        {
            assert!(!is_harmless(name), "{name:?}");
        }
    }
}
