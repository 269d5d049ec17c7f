//! Writes one line on stderr for each `tracing` event.
//!
//! A line says what its event says and what the enclosing spans say, the inner ones first where
//! both have a field of the same name. Trace and span ids come from the OpenTelemetry context,
//! which is there also when nothing is exported.

use std::cell::RefCell;
use std::fmt;

use opentelemetry::Context as TraceContext;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::formats::LineFormat;
use crate::terminal::footer::{self, Stream};

/// A thread's buffer is given back when a line has made it larger than this.
const MAX_KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// The most characters of a statement that are logged: enough to find it by.
const MAX_STATEMENT_CHARS: usize = 500;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The content of a line.
pub(super) struct LogLine<'a> {
    pub(super) time: OffsetDateTime,
    pub(super) metadata: &'a Metadata<'a>,
    /// The span that the event happened in, invalid outside of any trace.
    pub(super) span_context: SpanContext,
    /// The event's own fields, then those of its spans from the innermost out; no name twice.
    /// `message` is among them.
    pub(super) fields: LineFields,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// Fields in the order in which they were recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct LineFields(pub(super) Vec<(&'static str, FieldValue)>);

impl LineFields {
    pub(super) fn get(&self, name: &str) -> Option<&FieldValue> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: FieldValue) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Some libraries have a field of their own for what others put into the message: OpenTelemetry
    /// `name`, sqlx `summary`.
    fn find_a_message(&mut self) {
        if self.get("message").is_some_and(|message| *message != FieldValue::Text(String::new())) {
            return;
        }
        self.0.retain(|(name, _)| *name != "message");
        if let Some((name, _)) =
            self.0.iter_mut().find(|(name, _)| ["name", "summary"].contains(name))
        {
            *name = "message";
        }
    }

    fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if self.get(name).is_none() {
                self.0.push((name, value.clone()));
            }
        }
    }
}

impl Visit for LineFields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), FieldValue::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), FieldValue::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), FieldValue::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), FieldValue::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), FieldValue::Text(abridged(field.name(), value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), FieldValue::Text(abridged(field.name(), &format!("{value:?}"))));
    }
}

/// The text of a field: of a statement, which may be a whole migration, only the beginning.
fn abridged(name: &str, text: &str) -> String {
    match text.char_indices().nth(MAX_STATEMENT_CHARS) {
        Some((end, _)) if name == "db.statement" => {
            format!("{}… ({} bytes)", &text[..end], text.len())
        }
        _ => text.to_owned(),
    }
}

/// The layer that writes the lines.
pub(super) struct LogLayer {
    look: LineFormat,
    /// Takes each line, its end included.
    out: fn(&[u8]),
}

impl LogLayer {
    pub(super) fn to_stderr(look: LineFormat) -> Self {
        // With nowhere to write to there is nobody to tell either. The lock makes each line one
        // piece.
        Self { look, out: |line| drop(footer::write(Stream::Error, line)) }
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = LineFields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<LineFields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut fields = LineFields::default();
        event.record(&mut fields);
        fields.find_a_message();
        for span in cx.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<LineFields>() {
                fields.add_missing(outer);
            }
        }
        let span_context = TraceContext::map_current(|cx| cx.span().span_context().clone());
        let line = LogLine {
            time: OffsetDateTime::now_utc(),
            metadata: event.metadata(),
            span_context,
            fields,
        };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            self.look.render(&line, buffer);
            buffer.push(b'\n');
            (self.out)(buffer);
            if buffer.capacity() > MAX_KEPT_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use serde_json::Value as Json;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::http::edge::trace::{LOG_TARGET as HTTP, REQUEST_ENDED};
    use crate::queue::JobId;
    use crate::queue::telemetry::{Ending, Failure, LOG_CONTEXT_TARGET, ProcessSpan, Run};
    use crate::telemetry::log_filter;

    const CONSOLE: LineFormat = LineFormat::Console { colored: false };

    thread_local! {
        static WRITTEN: RefCell<String> = const { RefCell::new(String::new()) };
    }

    /// The lines that `events` write.
    fn lines(look: LineFormat, directives: &str, events: impl FnOnce()) -> Vec<String> {
        let capture = |line: &[u8]| {
            let line = str::from_utf8(line).expect("a line is UTF-8");
            WRITTEN.with_borrow_mut(|written| written.push_str(line));
        };
        let layer = LogLayer { look, out: capture };
        let filter = log_filter::parse(directives).expect("the filter is valid");
        tracing::subscriber::with_default(
            Registry::default().with(layer.with_filter(filter)),
            events,
        );
        WRITTEN.take().lines().map(str::to_owned).collect()
    }

