//! The screen as cells of a terminal.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use time::OffsetDateTime;
use time::macros::format_description;

use super::screen::{Screen, View};
use super::snapshot::Snapshot;
use super::tables::{self, Column, cut, number, text};
use crate::cli::output::{in_one_line, span};
use crate::operations::failures::FailureView;
use crate::operations::overview::{Attention, Overview, Severity};
use crate::operations::queues::{COUNT_CAP, QueueView};
use crate::operations::workers::{WorkerState, WorkerView};
use crate::terminal;

/// Lines beside the view: title, views, trouble, and the keys at the foot.
const FRAME_LINES: u16 = 4;
const KEYS: &str = "q quit  1-4 view  p pause  r read now  ↑↓ move";

const QUEUES: [Column; 8] = [
    text("QUEUE"),
    number("WAITING"),
    number("OLDEST"),
    number("RUNNING"),
    number("RETRYING"),
    number("SCHEDULED"),
    number("BLOCKED"),
    text("PAUSED BY"),
];
const FAILURES: [Column; 6] =
    [text("STATE"), number("JOBS"), text("KIND"), text("QUEUE"), text("LAST"), text("ERROR")];
const WORKERS: [Column; 8] = [
    text("STATE"),
    text("HOST"),
    number("PID"),
    number("JOBS"),
    text("SEEN"),
    text("RUNS"),
    text("UP"),
    text("VERSION"),
];

/// A view: a line that stays, and lines to move in.
struct Body {
    header: Option<Line<'static>>,
    lines: Vec<Line<'static>>,
}

/// The number of lines to move in.
pub(super) fn lines(screen: &Screen) -> usize {
    body(screen, usize::from(u16::MAX)).lines.len()
}

/// The lines that all of it takes.
pub(super) fn height(screen: &Screen) -> u16 {
    let body = body(screen, usize::from(u16::MAX));
    let lines = body.lines.len() + usize::from(body.header.is_some());
    u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(FRAME_LINES)
}

/// Draws it into a terminal of any size.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let one = Constraint::Length(1);
    let rows = Layout::vertical([one, one, one, Constraint::Min(0), one]);
    let [title_row, views_row, trouble_row, body_row, keys_row] = rows.areas(frame.area());
    let columns = usize::from(frame.area().width);
    frame.render_widget(title(screen, columns), title_row);
    frame.render_widget(views(screen.view, columns), views_row);
    frame.render_widget(trouble(screen), trouble_row);
    let Body { header, lines } = body(screen, columns);
    let [header_row, lines_row] =
        Layout::vertical([Constraint::Length(u16::from(header.is_some())), Constraint::Min(0)])
            .areas(body_row);
    if let Some(header) = header {
        frame.render_widget(header, header_row);
    }
    let shown = lines.into_iter().skip(screen.top).take(lines_row.height.into());
    frame.render_widget(ratatui::text::Text::from_iter(shown), lines_row);
    frame.render_widget(Line::from(cut(KEYS, columns)).style(dim()), keys_row);
}

fn title(screen: &Screen, columns: usize) -> Line<'static> {
    let pace = match screen.is_paused {
        true => "paused".to_owned(),
        false => format!("every {}", humantime::format_duration(screen.interval)),
    };
    let Some(snapshot) = &screen.snapshot else { return Line::from("surety").bold() };
    let clock = format_description!("[hour]:[minute]:[second] UTC");
    let at = snapshot.overview.as_of.format(clock).unwrap_or_default();
    let said = format!("  {at}  {pace}  {}", in_one_line(&snapshot.database));
    Line::from(vec![Span::from("surety").bold(), Span::from(cut(&said, columns.saturating_sub(6)))])
}

fn views(shown: View, columns: usize) -> Line<'static> {
    let is_wide = columns > 45;
    let names = View::ALL.iter().enumerate().map(|(place, view)| {
        let name = if is_wide || *view == shown { view.name() } else { "" };
        let label = format!("{} {name}", place + 1);
        match *view == shown {
            true => Span::from(format!("[{}]", label.trim_end())).bold(),
            false => Span::from(format!(" {} ", label.trim_end())),
        }
    });
    Line::from_iter(names)
}

