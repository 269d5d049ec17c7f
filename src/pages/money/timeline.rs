//! Timelines: what happened to a transaction or an order, in words and in order.

use std::collections::HashMap;

use serde_json::Value;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::operations::timeline::TimelineEvent;
use crate::pages::visit::segment;
use crate::pages::words;
use crate::traces::TraceStore;

/// The most characters of one detail.
const DETAIL_CHARS: usize = 300;

/// Something that happened.
pub(in crate::pages) struct Step {
    /// The moment.
    pub(in crate::pages) at: OffsetDateTime,
    /// The day, where it is another one than that of the step before.
    pub(in crate::pages) day: Option<String>,
    /// The time of day, to the millisecond.
    pub(in crate::pages) clock: String,
    /// The source of the news.
    pub(in crate::pages) source: &'static str,
    /// The class of how it went.
    pub(in crate::pages) tone: &'static str,
    /// The news.
    pub(in crate::pages) title: String,
    /// More about it.
    pub(in crate::pages) detail: String,
    /// A page about it, and its words.
    pub(in crate::pages) link: Option<(String, String)>,
    /// The trace that it is part of.
    pub(in crate::pages) trace: Option<String>,
    /// True if the trace can be looked at here.
    pub(in crate::pages) is_trace_kept: bool,
}

/// Names of accounts, endpoints and users, by their ids.
pub(in crate::pages) type Names = HashMap<String, String>;

/// The steps of a timeline; ids without a name stand as they are. `traces` are those that can be
/// looked at here, if any are kept.
pub(in crate::pages) fn steps(
    events: Vec<TimelineEvent>,
    names: &Names,
    traces: Option<&TraceStore>,
) -> Vec<Step> {
    let is_kept = |trace: &String| traces.is_some_and(|store| store.contains(trace));
    let mut last_day = String::new();
    let step = |event: TimelineEvent| {
        let told = Told::of(&event, names);
        let day = day(event.at);
        let is_new = day != last_day;
        last_day.clone_from(&day);
        Step {
            at: event.at,
            day: is_new.then_some(day),
            clock: clock(event.at),
            source: event.source,
            tone: told.tone,
            title: told.title,
            detail: words::line(&told.detail, DETAIL_CHARS),
            link: told.link,
            is_trace_kept: event.trace_id.as_ref().is_some_and(is_kept),
            trace: event.trace_id,
        }
    };
    events.into_iter().map(step).collect()
}

fn day(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]");
    at.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}

fn clock(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    at.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}

/// An event in words.
struct Told {
    tone: &'static str,
    title: String,
    detail: String,
    link: Option<(String, String)>,
}

impl Told {
    fn new(tone: &'static str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { tone, title: title.into(), detail: detail.into(), link: None }
    }

    fn link(self, url: String, words: impl Into<String>) -> Self {
        Self { link: Some((url, words.into())), ..self }
    }

    fn of(event: &TimelineEvent, names: &Names) -> Self {
        let details = Details { fields: &event.details, names };
        match event.source {
            "money" => of_money(&event.event, &details),
            "job" => of_job(&event.event, &details),
            "bank" => of_bank(&details),
            "event" => {
                Self::new("idle", format!("Event {}", event.event), details.text("event_id"))
            }
            "delivery" => of_delivery(&event.event, &details),
            "mail" => of_mail(&event.event, &details),
            "audit" => of_audit(&event.event, &details),
            _ => Self::new("idle", event.event.clone(), ""),
        }
    }
}

/// The fields of an event.
struct Details<'a> {
    fields: &'a Value,
    names: &'a Names,
}

impl Details<'_> {
    /// A field as text; empty where there is none.
    fn text(&self, name: &str) -> String {
        match self.fields.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// The name of what a field has the id of, or that id.
    fn named(&self, name: &str) -> String {
        let id = self.text(name);
        self.names.get(&id).cloned().unwrap_or(id)
    }

    /// The fields that are there, each with a name for people.
    fn list(&self, fields: &[(&str, &str)]) -> String {
        let told = fields.iter().filter_map(|(name, title)| {
            let text = self.text(name);
            let text = match title.is_empty() {
                true => text,
                false if text.is_empty() => text,
                false => format!("{title} {text}"),
            };
            (!text.is_empty()).then_some(text)
        });
        told.collect::<Vec<_>>().join(" · ")
    }
}

fn of_money(event: &str, details: &Details<'_>) -> Told {
    match event {
        "accepted" => Told::new("ok", "Accepted", ""),
        "conflict" => {
            let count = details.text("received_count");
            let detail = format!("received {count} ×; ours is kept");
            Told::new("warn", "Came again with other content", detail)
        }
        "entry" => {
            let (amount, currency) = (details.text("amount"), details.text("currency"));
            let word = if amount.starts_with('-') { "out" } else { "in" };
            let detail = format!("balance after it {}", trimmed(&details.text("balance_after")));
            let account = details.text("account_id");
            let url = format!("/ui/ledger/{}", segment(&account));
            let title = format!("Entry: {} {currency} {word}", trimmed(&amount));
            Told::new("ok", title, detail).link(url, details.named("account_id"))
        }
        "ended" => match details.text("status").as_str() {
            "COMPLETED" => Told::new("ok", "Completed", ""),
            status => Told::new(
                "bad",
                words::capital(&status.to_lowercase()),
                details.text("failure_reason"),
            ),
        },
        "archived" => {
            let title = format!("Entries moved into archive {}", details.text("archive"));
            Told::new("idle", title, details.text("file"))
        }
        other => Told::new("idle", other, ""),
    }
}