    fn json_line(events: impl FnOnce()) -> Json {
        let written = lines(LineFormat::Json, "info", events);
        assert_eq!(written.len(), 1, "{written:?}");
        serde_json::from_str(&written[0]).expect("a line is a JSON object")
    }

    /// The line without its time.
    fn console_line(events: impl FnOnce()) -> String {
        let written = lines(CONSOLE, "info", events);
        assert_eq!(written.len(), 1, "{written:?}");
        let (time, story) = written[0].split_once("  ").expect("the time comes first");
        assert_eq!(time.len(), "12:04:31".len(), "{time}");
        story.to_owned()
    }

    fn enter(is_remote: bool) -> opentelemetry::ContextGuard {
        let span_context = SpanContext::new(
            TraceId::from(0xabc),
            SpanId::from(0xdef),
            TraceFlags::SAMPLED,
            is_remote,
            TraceState::NONE,
        );
        TraceContext::new().with_remote_span_context(span_context).attach()
    }

    #[test]
    fn a_json_line_has_what_its_event_and_its_spans_say() {
        let line = json_line(|| {
            let _outer = tracing::info_span!("outer", request_id = "r-1", attempt = 1).entered();
            let _inner = tracing::info_span!("inner", attempt = 2, ratio = 0.5).entered();
            tracing::warn!(target: "a::target", ok = false, count = 7_u64, "seven of them");
        });

        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "seven of them");
        assert_eq!(line["target"], "a::target");
        assert_eq!(line["ok"], false);
        assert_eq!(line["count"], 7);
        assert_eq!(line["request_id"], "r-1");
        assert_eq!(line["attempt"], 2, "the inner span wins");
        assert_eq!(line["ratio"], 0.5);
        assert_eq!(line.get("trace_id"), None);
        let timestamp = line["timestamp"].as_str().expect("there is a time");
        time::OffsetDateTime::parse(timestamp, &time::format_description::well_known::Rfc3339)
            .expect("the time is RFC 3339");
    }

    #[test]
    fn of_a_statement_only_the_beginning_is_logged() {
        let migration = "create table éé ();\n".repeat(1_000);
        let line = json_line(|| {
            tracing::warn!(db.statement = migration, other = migration, summary = "create table");
        });
        let shown = line["db.statement"].as_str().expect("it is text");
        assert!(shown.starts_with("create table éé") && shown.chars().count() < 530, "{shown}");
        assert!(shown.ends_with("(22000 bytes)"), "{shown}");
        assert_eq!(line["other"].as_str().map(str::len), Some(22_000));
    }

    #[test]
    fn fields_recorded_late_are_on_the_lines_that_follow() {
        let line = json_line(|| {
            let span = tracing::info_span!("span", outcome = tracing::field::Empty).entered();
            span.record("outcome", "duplicate");
            tracing::info!("answered");
        });
        assert_eq!(line["outcome"], "duplicate");
    }

    #[test]
    fn a_line_in_a_trace_has_its_ids() {
        let line = json_line(|| {
            let _entered = enter(false);
            tracing::info!("inside");
        });
        assert_eq!(line["trace_id"], "00000000000000000000000000000abc");
        assert_eq!(line["span_id"], "0000000000000def");
    }

    #[test]
    fn a_callers_span_is_not_given_as_ours() {
        let line = json_line(|| {
            let _entered = enter(true);
            tracing::info!("inside");
        });
        assert_eq!(line["trace_id"], "00000000000000000000000000000abc");
        assert_eq!(line.get("span_id"), None);
    }

    #[test]
    fn whatever_is_logged_it_is_one_line_of_json() {
        let hostile = "a \"quote\",\n a new line, \u{1b}[31m, \u{0}, \\, \u{2028} and 💶";
        let line = json_line(|| {
            tracing::info!(hostile, level = 9, trace_id = "mine", debug = ?hostile, "{hostile}");
        });
        assert_eq!(line["message"], hostile);
        assert_eq!(line["hostile"], hostile);
        assert_eq!(line["level"], "INFO", "a field cannot pass for a part of the line");
        assert_eq!(line["field_level"], 9);
        assert_eq!(line["field_trace_id"], "mine");
    }

    #[test]
    fn a_filter_does_not_take_the_ids_from_the_lines_that_it_lets_through() {
        let events = || {
            let _request =
                tracing::error_span!(target: LOG_CONTEXT_TARGET, "request", request_id = "r")
                    .entered();
            tracing::info!(target: "surety::payments", "not wanted");
            tracing::warn!(target: "surety::payments", "wanted");
        };
        for directives in ["warn", "surety::payments=warn", "off,surety::payments=warn"] {
            let written = lines(LineFormat::Json, directives, events);
            assert_eq!(written.len(), 1, "{directives}: {written:?}");
            assert!(written[0].contains(r#""request_id":"r""#), "{directives}: {}", written[0]);
        }
    }

    #[test]
    fn the_console_tells_a_webhook_in_one_line() {
        let webhook = |outcome: &'static str, status: u16| {
            console_line(|| {
                tracing::info!(
                    name: REQUEST_ENDED, target: HTTP, method = "POST", path = "/v1/webhooks/x",
                    status, duration_ms = 4.31, transaction_id = "txn_abc", amount = "1500.00 INR",
                    outcome, request_id = "r", "POST /v1/webhooks/transactions was answered",
                );
            })
        };
        assert_eq!(webhook("accepted", 202), "webhook  txn_abc  1500.00 INR  202 in 4 ms");
        assert_eq!(
            webhook("duplicate", 202),
            "webhook  txn_abc  1500.00 INR  202 in 4 ms  duplicate"
        );
        assert_eq!(
            webhook("conflict", 409),
            "webhook  txn_abc  1500.00 INR  409 in 4 ms  conflict"
        );
    }

    #[test]
    fn the_console_tells_any_other_request_in_one_line() {
        let line = console_line(|| {
            tracing::info!(
                name: REQUEST_ENDED, target: HTTP,
                method = "GET", path = "/v1/transactions/txn_abc",
                status = 200_u16, duration_ms = 0.42, "GET was answered",
            );
        });
        assert_eq!(line, "GET      /v1/transactions/txn_abc  200 in 0.4 ms");
    }

    #[test]
    fn the_console_tells_a_job_in_one_line() {
        let run = Run {
            job_id: JobId(1),
            queue: "default",
            kind: "settle_transaction",
            attempt: 1,
            max_attempts: 10,
            worker_id: uuid::Uuid::nil(),
            waited: Duration::ZERO,
            trace_context: None,
            last_traceparent: None,
        };
        let job = |ending| console_line(|| ProcessSpan::start(&run).end(&run, ending));
        let (failure, error) = (Failure::Failed, "smtp: timeout");

        let done = job(Ending::Completed);
        assert!(done.starts_with("job 1    settle_transaction  attempt 1  done in "), "{done}");
        assert_eq!(
            job(Ending::Retried { failure, error, delay: Duration::from_secs(4) }),
            "job 1    settle_transaction  attempt 1  failed: smtp: timeout  retry in 4.0 s"
        );
        assert_eq!(
            job(Ending::Discarded { failure, error }),
            "job 1    settle_transaction  attempt 1  failed: smtp: timeout  discarded"
        );
        assert_eq!(
            job(Ending::Snoozed { delay: Duration::from_secs(120), reason: None }),
            "job 1    settle_transaction  attempt 1  snoozed for 2 min"
        );
        assert_eq!(job(Ending::LeaseLost), "job 1    settle_transaction  attempt 1  lease lost");
        assert_eq!(job(Ending::HandedBack), "job 1    settle_transaction  attempt 1  handed back");
    }

    #[test]
    fn the_console_tells_anything_else_with_its_fields() {
        let line = console_line(|| tracing::warn!(jobs = 3, "the grace is over"));
        assert_eq!(line, "warn     the grace is over  jobs=3");
    }

    #[test]
    fn a_terminal_gets_no_commands_from_outside() {
        for look in [CONSOLE, LineFormat::Pretty { colored: false }] {
            let written = lines(look, "info", || {
                tracing::info!(agent = "\u{1b}]0;owned\u{7}", "a\r\nforged line");
            });
            assert_eq!(written.len(), 1, "{written:?}");
            assert!(!written[0].contains(char::is_control), "{:?}", written[0]);
            assert!(written[0].contains(r"a\r\nforged line"), "{:?}", written[0]);
        }
    }

    #[test]
    fn colour_is_only_where_it_is_asked_for() {
        let event = || tracing::error!("bad");
        for (look, colored) in [
            (LineFormat::Pretty { colored: true }, true),
            (LineFormat::Pretty { colored: false }, false),
            (LineFormat::Console { colored: true }, true),
        ] {
            let written = lines(look, "info", event);
            assert_eq!(written[0].contains("\u{1b}[31m"), colored, "{look:?}: {}", written[0]);
        }
    }

    #[test]
    fn a_line_of_opentelemetry_is_not_empty() {
        let line =
            json_line(|| tracing::error!(name = "BatchSpanProcessor.ExportError", error = "away"));
        assert_eq!(line["message"], "BatchSpanProcessor.ExportError");
        assert_eq!(line.get("name"), None);
    }
}
