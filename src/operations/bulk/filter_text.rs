//! A filter in words, as the flags of the command line have them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::queue::operate::JobFilter;

/// The filter in words: `state=discarded kind=send_mail error="connection refused"`.
#[must_use]
pub fn filter_text(filter: &JobFilter) -> String {
    let states: Vec<&str> = filter.states.iter().map(|state| state.name()).collect();
    let moment = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
    let parts = [
        listed("state", &states),
        listed("kind", &filter.kinds),
        listed("queue", &filter.queues),
        listed("tag", &filter.tags),
        listed("key", &filter.keys),
        one("error", filter.error.as_ref()),
        one("fingerprint", filter.fingerprint.map(|it| it.to_string()).as_ref()),
        one("attempt_gte", filter.min_attempt.map(|least| least.to_string()).as_ref()),
        one("since", moment(filter.since).as_ref()),
        one("until", moment(filter.until).as_ref()),
        one("failed_since", moment(filter.failed_since).as_ref()),
        one("failed_until", moment(filter.failed_until).as_ref()),
    ];
    let args = filter.args.iter().map(|wanted| {
        let (field, value) = wanted.parts();
        format!("where={}", quoted(&format!("{field}={value}")))
    });
    let none = filter.ids.as_ref().filter(|ids| ids.is_empty()).map(|_| "none".to_owned());
    parts.into_iter().flatten().chain(args).chain(none).collect::<Vec<_>>().join(" ")
}

fn listed(name: &str, values: &[impl AsRef<str>]) -> Option<String> {
    let quoted: Vec<String> = values.iter().map(|value| quoted(value.as_ref())).collect();
    (!quoted.is_empty()).then(|| format!("{name}={}", quoted.join(",")))
}

fn one(name: &str, value: Option<&String>) -> Option<String> {
    value.map(|value| format!("{name}={}", quoted(value)))
}

/// The text, in quotes if it is more than a word.
fn quoted(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "_-.:=*".contains(c);
    match !text.is_empty() && text.chars().all(is_word) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::JobState;
    use crate::queue::operate::ArgsMatch;

    #[test]
    fn a_filter_reads_as_the_flags_that_make_it() {
        let filter = JobFilter {
            states: vec![JobState::Retryable, JobState::Discarded],
            kinds: vec!["send_mail".to_owned()],
            error: Some("refused \"by\" host".to_owned()),
            args: vec![ArgsMatch::new("to", "ada@example.com")],
            ..JobFilter::default()
        };
        assert_eq!(
            filter_text(&filter),
            "state=retryable,discarded kind=send_mail error=\"refused \\\"by\\\" host\" \
             where=\"to=ada@example.com\""
        );
        assert_eq!(filter_text(&JobFilter::default()), "");
    }
}