/// An amount of the database's four decimals, without the zeros that say nothing beyond the second.
fn trimmed(amount: &str) -> String {
    match amount.split_once('.') {
        Some((whole, decimals)) if decimals.len() > 2 => {
            let kept = decimals.trim_end_matches('0').len().max(2);
            format!("{whole}.{}", &decimals[..kept])
        }
        _ => amount.to_owned(),
    }
}

fn of_job(event: &str, details: &Details<'_>) -> Told {
    let job = details.text("job_id");
    let link = (format!("/ui/jobs/{}", segment(&job)), format!("job {job}"));
    let told = match event {
        "attempt" => {
            let outcome = details.text("outcome");
            let tone = match outcome.as_str() {
                "completed" => "ok",
                "cancelled" => "idle",
                _ => "bad",
            };
            let title =
                format!("Attempt {} {}", details.text("attempt"), outcome.replace('_', " "));
            Told::new(tone, title, details.text("error"))
        }
        "enqueued" => {
            let title = format!("Enqueued as {}", details.text("kind"));
            let detail = details.list(&[("queue", "queue"), ("state", "now")]);
            Told::new("idle", title, detail)
        }
        other => Told::new("idle", other, ""),
    };
    told.link(link.0, link.1)
}

fn of_bank(details: &Details<'_>) -> Told {
    let outcome = details.text("outcome");
    let (tone, answer) = match outcome.as_str() {
        "" => ("warn", "no answer is known"),
        "booked" => ("ok", "booked"),
        "declined" => ("bad", "declined"),
        "pending" => ("run", "pending"),
        "unknown_key" => ("idle", "unknown to it"),
        "unavailable" => ("warn", "unavailable"),
        "timed_out" => ("warn", "timed out"),
        _ => ("warn", "malformed answer"),
    };
    let asked = match details.text("operation").as_str() {
        "send" => "Sent to the bank",
        "enquire" => "Enquired at the bank",
        _ => "Called the bank",
    };
    let detail = details.list(&[("reason", ""), ("bank_reference", "reference")]);
    Told::new(tone, format!("{asked}: {answer}"), detail)
}

fn of_delivery(event: &str, details: &Details<'_>) -> Told {
    let (endpoint, id) = (details.text("endpoint_id"), details.text("event_id"));
    let url = format!("/ui/deliveries/{}/{}", segment(&endpoint), segment(&id));
    let told = match event {
        "attempt" => {
            let status = details.text("status");
            let is_ok = status.starts_with('2') && details.text("error").is_empty();
            let answer =
                if status.is_empty() { "no answer".to_owned() } else { format!("HTTP {status}") };
            let took = details.text("duration_ms");
            let took = (!took.is_empty()).then(|| format!("{took} ms"));
            let error = Some(details.text("error")).filter(|error| !error.is_empty());
            let detail = [error, took].into_iter().flatten().collect::<Vec<_>>().join(" · ");
            Told::new(if is_ok { "ok" } else { "bad" }, format!("Delivery tried: {answer}"), detail)
        }
        "delivered" => Told::new("ok", "Delivered", ""),
        other => Told::new("bad", format!("Delivery {other}"), details.text("reason")),
    };
    told.link(url, details.named("endpoint_id"))
}

fn of_mail(event: &str, details: &Details<'_>) -> Told {
    let tone = if event == "sent" { "ok" } else { "warn" };
    let detail = details.list(&[("reason", ""), ("attempts", "attempts")]);
    Told::new(tone, format!("Mail {event} to {}", details.named("user_id")), detail)
}

fn of_audit(event: &str, details: &Details<'_>) -> Told {
    let detail = details.list(&[("actor", "by"), ("reason", "")]);
    let seq = details.text("seq");
    Told::new("idle", event, detail)
        .link(format!("/ui/audit/{}", segment(&seq)), format!("entry {seq}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn event(source: &'static str, event: &str, details: Value) -> TimelineEvent {
        let at = datetime!(2026-11-21 23:59:59.9 UTC);
        TimelineEvent { at, source, event: event.to_owned(), trace_id: None, details }
    }

    #[test]
    fn every_source_is_told_in_words_with_the_page_behind_it() {
        let attempt = json!({ "job_id": 7, "attempt": 2, "outcome": "timed_out", "error": "late" });
        let call = json!({ "operation": "enquire", "outcome": "booked", "bank_reference": "B1" });
        let tried = json!({ "event_id": "evt_1", "endpoint_id": "e", "status": 500 });
        let events = vec![
            event("job", "attempt", attempt),
            event("bank", "call", call),
            event("delivery", "attempt", tried),
            event("money", "entry", json!({ "amount": "-12.3000", "currency": "USD" })),
            event("tomorrow", "something", json!({})),
        ];
        let names = Names::from([("e".to_owned(), "https://shop.example".to_owned())]);
        let told = steps(events, &names, None);
        let titles: Vec<&str> = told.iter().map(|step| step.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "Attempt 2 timed out",
                "Enquired at the bank: booked",
                "Delivery tried: HTTP 500",
                "Entry: -12.30 USD out",
                "something",
            ]
        );
        assert_eq!(told[0].link.as_ref().map(|link| link.0.as_str()), Some("/ui/jobs/7"));
        assert_eq!(told[1].detail, "reference B1");
        assert_eq!(told[2].tone, "bad");
        assert_eq!(told[2].link.as_ref().map(|link| link.1.as_str()), Some("https://shop.example"));
        assert_eq!((told[0].day.as_deref(), told[1].day.as_deref()), (Some("2026-11-21"), None));
        assert_eq!(told[0].clock, "23:59:59.900");
    }

    #[test]
    fn amounts_keep_every_decimal_that_says_something() {
        for (stored, shown) in
            [("12.3000", "12.30"), ("1.0001", "1.0001"), ("-5.0000", "-5.00"), ("7", "7")]
        {
            assert_eq!(trimmed(stored), shown);
        }
    }
}