fn trouble(screen: &Screen) -> Line<'static> {
    let waiting = Line::from("reading").style(dim());
    match (&screen.trouble, &screen.snapshot) {
        (None, Some(_)) => Line::default(),
        (None, None) => waiting,
        (Some((reason, since)), shown) => {
            let away = span((Instant::now() - *since).as_secs_f64());
            let still = if shown.is_some() { "; shown is what it was before" } else { "" };
            Line::from(format!("the database is away for {away}: {reason}{still}"))
                .style(colored(Color::Red).add_modifier(Modifier::BOLD))
        }
    }
}

fn body(screen: &Screen, columns: usize) -> Body {
    let Some(snapshot) = &screen.snapshot else { return Body { header: None, lines: Vec::new() } };
    match screen.view {
        View::Overview => Body { header: None, lines: overview(&snapshot.overview, columns) },
        View::Queues => list(&QUEUES, queues(&snapshot.overview), columns, "no queue has a job"),
        View::Failures => list(&FAILURES, failures(snapshot), columns, "nothing fails"),
        View::Workers => {
            let none = "no worker was seen within the last day: start one with 'app work'";
            list(&WORKERS, workers(snapshot), columns, none)
        }
    }
}

fn list(
    columns: &[Column],
    rows: Vec<(Vec<String>, Style)>,
    width: usize,
    none: &'static str,
) -> Body {
    if rows.is_empty() {
        return Body { header: None, lines: vec![Line::from(none).style(dim())] };
    }
    let (header, lines) = tables::lines(columns, &rows, width);
    Body { header: Some(header), lines }
}

fn overview(overview: &Overview, columns: usize) -> Vec<Line<'static>> {
    let mut lines = attention(overview, columns);
    lines.push(Line::default());
    let figures = figures(overview);
    lines.extend(figures.into_iter().map(|(name, said)| {
        let said = cut(&in_one_line(&said), columns.saturating_sub(10));
        Line::from(vec![Span::from(format!("{name:<10}")).bold(), Span::from(said)])
    }));
    lines.push(Line::default());
    let (header, queues) = tables::lines(&QUEUES, &queues(overview), columns);
    if !queues.is_empty() {
        lines.push(header);
    }
    lines.extend(queues);
    lines
}

/// Whatever needs a person, the worst first.
fn attention(overview: &Overview, columns: usize) -> Vec<Line<'static>> {
    if overview.needs_attention.is_empty() {
        return vec![Line::from("Nothing needs a person.").style(colored(Color::Green))];
    }
    let line = |it: &Attention| {
        let (word, color) = match it.severity {
            Severity::Fail => ("FAIL", Color::Red),
            Severity::Warn => ("warn", Color::Yellow),
            Severity::Note => ("note", Color::Reset),
        };
        let said = format!("{}. {}", in_one_line(&it.title), in_one_line(&it.detail));
        let said = cut(&said, columns.saturating_sub(6));
        Line::from(vec![Span::styled(format!("{word}  "), colored(color)), Span::from(said)])
    };
    overview.needs_attention.iter().map(line).collect()
}

/// The figures by name, as one line each.
fn figures(overview: &Overview) -> Vec<(&'static str, String)> {
    let Overview { pace, jobs, workers, bank, as_of, .. } = overview;
    let more = if jobs.is_more { "+" } else { "" };
    let ago = |at: OffsetDateTime| span((*as_of - at).as_seconds_f64());
    let oldest = jobs.oldest_due.map_or("nothing waits".to_owned(), |due| {
        let queue = jobs.oldest_due_queue.as_deref().unwrap_or_default();
        format!("the oldest for {} ({queue})", ago(due))
    });
    let capped = |count: i64, is_more: bool| format!("{count}{}", if is_more { "+" } else { "" });
    let dead = capped(overview.dead_letters.jobs, overview.dead_letters.is_more);
    let conflicts = capped(overview.conflicts.bodies, overview.conflicts.is_more);
    let breaker = match bank.opened_at {
        None => "answers".to_owned(),
        Some(at) => format!("its circuit breaker is {} since {}", bank.breaker, ago(at)),
    };
    let ledger = match &overview.ledger {
        None => "never verified: app verify".to_owned(),
        Some(last) if last.ok => format!("every guarantee held {} ago", ago(last.at)),
        Some(last) => format!("{} rows break a guarantee, {} ago", last.violations, ago(last.at)),
    };
    let sources = overview.sources.iter().map(|it| match it.last_at {
        Some(_) => format!("{}: last {} ago", it.source, span(it.silent_secs)),
        None => format!("{}: none yet", it.source),
    });
    let sources: Vec<String> = sources.collect();
    vec![
        (
            "money",
            format!(
                "{:.1}/min accepted  {:.1}/min settled  {:.1}/min failed",
                // A sum of nothing is -0.0.
                pace.accepted_per_minute + 0.0,
                pace.settled_per_minute + 0.0,
                pace.failed_per_minute + 0.0,
            ),
        ),
        (
            "jobs",
            format!(
                "{}{more} waiting, {oldest}  {} running  {} retrying  {} scheduled",
                jobs.waiting, jobs.running, jobs.retryable, jobs.scheduled
            ),
        ),
        ("decide", format!("{dead} dead letters  {conflicts} conflicts")),
        (
            "workers",
            format!(
                "{} working  {} draining  {} lost  {} of {} slots  version {}",
                workers.working,
                workers.draining,
                workers.lost,
                workers.running,
                workers.slots,
                workers.versions.join(", ")
            ),
        ),
        ("bank", breaker),
        ("ledger", ledger),
        ("sources", if sources.is_empty() { "none yet".to_owned() } else { sources.join("  ") }),
    ]
}

