//! Filters of jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use time::{Duration, OffsetDateTime};

use super::failures::Fingerprint;
use crate::ids::JobId;
use crate::json::JsonText;
use crate::state::JobState;
use crate::storable_json;

/// A filter of jobs: those that match all that is given. By default, all.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<JobState>,
    /// Of one of these kinds.
    pub kinds: Vec<String>,
    /// In one of these queues.
    pub queues: Vec<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// With one of these keys.
    pub keys: Vec<String>,
    /// With this in the last error, in upper or lower case: that of the last ended attempt, or the
    /// reason that an operator gave who discarded the job.
    pub error: Option<String>,
    /// With at least so many attempts begun.
    pub min_attempt: Option<i16>,
    /// Enqueued at this moment or later.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// The most time between the draw of a job's id and its `enqueued_at`. Of jobs by `since` and
    /// `until` so many more are looked at. By default an hour, as a job that is
    /// [unique](crate::enqueue::Unique) may wait for another transaction in between.
    pub ids_drawn_within: Option<Duration>,
    /// Enqueued before this moment.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// Failed at this moment or later: discarded, or else their last attempt.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failed_since: Option<OffsetDateTime>,
    /// Failed before this moment.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failed_until: Option<OffsetDateTime>,
    /// Discarded, and decided over or not.
    pub decided: Option<bool>,
    /// With these values in the arguments.
    pub args: Vec<ArgsMatch>,
    /// Among these.
    pub ids: Option<Vec<JobId>>,
    /// With this failure as the last one, and not decided over since.
    pub fingerprint: Option<Fingerprint>,
    /// Not failed, and not ended, after this moment.
    #[serde(with = "time::serde::rfc3339::option")]
    pub unchanged_since: Option<OffsetDateTime>,
}

impl JobFilter {
    /// The states that are meant, all if none is named.
    pub fn states(&self) -> &[JobState] {
        match self.states.is_empty() {
            true => &JobState::ALL,
            false => &self.states,
        }
    }

    /// True when no job can match, because PostgreSQL could not have stored it: that is no question
    /// for the database, which would refuse it.
    pub(super) fn is_impossible(&self) -> bool {
        let has_nul = |text: &String| text.contains('\0');
        let lists = [&self.kinds, &self.queues, &self.tags, &self.keys];
        let is_stored = |json: JsonText| storable_json::check(json.get()).is_ok();
        lists.into_iter().flatten().chain(&self.error).any(has_nul)
            || self
                .args
                .iter()
                .map(ArgsMatch::wanted)
                .any(|(one, other)| !is_stored(one) || !is_stored(other))
    }

    /// True when jobs must be looked at one by one, beyond their state.
    pub(super) fn is_selective(&self) -> bool {
        let is_any = Self { states: self.states.clone(), ..Self::default() } == *self;
        // Of the unfinished all four states are told from one index.
        let unfinished = JobState::UNFINISHED.iter().filter(|state| self.states().contains(state));
        !is_any || !matches!(unfinished.count(), 0 | 4)
    }

    pub(super) fn unfinished(&self) -> Vec<String> {
        self.names(|state| state.is_unfinished() && self.decided.is_none())
    }

    /// A failure is sought where there can be one, and a fingerprint where one is kept.
    pub(super) fn finished(&self) -> Vec<String> {
        let is_about_failures = self.is_about_failures();
        let is_possible = |state| match state {
            JobState::Discarded => true,
            JobState::Completed if is_about_failures => false,
            _ => self.decided.is_none() && self.fingerprint.is_none(),
        };
        self.names(|state| !state.is_unfinished() && is_possible(state))
    }

    /// True when each job's last failure must be looked up.
    pub(super) fn is_about_failures(&self) -> bool {
        self.error.is_some() || self.failed_since.is_some() || self.failed_until.is_some()
    }

    fn names(&self, are: impl Fn(JobState) -> bool) -> Vec<String> {
        let states = self.states().iter().filter(|state| are(**state));
        states.map(|state| state.name().to_owned()).collect()
    }
}

/// A field of the arguments and its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArgsMatch {
    field: String,
    value: String,
}

impl ArgsMatch {
    /// The arguments have at their top this field with this value; `42` matches the number and the
    /// text, as do `true` and `null`. If `value` is a JSON object or array, what it has must be in
    /// that of the arguments.
    pub fn new(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.into() }
    }

    /// The field and its value, as they were given.
    pub fn parts(&self) -> (&str, &str) {
        (&self.field, &self.value)
    }

    /// Two JSON objects; the arguments are to contain one of them.
    pub(super) fn wanted(&self) -> (JsonText, JsonText) {
        let text = JsonText::from(json!({ &self.field: self.value }));
        let value = serde_json::from_str::<&RawValue>(&self.value).ok();
        let value =
            value.and_then(|value| JsonText::of(&BTreeMap::from([(&self.field, value)])).ok());
        (value.unwrap_or_else(|| text.clone()), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_number_or_a_text_as_it_may_be_both() {
        let wanted = |value| ArgsMatch::new("a", value).wanted();
        let is = |value, one: &str, other: &str| {
            assert_eq!((wanted(value).0.get(), wanted(value).1.get()), (one, other));
        };
        is("42", r#"{"a":42}"#, r#"{"a":"42"}"#);
        is("1.10", r#"{"a":1.10}"#, r#"{"a":"1.10"}"#);
        is("ada", r#"{"a":"ada"}"#, r#"{"a":"ada"}"#);
        assert_eq!(wanted(r#"{"b":1}"#).0, json!({"a": {"b": 1}}));
    }

    #[test]
    fn only_what_an_index_cannot_tell_is_selective() {
        let states =
            |states: &[JobState]| JobFilter { states: states.to_vec(), ..JobFilter::default() };
        assert!(!JobFilter::default().is_selective());
        assert!(!states(&[JobState::Discarded]).is_selective());
        assert!(!states(&JobState::UNFINISHED).is_selective());
        assert!(states(&[JobState::Retryable, JobState::Discarded]).is_selective());
        assert!(JobFilter { min_attempt: Some(2), ..JobFilter::default() }.is_selective());
    }
}
