//! One job: why it has not run, its attempts, its errors, and what can be done with it.

use std::sync::Arc;

use askama::Template;
use time::OffsetDateTime;

use super::attempts::{self, EndedAttempt, Stretch};
use super::job_args;
use crate::http::wire::problem::{Code, Problem};
use crate::operations::Mode;
use crate::operations::jobs::edit::JobVersion;
use crate::operations::jobs::reading::{self, ExplainedJob};
use crate::operations::jobs::{
    ChangeJobs, JobAction, JobChange, JobDetails, JobId, JobRefusal, JobState, RefusalClass,
    ResolutionKind, change, is_about_money, reveal, traces,
};
use crate::pages::frame::Frame;
use crate::pages::json_text::indented;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit, segment};
use crate::pages::words;

/// The most characters of one JSON that a page shows.
const MAX_JSON_CHARS: usize = 50_000;

#[derive(Template)]
#[template(path = "job.html", config = "src/pages/askama.toml")]
struct JobPage {
    frame: Frame,
    job: JobDetails,
    explanation: String,
    also: Vec<String>,
    stretches: Vec<Stretch>,
    left_out: usize,
    ended: Vec<EndedAttempt>,
    has_errors: bool,
    decisions: Vec<Decision>,
    /// The transaction or order that it is about, and its page.
    subject: Option<(&'static str, String, String)>,
    trace: Option<String>,
    is_trace_kept: bool,
    args: String,
    /// The version that an edit is meant for; none if the arguments cannot be edited.
    edits: Option<JobVersion>,
    checkpoint: Option<String>,
    output: Option<String>,
    can: Can,
}

/// The actions that a job can undergo in its state, whoever may do them.
struct Can {
    run_now: bool,
    redrive: bool,
    cancel: bool,
    discard: bool,
}

impl Can {
    fn of(job: &JobDetails) -> Self {
        Self {
            run_now: matches!(job.state, JobState::Scheduled | JobState::Retryable),
            redrive: job.state == JobState::Discarded,
            cancel: job.state.is_unfinished() && !is_about_money(&job.kind),
            discard: job.state.is_waiting(),
        }
    }
}

/// A decision or an intervention of somebody's.
struct Decision {
    at: OffsetDateTime,
    deed: String,
    by: String,
    reason: String,
}

/// The page of a job.
pub(in crate::pages) async fn show(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    visit.query.only(&[])?;
    let id = JobId(visit.parsed("id")?);
    let mut conn = visit.connect().await?;
    let explained = reading::explain(&mut conn, id).await?;
    let explained =
        explained.ok_or_else(|| not_found(&format!("job {id}, or it was deleted by retention")))?;
    let subject = subject(&explained);
    let ExplainedJob { explanation, also, job, .. } = explained;
    let traces = traces(&mut conn, id).await?;

    let frame = visit.frame(format!("Job {id}"));
    let (stretches, left_out) = attempts::stretches(&job, frame.now());
    let shown = |json: &str| cut(indented(json));
    let args = shown(job.args.get());
    let is_whole = args.len() <= MAX_JSON_CHARS;
    let edits = (is_whole && job_args::can_be_edited(&job)).then(|| JobVersion::of(&job));
    let trace = traces.enqueued.as_deref().and_then(trace_id);
    let kept = visit.site.traces.as_ref().zip(trace.as_deref());
    Answer::page(&JobPage {
        frame,
        explanation,
        also,
        subject,
        stretches,
        left_out,
        ended: attempts::ended(&job.attempts),
        has_errors: job.attempts.iter().any(|attempt| attempt.error.is_some()),
        decisions: decisions(&job),
        is_trace_kept: kept.is_some_and(|(store, trace)| store.contains(trace)),
        trace,
        args,
        edits,
        checkpoint: job.checkpoint.as_ref().map(|json| shown(json.get())),
        output: job.output.as_ref().map(|json| shown(json.get())),
        can: Can::of(&job),
        job,
    })
}

/// The order or transaction that a job is about: its sort, its id, and its page.
fn subject(job: &ExplainedJob) -> Option<(&'static str, String, String)> {
    let order = job.order.as_ref().map(|order| ("Order", order.0.id.to_string(), "/ui/orders/"));
    let transaction = job.transaction.as_ref().map(|transaction| {
        ("Transaction", transaction.0.transaction_id.to_string(), "/ui/transactions/")
    });
    let (sort, id, folder) = order.or(transaction)?;
    let url = format!("{folder}{}", segment(&id));
    Some((sort, id, url))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_JSON_CHARS) {
        None => text,
        Some((end, _)) => format!("{}\n… cut here", &text[..end]),
    }
}

