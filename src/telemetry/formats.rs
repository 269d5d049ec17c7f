//! The looks of a log line: JSON for programs, aligned text for people, and the short lines of `app
//! dev`.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::Level;

use super::logs::{FieldValue, LogLine};
use crate::http::edge::trace::REQUEST_ENDED;
use crate::queue::telemetry::JOB_ENDED;

/// RFC 3339, always with six decimals, so that lines sort as text.
const RFC_3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
const CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");

/// Keys that a line has by itself: a field of such a name is written with `field_` before it.
const OWN_KEYS: [&str; 5] = ["timestamp", "level", "target", "trace_id", "span_id"];

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFormat {
    Json,
    Pretty { colored: bool },
    Console { colored: bool },
}

impl LineFormat {
    /// Appends the line to `out`, without its end. Writing to memory cannot fail, hence the results
    /// that are ignored.
    pub(super) fn render(self, line: &LogLine<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json(line, out),
            Self::Pretty { colored } => out.extend_from_slice(pretty(line, colored).as_bytes()),
            Self::Console { colored } => out.extend_from_slice(console(line, colored).as_bytes()),
        }
    }
}

fn json(line: &LogLine<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"timestamp":""#);
    let _ = line.time.format_into(out, RFC_3339);
    let _ = write!(out, r#"","level":"{}","message":"#, line.metadata.level());
    json_value(out, line.fields.get("message").unwrap_or(&FieldValue::Text(String::new())));
    out.extend_from_slice(br#","target":"#);
    let _ = serde_json::to_writer(&mut *out, line.metadata.target());
    if line.span_context.is_valid() {
        let _ = write!(out, r#","trace_id":"{}""#, line.span_context.trace_id());
        // A remote span is somebody else's: nothing happened in it here.
        if !line.span_context.is_remote() {
            let _ = write!(out, r#","span_id":"{}""#, line.span_context.span_id());
        }
    }
    for (name, value) in line.fields.0.iter().filter(|(name, _)| *name != "message") {
        let prefix = if OWN_KEYS.contains(name) { "field_" } else { "" };
        let _ = write!(out, r#","{prefix}{name}":"#);
        json_value(out, value);
    }
    out.push(b'}');
}

fn json_value(out: &mut Vec<u8>, value: &FieldValue) {
    let _ = match value {
        FieldValue::Bool(value) => serde_json::to_writer(out, value),
        FieldValue::Signed(value) => serde_json::to_writer(out, value),
        FieldValue::Unsigned(value) => serde_json::to_writer(out, value),
        FieldValue::Float(value) => serde_json::to_writer(out, value),
        FieldValue::Text(value) => serde_json::to_writer(out, value),
    };
}

fn pretty(line: &LogLine<'_>, colored: bool) -> String {
    let mut out = String::with_capacity(160);
    let time = line.time.format(RFC_3339).unwrap_or_default();
    let level = Colored { text: &format!("{:>5}", line.metadata.level()), line, colored };
    let _ = write!(out, "{time} {level} {}", Escaped(&line.text("message")));
    write_fields(&mut out, line);
    out
}

/// `12:04:31  webhook  txn_abc  1500.00 INR  202 in 4 ms` and `12:04:31  job 1
/// settle_transaction  attempt 1  done in 6 ms`.
fn console(line: &LogLine<'_>, colored: bool) -> String {
    let mut out = String::with_capacity(120);
    let _ = write!(out, "{}  ", clock(line.time));
    let (subject, story) = match line.metadata.name() {
        REQUEST_ENDED => request_story(line),
        JOB_ENDED => job_story(line),
        _ => {
            let mut story = Escaped(&line.text("message")).to_string();
            write_fields(&mut story, line);
            (line.metadata.level().as_str().to_lowercase(), story)
        }
    };
    let subject = Colored { text: &format!("{subject:<7}"), line, colored };
    let _ = write!(out, "{subject}  {story}");
    out
}

fn request_story(line: &LogLine<'_>) -> (String, String) {
    let duration = line.duration("duration_ms");
    let answer = match line.fields.get("status") {
        Some(_) => format!("{} in {duration}", line.text("status")),
        None => format!("no answer: {}", line.text("message")),
    };
    if line.fields.get("transaction_id").is_none() {
        let path = line.text("path");
        return (line.text("method"), format!("{}  {answer}", Escaped(&path)));
    }
    let outcome = line.text("outcome");
    // That it was accepted, the status says.
    let outcome = if outcome == "accepted" { String::new() } else { format!("  {outcome}") };
    let (transaction_id, amount) = (line.text("transaction_id"), line.text("amount"));
    let story = format!("{}  {}  {answer}{outcome}", Escaped(&transaction_id), Escaped(&amount));
    ("webhook".to_owned(), story)
}

fn job_story(line: &LogLine<'_>) -> (String, String) {
    let error = line.text("error");
    let end = match line.text("outcome").as_str() {
        "completed" => format!("done in {}", line.duration("duration_ms")),
        "retried" => format!("failed: {}  retry in {}", Escaped(&error), line.duration("delay_ms")),
        "discarded" => format!("failed: {}  discarded", Escaped(&error)),
        "snoozed" => format!("snoozed for {}", line.duration("delay_ms")),
        other => other.replace('_', " "),
    };
    let kind = line.text("kind");
    let story = format!("{}  attempt {}  {end}", Escaped(&kind), line.text("attempt"));
    (format!("job {}", line.text("job_id")), story)
}

fn write_fields(out: &mut String, line: &LogLine<'_>) {
    for (name, value) in line.fields.0.iter().filter(|(name, _)| *name != "message") {
        let _ = write!(out, "  {name}={}", Escaped(&value.to_string()));
    }
}

impl LogLine<'_> {
    fn text(&self, name: &str) -> String {
        self.fields.get(name).map(FieldValue::to_string).unwrap_or_default()
    }

    /// Milliseconds as people say them.
    fn duration(&self, name: &str) -> String {
        let millis = match self.fields.get(name) {
            Some(FieldValue::Float(millis)) => *millis,
            _ => return "?".to_owned(),
        };
        match millis {
            ..1.0 => format!("{millis:.1} ms"),
            ..1000.0 => format!("{millis:.0} ms"),
            ..60_000.0 => format!("{:.1} s", millis / 1000.0),
            _ => format!("{:.0} min", millis / 60_000.0),
        }
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// Text that may come from outside, without what a terminal would take for commands.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            control if control.is_control() => write!(f, "{}", control.escape_default()),
            character => f.write_char(character),
        })
    }
}

/// Text in the colour of the line's level.
struct Colored<'a> {
    text: &'a str,
    line: &'a LogLine<'a>,
    colored: bool,
}

impl fmt::Display for Colored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.colored {
            return f.write_str(self.text);
        }
        let color = match *self.line.metadata.level() {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG | Level::TRACE => 2,
        };
        write!(f, "\u{1b}[{color}m{}\u{1b}[0m", self.text)
    }
}

/// The time on the wall of whoever looks at `app dev`.
fn clock(time: OffsetDateTime) -> String {
    time.to_offset(local_offset(time)).format(CLOCK).unwrap_or_default()
}

#[cfg(unix)]
fn local_offset(time: OffsetDateTime) -> time::UtcOffset {
    let seconds = time.unix_timestamp();
    // SAFETY: `tm` is plain data that may be all zeroes, and both pointers are to live values of
    // this frame. The function reads TZ, which no code of this process writes.
    let offset_secs = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut local);
        local.tm_gmtoff
    };
    let offset_secs = i32::try_from(offset_secs).unwrap_or_default();
    time::UtcOffset::from_whole_seconds(offset_secs).unwrap_or(time::UtcOffset::UTC)
}

#[cfg(not(unix))]
fn local_offset(_time: OffsetDateTime) -> time::UtcOffset {
    time::UtcOffset::UTC
}
