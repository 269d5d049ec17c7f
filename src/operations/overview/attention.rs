//! Whatever needs a person, in words.

use serde::Serialize;
use time::Duration;

use super::{Overview, SourceFigures};
use crate::operations::queues::QueueView;
use crate::operations::schedules::ScheduleStatus;
use crate::operations::span;
use crate::queue::operate::failing::FailingKind;
use crate::queue::operate::queues::Pause;

/// A due job that waits for longer than this is worth a look; ten times as long is a failure.
const MAX_WAIT: Duration = Duration::MINUTE;

/// A ledger that was not verified for longer than this is worth a note.
const VERIFY_EVERY: Duration = Duration::DAY;

/// The failing kinds and queues that are told each by itself.
const TOLD_EACH: usize = 5;

/// The most characters of an error that are told.
const MAX_ERROR_CHARS: usize = 200;

/// Something that needs a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Attention {
    /// The severity.
    pub severity: Severity,
    /// The matter in a few words.
    pub title: String,
    /// More about it, in a sentence or two.
    pub detail: String,
    /// The thing that it is about, to be looked at next.
    pub subject: AttentionSubject,
}

/// The severity of what needs a person, from the worst on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something is lost, stands still, or soon will.
    Fail,
    /// Works, but somebody should look.
    Warn,
    /// Worth to know, and nothing is wrong.
    Note,
}

/// The thing that needs a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AttentionSubject {
    /// The sort of thing.
    pub kind: SubjectKind,
    /// Its name among those of its sort; null for all of them.
    pub id: Option<String>,
}

/// The sorts of things that need a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A queue by name, or all of them.
    Queue,
    /// A kind of job by name.
    JobKind,
    /// The dead letters.
    DeadLetters,
    /// The workers.
    Workers,
    /// The transactions that came again with other content.
    Conflicts,
    /// A source of webhooks by name.
    Source,
    /// The bank.
    Bank,
    /// The ledger.
    Ledger,
    /// A schedule by name.
    Schedule,
}

impl SubjectKind {
    fn all(self) -> AttentionSubject {
        AttentionSubject { kind: self, id: None }
    }

    fn named(self, id: &str) -> AttentionSubject {
        AttentionSubject { kind: self, id: Some(id.to_owned()) }
    }
}

/// Whatever of the overview needs a person, the worst first.
pub(super) fn of(overview: &Overview, late_schedules: &[ScheduleStatus]) -> Vec<Attention> {
    let mut all = Vec::new();
    all.extend(of_ledger(overview));
    all.extend(of_workers(overview));
    all.extend(of_oldest_due(overview));
    all.extend(of_bank(overview));
    all.extend(overview.failing.iter().take(TOLD_EACH).map(of_failing));
    all.extend(of_dead_letters(overview));
    all.extend(of_conflicts(overview));
    all.extend(overview.sources.iter().filter(|source| source.is_silent).map(of_silent));
    all.extend(of_pauses(overview));
    all.extend(overview.queues.iter().filter(|queue| queue.blocked_keys > 0).map(of_blocked));
    all.extend(late_schedules.iter().take(TOLD_EACH).map(of_late));
    // Stable: within a severity they stay in this order.
    all.sort_by_key(|attention| attention.severity);
    all
}

fn told(
    severity: Severity,
    title: impl Into<String>,
    detail: impl Into<String>,
    subject: AttentionSubject,
) -> Attention {
    Attention { severity, title: title.into(), detail: detail.into(), subject }
}

fn of_ledger(overview: &Overview) -> Option<Attention> {
    let subject = SubjectKind::Ledger.all();
    let Some(last) = &overview.ledger else {
        let detail = "Nobody has checked yet that nothing was lost and no money made.";
        return Some(told(Severity::Note, "The ledger was never verified", detail, subject));
    };
    let age = overview.as_of - last.at;
    let ago = span(age.as_seconds_f64());
    if !last.ok {
        let rows = last.violations;
        let detail = format!("{rows} rows break a guarantee, as was found {ago} ago.");
        return Some(told(Severity::Fail, "A guarantee is broken", detail, subject));
    }
    (age > VERIFY_EVERY).then(|| {
        let detail = format!("Every guarantee held {ago} ago.");
        told(Severity::Note, "The ledger was not verified lately", detail, subject)
    })
}

fn of_workers(overview: &Overview) -> Vec<Attention> {
    let mut all = Vec::new();
    let (workers, jobs) = (&overview.workers, &overview.jobs);
    if workers.working == 0 {
        let severity = if jobs.waiting > 0 { Severity::Fail } else { Severity::Warn };
        let more = if jobs.is_more { " or more" } else { "" };
        let detail = format!("{}{more} jobs are due, and nobody runs them.", jobs.waiting);
        all.push(told(severity, "No worker works", detail, SubjectKind::Workers.all()));
    }
    if workers.lost > 0 {
        let title = match workers.lost {
            1 => "A worker was lost".to_owned(),
            many => format!("{many} workers were lost"),
        };
        let detail = "Within the last hour, without an end of its own: killed, or cut off. Others \
                      take its jobs back.";
        all.push(told(Severity::Warn, title, detail, SubjectKind::Workers.all()));
    }
    all
}

