//! Variables that the OpenTelemetry SDK could not use: told by name.
//!
//! The SDK's own events repeat the value, which may be a secret in the wrong variable.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Collects the names while there is no log yet.
#[derive(Clone, Default)]
pub(super) struct Doubts(Arc<Mutex<Vec<String>>>);

impl Doubts {
    /// Logs what was collected.
    pub(super) fn tell(&self) {
        let doubts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for doubt in doubts {
            tracing::warn!("{doubt} cannot be used as it is set, so the default holds");
        }
    }
}

impl<S: Subscriber> Layer<S> for Doubts {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut variable = Variable(None);
        event.record(&mut variable);
        let doubt = variable.0.unwrap_or_else(|| "a variable of OpenTelemetry".to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(doubt);
    }
}

/// The first name of a variable in the fields of an event.
struct Variable(Option<String>);

impl Visit for Variable {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let mut words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        if let (None, Some(name)) = (&self.0, words.find(|word| word.starts_with("OTEL_"))) {
            self.0 = Some(name.to_owned());
        }
    }
}