fn queues(overview: &Overview) -> Vec<(Vec<String>, Style)> {
    let row = |queue: &QueueView| {
        let oldest = queue.oldest_due.map(|due| span((overview.as_of - due).as_seconds_f64()));
        let paused = queue.pause.as_ref().or(overview.pause_of_all.as_ref());
        let style = match paused.is_some() || queue.blocked_keys > 0 {
            true => colored(Color::Yellow),
            false => Style::new(),
        };
        let cells = vec![
            queue.queue.clone(),
            counted(queue.available),
            oldest.unwrap_or_else(|| "-".to_owned()),
            counted(queue.running),
            counted(queue.retryable),
            counted(queue.scheduled),
            queue.blocked_keys.to_string(),
            paused.map_or_else(|| "-".to_owned(), |pause| pause.paused_by.clone()),
        ];
        (cells, style)
    };
    overview.queues.iter().map(row).collect()
}

/// Jobs that failed in the same way, the latest failure first.
fn failures(snapshot: &Snapshot) -> Vec<(Vec<String>, Style)> {
    let now = snapshot.overview.as_of;
    let row = |failure: &FailureView| {
        let more = if failure.jobs_capped { "+" } else { "" };
        let cells = vec![
            format!("{}{more}", failure.jobs),
            failure.kind.clone(),
            format!("{} ago", span((now - failure.last_at).as_seconds_f64())),
            failure.waiting.to_string(),
            failure.discarded.to_string(),
            failure.error.clone(),
        ];
        let color = if failure.discarded > 0 { Color::Red } else { Color::Yellow };
        (cells, colored(color))
    };
    snapshot.failures.iter().map(row).collect()
}

fn workers(snapshot: &Snapshot) -> Vec<(Vec<String>, Style)> {
    let now = snapshot.workers.as_of;
    let since = |at: OffsetDateTime| span((now - at).as_seconds_f64());
    let row = |WorkerView { worker, jobs }: &WorkerView| {
        let (state, style) = match worker.state {
            WorkerState::Working => ("working", Style::new()),
            WorkerState::Draining => ("draining", colored(Color::Yellow)),
            WorkerState::Lost => ("lost", colored(Color::Red)),
        };
        let more = if jobs.len() > 1 { format!(" +{}", jobs.len() - 1) } else { String::new() };
        let runs = jobs.first().map(|job| format!("{} {}{more}", job.kind, since(job.started_at)));
        let cells = vec![
            state.to_owned(),
            worker.host.clone(),
            worker.pid.to_string(),
            format!("{}/{}", worker.running, worker.slots),
            format!("{} ago", since(worker.last_seen_at)),
            runs.unwrap_or_else(|| "-".to_owned()),
            since(worker.started_at),
            worker.version.clone(),
        ];
        (cells, style)
    };
    // Those that were seen last come first.
    snapshot.workers.workers.iter().rev().map(row).collect()
}

/// A count, marked where it stopped at the cap.
fn counted(count: i64) -> String {
    if count >= COUNT_CAP { format!("{COUNT_CAP}+") } else { count.to_string() }
}

/// A colour, where colours are welcome; nothing is told by it alone.
fn colored(color: Color) -> Style {
    if terminal::is_colored() { Style::new().fg(color) } else { Style::new() }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
