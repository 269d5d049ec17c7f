//! The way that mails go: to a mail server, or into a folder of files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};

use super::smtp::SmtpServer;
use super::templates::Content;
use crate::ids::{EventId, UserId};
use crate::metrics::Timings;
use crate::metrics::instruments::MAIL_DURATION;

/// The effect key of a mail (G6): one event is told to one user once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MailKey {
    /// The event that it tells of.
    pub event: EventId,
    /// The recipient. Two recipients of one event get two mails, and no two mails may have one
    /// `Message-ID` (RFC 5322, 3.6.4).
    pub user: UserId,
}

/// A mail to be sent.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The effect key.
    pub key: MailKey,
    /// The address of the recipient.
    pub to: String,
    /// The words.
    pub content: Content,
}

/// The reason that a mail was not sent. None of them shows an address, or words of the mail
/// server's, which repeat addresses.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It will not be taken, however often it is sent.
    #[error("the mail was refused for good: {0}")]
    Refused(Refusal),
    /// The mail server cannot be reached, does not take mail now, or not from us.
    #[error("the mail server did not take the mail: {0}")]
    Unavailable(Trouble),
    /// All connections to the mail server are in use. Nothing was tried.
    #[error("all connections to the mail server are in use")]
    Busy,
    /// The file cannot be written.
    #[error("the mail cannot be kept as a file")]
    File(#[source] io::Error),
}

/// The reason that a mail will not be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The answer of the mail server, from 500 to 599 (RFC 5321, 4.2.3).
    Answer(u16),
    /// The address is none that mail can be sent to.
    Address,
    /// The name in the address is not in ASCII, which the mail server does not know (RFC 6531).
    NeedsUtf8,
}

impl Refusal {
    /// The refusal as a stable code, such as `smtp-550`.
    pub fn code(self) -> String {
        match self {
            Self::Answer(code) => format!("smtp-{code}"),
            Self::Address => "address".to_owned(),
            Self::NeedsUtf8 => "needs-smtputf8".to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(code) => write!(f, "the mail server answered {code}"),
            Self::Address => f.write_str("the address is none that mail can be sent to"),
            Self::NeedsUtf8 => {
                f.write_str("the address is not in ASCII, and the mail server lacks SMTPUTF8")
            }
        }
    }
}

/// Trouble with the mail server, which may pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No answer within the time. The mail may have been taken.
    TimedOut,
    /// An answer from 400 to 599.
    Answer(u16),
    /// The mail server does not offer the TLS that the settings require. Nothing was said to it.
    NoTls,
    /// An answer that is none.
    Unreadable,
    /// The connection failed, in words of the system or of TLS.
    Connection(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("it did not answer in time"),
            Self::Answer(535) => f.write_str("it answered 535: see the password in APP_SMTP_URL"),
            Self::Answer(code) => write!(f, "it answered {code}"),
            Self::NoTls => f.write_str("it does not offer STARTTLS"),
            Self::Unreadable => f.write_str("its answer cannot be read"),
            Self::Connection(words) => f.write_str(words),
        }
    }
}

/// The way that mails go.
#[derive(Clone, Debug)]
pub struct Mailer {
    from: Mailbox,
    way: Way,
    durations: Timings,
}

#[derive(Clone, Debug)]
enum Way {
    Smtp(Arc<SmtpServer>),
    Folder(Arc<Path>),
}

impl Mailer {
    pub(super) fn by_smtp(from: Mailbox, server: SmtpServer) -> Self {
        Self::new(from, Way::Smtp(Arc::new(server)))
    }

    pub(super) fn into_folder(from: Mailbox, folder: PathBuf) -> Self {
        Self::new(from, Way::Folder(folder.into()))
    }

    fn new(from: Mailbox, way: Way) -> Self {
        Self { from, way, durations: Timings::new(&MAIL_DURATION) }
    }

    /// The times of mails that were handed on, or not, so far.
    #[must_use]
    pub fn durations(&self) -> &Timings {
        &self.durations
    }

    /// The `Message-ID` of a mail, in angle brackets: the effect key, at the domain of the sender.
    pub fn message_id(&self, key: MailKey) -> String {
        let (event, user) = (key.event.0.simple(), key.user.0.simple());
        format!("<{event}.{user}@{}>", self.from.email.domain())
    }

    /// Sends a mail. It was taken when this returns without an error; after
    /// [`Trouble::TimedOut`] and [`Trouble::Connection`] it may have been.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let began = Instant::now();
        let sent = self.hand_on(mail).await;
        let outcome = match &sent {
            Ok(()) => "sent",
            Err(SendError::Refused(_)) => "refused",
            Err(SendError::Unavailable(_)) => "unavailable",
            Err(SendError::Busy) => "busy",
            Err(SendError::File(_)) => "file",
        };
        self.durations.observe(&[outcome], began.elapsed());
        sent
    }

    async fn hand_on(&self, mail: &Mail) -> Result<(), SendError> {
        let message = self.compose(mail)?;
        match &self.way {
            Way::Smtp(server) => server.send(&message).await,
            Way::Folder(folder) => {
                let file = folder
                    .join(format!("{}.eml", self.message_id(mail.key).trim_matches(['<', '>'])));
                keep(&file, &message.formatted()).await.map_err(SendError::File)?;
                tracing::info!("a mail is kept as {}", file.display());
                Ok(())
            }
        }
    }

    fn compose(&self, mail: &Mail) -> Result<Message, SendError> {
        let refused = |_| SendError::Refused(Refusal::Address);
        let to: Address = mail.to.parse().map_err(refused)?;
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()])
            .expect("there is a recipient");
        let Content { subject, html, text } = mail.content.clone();
        let message = Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(self.message_id(mail.key)))
            // So that no absence is answered (RFC 3834, 5).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .multipart(MultiPart::alternative_plain_html(text, html));
        Ok(message.expect("there is a sender"))
    }
}

/// Writes a file that is there as a whole or not at all. A second attempt writes the same one.
async fn keep(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = file.with_extension("part");
    tokio::fs::write(&unfinished, bytes).await?;
    tokio::fs::rename(&unfinished, file).await
}
