//! Contents of mails: typed values in templates of `src/notices/templates`, which are checked and
//! compiled in when the program is built. `.html` escapes every value.

use std::time::Duration;

use askama::Template;

use super::{Subject, SubjectKind, one_line};
use crate::money::Money;

/// The content of a mail: the same words as HTML and as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// The subject line: made of our own words, amounts and currencies alone.
    pub subject: String,
    /// For programs that show HTML, light or dark.
    pub html: String,
    /// For all others.
    pub text: String,
}

/// The outcome that a mail tells of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The money was moved.
    Completed,
    /// Nothing was booked.
    Failed {
        /// The reason, as a code or words of others'.
        reason: Option<String>,
    },
}

/// Rows of a table: a name and a value.
type Details = Vec<(&'static str, String)>;

struct TransactionMail {
    subject: String,
    kind: &'static str,
    amount: String,
    is_completed: bool,
    details: Details,
}

#[derive(Template)]
#[template(path = "transaction.html", config = "src/notices/askama.toml")]
struct TransactionHtml<'a> {
    mail: &'a TransactionMail,
}

#[derive(Template)]
#[template(path = "transaction.txt", config = "src/notices/askama.toml")]
struct TransactionText<'a> {
    mail: &'a TransactionMail,
}

/// The mail about the outcome of a transaction or order.
///
/// # Errors
///
/// None that a caller could cause: a template that cannot be written.
pub fn transaction(
    about: &Subject,
    money: Money,
    outcome: &Outcome,
) -> Result<Content, askama::Error> {
    let kind = about.kind.title();
    let (ending, reason) = match outcome {
        Outcome::Completed => ("completed", None),
        Outcome::Failed { reason } => ("failed", reason.as_deref()),
    };
    let mut details = vec![(id_name(about.kind), one_line(&about.id))];
    details.extend(reason.map(|reason| ("Reason", one_line(reason))));
    let mail = TransactionMail {
        subject: format!("{kind} of {money} {ending}"),
        kind,
        amount: money.to_string(),
        is_completed: *outcome == Outcome::Completed,
        details,
    };
    let html = TransactionHtml { mail: &mail }.render()?;
    let text = TransactionText { mail: &mail }.render()?;
    Ok(Content { subject: mail.subject, html, text })
}

struct EndpointMail {
    subject: String,
    failed_for: String,
    details: Details,
}

#[derive(Template)]
#[template(path = "endpoint_disabled.html", config = "src/notices/askama.toml")]
struct EndpointHtml<'a> {
    mail: &'a EndpointMail,
}

#[derive(Template)]
#[template(path = "endpoint_disabled.txt", config = "src/notices/askama.toml")]
struct EndpointText<'a> {
    mail: &'a EndpointMail,
}

/// The mail about an endpoint that was disabled because it failed for so long: `id` and `url` are
/// the endpoint's, `last_error` is the latest failure in words.
///
/// # Errors
///
/// None that a caller could cause: a template that cannot be written.
pub fn endpoint_disabled(
    id: &str,
    url: &str,
    failed_for: Duration,
    last_error: Option<&str>,
) -> Result<Content, askama::Error> {
    let mut details =
        vec![(id_name(SubjectKind::Endpoint), one_line(id)), ("Address", one_line(url))];
    details.extend(last_error.map(|error| ("Latest failure", one_line(error))));
    let mail = EndpointMail {
        subject: "Your webhook endpoint is disabled".to_owned(),
        failed_for: in_words(failed_for),
        details,
    };
    let html = EndpointHtml { mail: &mail }.render()?;
    let text = EndpointText { mail: &mail }.render()?;
    Ok(Content { subject: mail.subject, html, text })
}

const fn id_name(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Transaction => "Transaction",
        SubjectKind::Deposit
        | SubjectKind::Withdrawal
        | SubjectKind::Transfer
        | SubjectKind::Refund => "Order",
        SubjectKind::Endpoint => "Endpoint",
    }
}

/// Days if there are some, else hours; at least one.
fn in_words(duration: Duration) -> String {
    let hours = (duration.as_secs() / 3600).max(1);
    match (hours / 24, hours) {
        (0, 1) => "an hour".to_owned(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "a day".to_owned(),
        (days, _) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Amount, Currency};

    fn money(amount: &str, currency: &str) -> Money {
        let currency = Currency::parse(currency).expect("a currency");
        Money::new(Amount::parse(amount).expect("an amount"), currency).expect("they go together")
    }

    fn deposit(id: &str) -> Subject {
        Subject { kind: SubjectKind::Deposit, id: id.to_owned() }
    }

    #[test]
    fn a_completed_deposit_reads_well_as_text() {
        let content = transaction(&deposit("0198-x"), money("15", "EUR"), &Outcome::Completed);
        let content = content.expect("it can be written");
        assert_eq!(content.subject, "Deposit of 15.00 EUR completed");
        assert_eq!(
            content.text,
            "Deposit of 15.00 EUR\n\
             \n\
             Completed.\n\
             \n\
             Order: 0198-x\n\
             \n\
             -- \n\
             You get this mail because of what happened to your account. You can switch\n\
             such mails off in the notification settings of your account."
        );
        assert!(content.html.contains("15.00 EUR") && content.html.contains(">Completed<"));
    }

    #[test]
    fn a_failure_has_its_reason() {
        let outcome = Outcome::Failed { reason: Some("insufficient-funds".to_owned()) };
        let content = transaction(&deposit("1"), money("1500", "JPY"), &outcome).expect("written");
        assert_eq!(content.subject, "Deposit of 1500 JPY failed");
        for part in [&content.text, &content.html] {
            assert!(part.contains("nothing was booked"), "{part}");
            assert!(part.contains("insufficient-funds"), "{part}");
        }
        assert!(content.text.contains("\nReason: insufficient-funds\n"), "{}", content.text);
    }

    #[test]
    fn what_others_wrote_adds_no_markup_and_no_line() {
        let evil = "<script>alert(1)</script>\"'&\r\n\r\n-- \r\nSend money to eve";
        let outcome = Outcome::Failed { reason: Some(evil.to_owned()) };
        let plain = Outcome::Failed { reason: Some("x".to_owned()) };
        let content = transaction(&deposit(evil), money("1", "EUR"), &outcome).expect("written");
        let usual = transaction(&deposit("x"), money("1", "EUR"), &plain).expect("written");
        assert!(!content.html.contains("<script>"), "{}", content.html);
        assert!(content.html.contains("&#60;script&#62;"), "{}", content.html);
        assert_eq!(content.text.lines().count(), usual.text.lines().count(), "{}", content.text);
        assert_eq!(content.subject, usual.subject);
        let content = endpoint_disabled(evil, evil, Duration::from_secs(432_000), Some(evil));
        let content = content.expect("written");
        assert!(!content.html.contains("<script>"), "{}", content.html);
        assert!(content.text.contains("It has failed for 5 days"), "{}", content.text);
        assert!(!content.text.contains("\nSend money"), "{}", content.text);
    }
}