fn of_oldest_due(overview: &Overview) -> Option<Attention> {
    let (due, queue) = overview.jobs.oldest_due.zip(overview.jobs.oldest_due_queue.as_deref())?;
    let waited = overview.as_of - due;
    let severity = match waited {
        waited if waited > MAX_WAIT * 10 => Severity::Fail,
        waited if waited > MAX_WAIT => Severity::Warn,
        _ => return None,
    };
    let waited = span(waited.as_seconds_f64());
    let detail = format!("The oldest due job of queue {queue} has waited {waited}.");
    Some(told(severity, format!("Queue {queue} is late"), detail, SubjectKind::Queue.named(queue)))
}

fn of_bank(overview: &Overview) -> Option<Attention> {
    let opened_at = overview.bank.opened_at?;
    let since = span((overview.as_of - opened_at).as_seconds_f64());
    let detail = format!(
        "Its circuit breaker is {} since {since}, after {} failures in a row. Deposits and \
         withdrawals are taken and wait; that costs them no attempt.",
        overview.bank.breaker.replace('_', "-"),
        overview.bank.failures,
    );
    Some(told(Severity::Warn, "The bank does not answer", detail, SubjectKind::Bank.all()))
}

fn of_failing(failing: &FailingKind) -> Attention {
    let FailingKind { queue, kind, jobs, .. } = failing;
    let error = failing.error.as_deref().map(cut).map(|it| format!("; one of them: {it}"));
    let detail = format!(
        "Jobs of queue {queue} that wait to be tried again: {jobs}{}.",
        error.unwrap_or_default()
    );
    told(Severity::Warn, format!("{kind} fails"), detail, SubjectKind::JobKind.named(kind))
}

/// The first line of an error, as far as it fits.
fn cut(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn of_dead_letters(overview: &Overview) -> Option<Attention> {
    let open = &overview.dead_letters;
    let oldest_at = open.oldest_at?;
    let more = if open.is_more { " or more" } else { "" };
    let title = match open.jobs {
        1 => "1 dead letter waits for a decision".to_owned(),
        many => format!("{many}{more} dead letters wait for a decision"),
    };
    let since = span((overview.as_of - oldest_at).as_seconds_f64());
    let detail =
        format!("The first was given up {since} ago. They are kept until somebody decides.");
    Some(told(Severity::Warn, title, detail, SubjectKind::DeadLetters.all()))
}

fn of_conflicts(overview: &Overview) -> Option<Attention> {
    let conflicts = &overview.conflicts;
    let newest_at = conflicts.newest_at?;
    let more = if conflicts.is_more { " or more" } else { "" };
    let title = match conflicts.bodies {
        1 => "1 transaction came again with other content".to_owned(),
        many => format!("{many}{more} transactions came again with other content"),
    };
    let since = span((overview.as_of - newest_at).as_seconds_f64());
    let detail = format!("Ours are kept, and both bodies; the newest came {since} ago.");
    Some(told(Severity::Warn, title, detail, SubjectKind::Conflicts.all()))
}

fn of_silent(source: &SourceFigures) -> Attention {
    let usual = source.usual_gap_secs.map(|gap| format!(" Usually {} pass.", span(gap)));
    let title = format!("Source {} is silent for {}", source.source, span(source.silent_secs));
    let detail = format!("No transaction has come since.{}", usual.unwrap_or_default());
    told(Severity::Warn, title, detail, SubjectKind::Source.named(&source.source))
}

fn of_pauses(overview: &Overview) -> Vec<Attention> {
    let reason = |pause: &Pause| {
        let since = span((overview.as_of - pause.paused_at).as_seconds_f64());
        format!("Paused for {since} by {}: {}", pause.paused_by, pause.reason)
    };
    if let Some(pause) = &overview.pause_of_all {
        let subject = SubjectKind::Queue.all();
        return vec![told(Severity::Warn, "All queues are paused", reason(pause), subject)];
    }
    let paused = overview.queues.iter().filter_map(|queue| Some((queue, queue.pause.as_ref()?)));
    let one = |(queue, pause): (&QueueView, &Pause)| {
        let title = format!("Queue {} is paused", queue.queue);
        told(Severity::Warn, title, reason(pause), SubjectKind::Queue.named(&queue.queue))
    };
    paused.take(TOLD_EACH).map(one).collect()
}

fn of_blocked(queue: &QueueView) -> Attention {
    let QueueView { queue, blocked_keys, .. } = queue;
    let detail = format!("Blocked keys: {blocked_keys}. The jobs at their heads need a decision.");
    let title = format!("Queue {queue} has blocked keys");
    told(Severity::Warn, title, detail, SubjectKind::Queue.named(queue))
}

fn of_late(schedule: &ScheduleStatus) -> Attention {
    let name = &schedule.name;
    let late = schedule.next_tick_at.map(|next| schedule.as_of - next).unwrap_or_default();
    let detail = format!("Its tick is due since {}.", span(late.as_seconds_f64()));
    told(
        Severity::Warn,
        format!("Schedule {name} is late"),
        detail,
        SubjectKind::Schedule.named(name),
    )
}
