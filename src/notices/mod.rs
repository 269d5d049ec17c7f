//! Mail to users: one for each outcome that they should know of, and for what happens to their
//! endpoints.
//!
//! The cast:
//!
//! - [`templates`]: what a mail says, as HTML and as text, by templates in files.
//! - [`mailer`]: the way that mails go, a mail server or a folder of files; [`MailKey`] names each.
//! - `smtp`: the conversation with the mail server, with limits on everything.
//! - [`settings`]: the settings of all of this.
//! - [`mails`]: what became of each mail.
//! - [`preferences`]: who wants none.
//!
//! Guarantees: G6, as the effect key of a mail is its `Message-ID`, the same in all attempts.
//! SMTP has no way to ask what became of a mail (RFC 5321, 4.1.1.4): after a crash between the
//! server's word and our commit it is sent again, under the same id, and the reader's mail program
//! or its server may show it once or twice. No value that a mail tells of can add a header, a
//! recipient, a line or markup to it. Addresses and passwords are in no log line and no error.
//!
//! Deliberately absent: retries (a job's attempts are), and anything that knows of orders, users'
//! accounts or the queue.

pub mod mailer;
pub mod mails;
pub mod preferences;
pub mod settings;
mod smtp;
pub mod templates;

use serde::{Deserialize, Serialize};

pub use self::mailer::{Mail, MailKey, Mailer, Refusal, SendError};
pub use self::mails::{MailRecord, MailStatus, of_subject};
pub use self::preferences::recipients;
pub use self::settings::{MailArgs, MailSettingsError};

/// The most characters of a text of others' in a mail, such as a transaction's id or the reason of
/// a failure.
const MAX_TEXT_CHARS: usize = 256;

/// The kind of thing that a mail is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "notices.subject_kind", rename_all = "snake_case")]
pub enum SubjectKind {
    /// A payment event of a provider's.
    Transaction,
    /// An order: money that comes in through the bank.
    Deposit,
    /// An order: money that goes out through the bank.
    Withdrawal,
    /// An order: money that goes from one wallet to another.
    Transfer,
    /// An order: a transfer that is undone.
    Refund,
    /// An endpoint that is told of events.
    Endpoint,
}

impl SubjectKind {
    /// The kind as a word at the beginning of a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Transaction => "Transaction",
            Self::Deposit => "Deposit",
            Self::Withdrawal => "Withdrawal",
            Self::Transfer => "Transfer",
            Self::Refund => "Refund",
            Self::Endpoint => "Endpoint",
        }
    }
}

/// The thing that a mail is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// Its kind.
    pub kind: SubjectKind,
    /// Its id as people know it: a provider's `transaction_id`, or the UUID of an order or an
    /// endpoint.
    pub id: String,
}

/// A text of others' as one line, which no mail program takes for more than a text: control
/// characters and line breaks become spaces, what turns the direction of writing goes, and what is
/// too long ends in `…`.
fn one_line(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        '\u{2028}' | '\u{2029}' => Some(' '),
        c if c.is_control() => Some(' '),
        c => Some(c),
    };
    let mut chars = text.chars().filter_map(plain);
    let mut line: String = chars.by_ref().take(MAX_TEXT_CHARS).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_others_stays_one_line() {
        for (text, line) in [
            ("txn_1", "txn_1"),
            ("a\r\nBcc: eve@example.com", "a  Bcc: eve@example.com"),
            ("a\u{2028}b\u{85}c\td", "a b c d"),
            ("x\u{202e}fdp.exe\u{2066}", "xfdp.exe"),
            ("Zoë, 東京", "Zoë, 東京"),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
        let cut = one_line(&"ä".repeat(10_000));
        assert_eq!(cut.chars().count(), MAX_TEXT_CHARS + 1);
        assert!(cut.ends_with('…'));
    }
}