/// The trace of a `traceparent`.
fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Decisions and interventions, the latest first.
fn decisions(job: &JobDetails) -> Vec<Decision> {
    let resolutions = job.resolutions.iter().map(|resolved| Decision {
        at: resolved.resolved_at,
        deed: match resolved.resolution {
            ResolutionKind::Redriven => "Redriven".to_owned(),
            ResolutionKind::Dismissed => "Written off".to_owned(),
        },
        by: resolved.resolved_by.clone(),
        reason: resolved.reason.clone(),
    });
    let interventions = job.interventions.iter().map(|made| Decision {
        at: made.made_at,
        deed: words::capital(&made.action),
        by: made.made_by.clone(),
        reason: made.reason.clone(),
    });
    let mut all: Vec<Decision> = resolutions.chain(interventions).collect();
    all.sort_by_key(|decision| std::cmp::Reverse(decision.at));
    all
}

/// Makes it due, if it waits.
pub(in crate::pages) async fn run(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    change_it(&visit, JobAction::RunNow).await
}

/// Runs it again, if it is discarded.
pub(in crate::pages) async fn redrive(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    change_it(&visit, JobAction::Redrive).await
}

/// Writes it off, if it is discarded.
pub(in crate::pages) async fn write_off(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    change_it(&visit, JobAction::WriteOff).await
}

/// Cancels it.
pub(in crate::pages) async fn cancel(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    change_it(&visit, JobAction::Cancel).await
}

/// Discards it, for a later decision.
pub(in crate::pages) async fn discard(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    change_it(&visit, JobAction::Discard).await
}

async fn change_it(visit: &Visit, action: JobAction) -> Result<Answer, Refusal> {
    let id = JobId(visit.parsed("id")?);
    let actor = visit.actor()?;
    let mut conn = visit.connect().await?;
    let request = ChangeJobs { action, ids: &[id], mode: Mode::Commit };
    let results = change::change(&mut conn, request, &actor).await?;
    let outcome = results.first().map_or(Err(JobRefusal::NOT_FOUND), |result| result.outcome);
    let changed = outcome.map_err(|refusal| refused(id, refusal))?;
    visit.site.wake_workers().await;
    Ok(visit.done(format!("Job {id} {}.", in_words(changed))))
}

/// The refusal to do something with a job.
pub(super) fn refused(id: JobId, refusal: JobRefusal) -> Refusal {
    match refusal.class() {
        RefusalClass::NotFound => not_found(&format!("job {id}")),
        RefusalClass::MovedOn | RefusalClass::Forbidden => {
            let words = format!("Nothing was done with job {id}: {refusal}.");
            Problem::new(Code::UnacceptableValues).detail(words).into()
        }
    }
}

#[derive(Template)]
#[template(path = "revealed.html", config = "src/pages/askama.toml")]
struct RevealedPage {
    frame: Frame,
    id: JobId,
    kind: String,
    args: String,
}

/// Answers with the one page that shows the arguments as they are stored.
pub(in crate::pages) async fn reveal(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id = JobId(visit.parsed("id")?);
    let actor = visit.actor()?;
    let revealed = reveal::reveal(&mut *visit.connect().await?, id, &actor).await?;
    let revealed = revealed.map_err(|refusal| refused(id, refusal))?;
    let frame = visit.frame(format!("Arguments of job {id}"));
    let args = cut(indented(revealed.args.get()));
    Answer::page(&RevealedPage { frame, id, kind: revealed.kind, args })
}

fn in_words(change: JobChange) -> &'static str {
    match change {
        JobChange::DueNow => "is due now",
        JobChange::AlreadyDue => "was due already",
        JobChange::Redriven => "runs again. Discard takes this back, until a worker has it",
        JobChange::Cancelled => "is cancelled, and will not run again",
        JobChange::CancelRequested => "runs, and its worker was asked to stop it",
        JobChange::Discarded => "is discarded. Retry takes this back",
        JobChange::Edited => "has other arguments",
        JobChange::WrittenOff => "is written off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_from_what_looks_like_one_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(trace_id("00-<script>-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id(""), None);
    }
}
