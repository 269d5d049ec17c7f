//! Other arguments for a job, by the form on its page.
//!
//! The form has the arguments as they are shown, so what is hidden in them cannot be sent back.
//! What is sent is compared with what was shown, field by field, and only the difference is
//! changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::job::refused;
use crate::http::wire::problem::{Code, Problem};
use crate::operations::Mode;
use crate::operations::jobs::edit::{ArgsChange, EditJob, JobVersion, JsonText, edit};
use crate::operations::jobs::{JobDetails, JobId, JobState, is_about_money, reading};
use crate::pages::json_text::compact;
use crate::pages::refusals::{Refusal, not_found};
use crate::pages::visit::{Answer, Visit};

/// The stand-in for a hidden value, as `queue.redacted` writes it.
const HIDDEN: &str = "\"[redacted]\"";

/// True if the arguments of the job can be edited in its state, whoever may do it.
pub(in crate::pages) fn can_be_edited(job: &JobDetails) -> bool {
    let is_unclaimed = job.state.is_waiting() || job.state == JobState::Discarded;
    is_unclaimed && !is_about_money(&job.kind) && !is_sealed(job)
}

fn is_sealed(job: &JobDetails) -> bool {
    let says_so = job.args.fields().get("sealed").is_some_and(|value| value.get() == "true");
    says_so && job.args != *job.stored_args.as_json()
}

/// Gives the job the arguments of the form, if nobody has changed it since they were shown.
pub(in crate::pages) async fn change(visit: Arc<Visit>) -> Result<Answer, Refusal> {
    let id = JobId(visit.parsed("id")?);
    let actor = visit.actor()?;
    let typed = visit.form.one("args").unwrap_or_default().parse::<JsonText>();
    let typed = typed.map_err(|error| wrong(&format!("The arguments are no JSON: {error}.")))?;
    let explained = reading::explain(&mut *visit.connect().await?, id).await?;
    let job = explained.ok_or_else(|| not_found(&format!("job {id}")))?.job;
    let version = JobVersion::of(&job);
    if visit.form.one("version") != Some(version.as_str()) {
        return Err(Problem::new(Code::PreconditionFailed).into());
    }
    let change = difference(&job.args, &typed).map_err(|words| wrong(&words))?;
    let request = EditJob { id, change, if_version: Some(version), mode: Mode::Commit };
    let edited = edit(&visit.site.pool, request, &actor).await.map_err(Problem::from)?;
    edited.outcome.map_err(|refusal| refused(id, refusal))?;
    Ok(visit.done(format!(
        "Job {id} has other arguments. Those before are kept with it, under Decisions: edit it \
         again to take this back."
    )))
}

fn wrong(words: &str) -> Refusal {
    Problem::new(Code::UnacceptableValues).detail(words.to_owned()).into()
}

/// The change that makes what was typed of what was shown.
///
/// # Errors
///
/// A sentence, when nothing is changed, and when what was changed has a hidden value in it.
fn difference(shown: &JsonText, typed: &JsonText) -> Result<ArgsChange, String> {
    let is_object = |json: &JsonText| json.get().starts_with('{');
    if !is_object(shown) || !is_object(typed) {
        return match typed.get().contains(HIDDEN) {
            true => Err(hidden("The text")),
            false => Ok(ArgsChange::Replace(typed.clone())),
        };
    }
    let (before, after) = (shown.fields(), typed.fields());
    let mut set = BTreeMap::new();
    for (name, value) in &after {
        let was = before.get(name).map(|value| compact(value.get()));
        if was.is_some_and(|was| was == compact(value.get())) {
            continue;
        }
        if value.get().contains(HIDDEN) {
            return Err(hidden(&format!("Field {name}")));
        }
        let value = value.get().parse::<JsonText>();
        let value = value.map_err(|error| format!("Field {name}: {error}."))?;
        set.insert(name.clone(), value);
    }
    let unset: Vec<String> = before.into_keys().filter(|name| !after.contains_key(name)).collect();
    match set.is_empty() && unset.is_empty() {
        true => Err("These are the arguments that it has. Nothing was done.".to_owned()),
        false => Ok(ArgsChange::Fields { set, unset }),
    }
}

fn hidden(what: &str) -> String {
    format!(
        "{what} was changed and has [redacted] in it, which stands for what is hidden here. Leave \
         a field with it as it is, or write the whole of it. Nothing was done."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> JsonText {
        text.parse().expect("the tests know JSON")
    }

    #[test]
    fn only_what_was_changed_is_sent_and_what_is_hidden_stays() {
        let shown = json(r#"{"to": "a", "token": "[redacted]", "n": 1.10, "old": true}"#);
        let typed = json(r#"{ "to":"b",  "token": "[redacted]", "n": 1.10, "new": [1] }"#);
        let Ok(ArgsChange::Fields { set, unset }) = difference(&shown, &typed) else {
            panic!("it is a change of fields")
        };
        let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(set, [("new", "[1]"), ("to", "\"b\"")]);
        assert_eq!(unset, ["old"]);
    }

    #[test]
    fn what_stands_for_a_hidden_value_is_never_stored_and_no_change_is_none() {
        let shown = json(r#"{"to": {"address": "[redacted]", "name": "a"}}"#);
        let typed = json(r#"{"to": {"address": "[redacted]", "name": "b"}}"#);
        let refused = difference(&shown, &typed).expect_err("it would be lost");
        assert!(refused.contains("Field to"), "{refused}");
        assert!(difference(&shown, &shown).is_err());
        assert!(difference(&shown, &json(r#"["[redacted]"]"#)).is_err());
        assert!(matches!(difference(&shown, &json("[]")), Ok(ArgsChange::Replace(_))));
    }
}
