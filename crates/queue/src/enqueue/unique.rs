//! Unique jobs: enqueued only if there is no other such job.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::JsonText;
use crate::state::JobState;

/// The rule that makes a job unique among those of its kind: the values that are compared, for how
/// long, and the states in which a job counts.
///
/// A job is compared with the latest that was enqueued with the same value. Of several at once
/// exactly one is enqueued: a primary key decides.
#[derive(Clone, PartialEq, Debug)]
pub struct Unique {
    by: UniqueBy,
    lasts: Option<Duration>,
    states: Option<Vec<JobState>>,
}

#[derive(Clone, PartialEq, Debug)]
enum UniqueBy {
    Args,
    Fields(Vec<String>),
    Value(Value),
}

impl Unique {
    /// Jobs with the same arguments are the same.
    pub fn by_args() -> Self {
        Self { by: UniqueBy::Args, lasts: None, states: None }
    }

    /// Jobs that have the same values in these fields of their arguments are the same; a field
    /// that is missing equals null.
    pub fn by_fields(fields: &[&str]) -> Self {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        Self { by: UniqueBy::Fields(fields), lasts: None, states: None }
    }

    /// Jobs of the same value are the same, whatever their arguments.
    pub fn by_value(value: impl Into<Value>) -> Self {
        Self { by: UniqueBy::Value(value.into()), lasts: None, states: None }
    }

    /// For so long after a job was enqueued another one is refused, completed ones included;
    /// afterwards not even a waiting one counts. Without, a job counts until it is finished.
    #[must_use]
    pub fn lasting(mut self, window: Duration) -> Self {
        self.lasts = Some(window);
        self
    }

    /// The states in which a job counts, instead of all unfinished ones (and, with a window,
    /// [`JobState::Completed`]).
    #[must_use]
    pub fn while_in(mut self, states: &[JobState]) -> Self {
        self.states = Some(states.to_vec());
        self
    }

    pub(crate) fn value(&self, args: &JsonText) -> JsonText {
        match &self.by {
            UniqueBy::Args => args.clone(),
            UniqueBy::Fields(fields) => {
                let of_args = args.fields();
                let values: BTreeMap<&String, Option<&RawValue>> =
                    fields.iter().map(|field| (field, of_args.get(field).copied())).collect();
                JsonText::of(&values).expect("parts of JSON are JSON")
            }
            UniqueBy::Value(value) => value.clone().into(),
        }
    }

    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.lasts
    }

    pub(crate) fn states(&self) -> Option<Vec<String>> {
        let states = self.states.as_ref()?;
        Some(states.iter().map(|state| state.name().to_owned()).collect())
    }
}
