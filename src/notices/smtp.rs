//! The conversation with the mail server, by lettre's connections.
//!
//! Not by its pool: that limits no number of connections, and puts back one whose mail was given up
//! half-way, so that the next mail would be told what was said of the one before. Here a
//! connection is kept only after a mail that was taken.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::{Address, Message};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::mailer::{Refusal, SendError, Trouble};

/// The time that a mail waits for a connection. With the longest time of sending it stays below the
/// time limit of a job.
pub(super) const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(25);
/// A connection that was idle for longer is not used again: servers close them after minutes (RFC
/// 5321, 4.5.3.2.7), and some much sooner.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// The mail server.
pub(super) struct SmtpServer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<Credentials>,
    /// The name that we introduce ourselves by.
    pub(super) hello: ClientId,
    /// For one mail, from the connection to the last answer.
    pub(super) timeout: Duration,
    /// As many as there may be connections.
    pub(super) permits: Semaphore,
    /// Connections that wait for the next mail, and since when.
    pub(super) idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

/// The protection of what is said to the mail server.
pub(super) enum Security {
    /// TLS from the first byte (RFC 8314, 3.3).
    Tls(TlsParameters),
    /// STARTTLS before anything is told, or no mail (RFC 3207).
    StartTls(TlsParameters),
    /// None: for relays that nobody listens on the way to.
    Plain,
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpServer").finish_non_exhaustive()
    }
}

impl SmtpServer {
    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let Ok(permit) = timeout(WAIT_FOR_CONNECTION, self.permits.acquire()).await else {
            return Err(SendError::Busy);
        };
        let _permit = permit.expect("it is never closed");
        // What is cut off here drops its connection.
        match timeout(self.timeout, self.converse(message)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Unavailable(Trouble::TimedOut)),
        }
    }

    async fn converse(&self, message: &Message) -> Result<(), SendError> {
        let mut connection = self.connection().await.map_err(unavailable)?;
        let bytes = message.formatted();
        let envelope = message.envelope();
        let mut parameters = Vec::new();
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !envelope.to().iter().all(is_ascii) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::Refused(Refusal::NeedsUtf8));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        // Bodies are encoded; only the header of such an address is not in ASCII.
        if !bytes.is_ascii() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let sender = Mail::new(envelope.from().cloned(), parameters);
        // A refusal of the sender is about the settings, and not about this mail.
        connection.command(sender).await.map_err(|error| unavailable(error.into()))?;
        for recipient in envelope.to() {
            connection.command(Rcpt::new(recipient.clone(), Vec::new())).await.map_err(refused)?;
        }
        connection.command(Data).await.map_err(refused)?;
        connection.message(&bytes).await.map_err(refused)?;
        self.lock_idle().push((connection, Instant::now()));
        Ok(())
    }

    /// A connection that waits and still works, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, ConnectionError> {
        loop {
            let Some((mut connection, since)) = self.lock_idle().pop() else { break };
            if since.elapsed() < MAX_IDLE && connection.test_connected().await {
                return Ok(connection);
            }
        }
        let (tls, start_tls) = match &self.security {
            Security::Tls(tls) => (Some(tls.clone()), None),
            Security::StartTls(tls) => (None, Some(tls.clone())),
            Security::Plain => (None, None),
        };
        let address = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, None, &self.hello, tls, None).await?;
        if let Some(tls) = start_tls {
            if !connection.can_starttls() {
                return Err(ConnectionError::NoTls);
            }
            connection.starttls(tls, &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<(AsyncSmtpConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason that there is no connection that mails can be sent on.
enum ConnectionError {
    NoTls,
    Smtp(Error),
}

impl From<Error> for ConnectionError {
    fn from(error: Error) -> Self {
        Self::Smtp(error)
    }
}

/// Trouble that has nothing to do with the mail: whatever the answer, another attempt may succeed.
fn unavailable(error: ConnectionError) -> SendError {
    SendError::Unavailable(match error {
        ConnectionError::NoTls => Trouble::NoTls,
        ConnectionError::Smtp(error) => trouble(&error),
    })
}

/// An answer to what the mail itself says: from 500 on it is final.
fn refused(error: Error) -> SendError {
    match trouble(&error) {
        // A lack of rights (RFC 4954, 6) and a command that is not known are about the settings.
        Trouble::Answer(code) if code >= 500 && !matches!(code, 500 | 502..=504 | 530..=538) => {
            SendError::Refused(Refusal::Answer(code))
        }
        trouble => SendError::Unavailable(trouble),
    }
}

/// The trouble without what the server said: it repeats addresses, and after AUTH might repeat
/// more.
fn trouble(error: &Error) -> Trouble {
    match error.status() {
        Some(code) => Trouble::Answer(code.into()),
        None if error.is_response() => Trouble::Unreadable,
        None => Trouble::Connection(error.to_string()),
    }
}
