//! From a `tracing` event to one line on stderr.
//!
//! A line says what its event says and what the enclosing spans say, the inner ones first where
//! both have a field of the same name. Trace and span ids come from the OpenTelemetry context,
//! which is there also when nothing is exported.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;

use opentelemetry::Context as TraceContext;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::formats::Look;

/// A thread's buffer is given back when a line has made it larger than this.
const MAX_KEPT_BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// All that a line can say.
pub(super) struct Line<'a> {
    pub(super) time: OffsetDateTime,
    pub(super) metadata: &'a Metadata<'a>,
    /// Of the span that the event happened in, invalid outside of any trace.
    pub(super) span_context: SpanContext,
    /// The event's own fields, then those of its spans from the innermost out; no name twice.
    /// `message` is among them.
    pub(super) fields: Fields,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// Fields in the order in which they were recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(&'static str, Value)>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Some libraries have a field of their own for what others put into the message: OpenTelemetry
    /// `name`, sqlx `summary`.
    fn find_a_message(&mut self) {
        if self.get("message").is_some_and(|message| *message != Value::Text(String::new())) {
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

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), Value::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), Value::Text(format!("{value:?}")));
    }
}

/// The layer that writes the lines.
pub(super) struct LogLayer {
    look: Look,
    /// Takes each line, its end included.
    out: fn(&[u8]),
}

impl LogLayer {
    pub(super) fn to_stderr(look: Look) -> Self {
        // With nowhere to write to there is nobody to tell either. The lock makes each line one
        // piece.
        Self { look, out: |line| drop(std::io::stderr().lock().write_all(line)) }
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.find_a_message();
        for span in cx.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        let span_context = TraceContext::map_current(|cx| cx.span().span_context().clone());
        let line = Line {
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
mod tests;
