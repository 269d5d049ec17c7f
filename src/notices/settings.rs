//! Settings of mail.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use crate::arguments::parse_duration;
use clap::Args as ClapArgs;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::TlsParameters;
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::mailer::Mailer;
use super::smtp::{Security, SmtpServer, WAIT_FOR_CONNECTION};

/// The least and the most of the time for one mail. With the wait for a connection it stays below
/// the time limit of a job. A server that takes a mail, but says so too late, gets it once more, so
/// RFC 5321, 4.5.3.2.6, would have us wait for minutes; submission servers answer within seconds.
const TIMEOUTS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5 * 60)];
/// The longest time that sending a mail takes, with the wait for a connection.
pub const LONGEST_SEND: Duration = WAIT_FOR_CONNECTION.saturating_add(TIMEOUTS[1]);
/// The ports of submission with TLS (RFC 8314, 3.3) and with STARTTLS (RFC 6409, 3.1), and of
/// relays.
const SMTPS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
const RELAY_PORT: u16 = 25;
/// The sender of mails that are only kept as files.
const FOLDER_SENDER: &str = "Surety <no-reply@surety.localhost>";

/// Settings of mail, shared by all who send it.
#[derive(ClapArgs, Clone, Debug)]
pub struct MailArgs {
    /// The mail server: smtps://user:password@host, or smtp://user:password@host, which requires
    /// STARTTLS unless ?tls=none is added. Without it, no mail is sent. [default: none]
    #[arg(long, env = "APP_SMTP_URL", hide_env_values = true, value_name = "URL")]
    pub smtp_url: Option<SmtpUrl>,

    /// Whom mails are from, such as 'Surety <no-reply@surety.example>'. [default: none]
    #[arg(long, env = "APP_MAIL_FROM", value_name = "MAILBOX")]
    pub mail_from: Option<String>,

    /// Time limit of sending one mail, from the connection to the last answer of the mail server;
    /// at most 5m.
    #[arg(
        long,
        env = "APP_SMTP_TIMEOUT",
        default_value = "1m",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub smtp_timeout: Duration,

    /// The most connections to the mail server at once, of each worker.
    #[arg(
        long,
        env = "APP_SMTP_CONNECTIONS",
        default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=100),
        value_name = "CONNECTIONS"
    )]
    pub smtp_connections: u16,

    /// The folder that keeps mails as files where there is no mail server.
    #[arg(skip)]
    pub folder: Option<PathBuf>,
}

/// The URL of the mail server, with a password in it that `Debug` does not show.
#[derive(Clone)]
pub struct SmtpUrl(String);

impl FromStr for SmtpUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpUrl(..)")
    }
}

/// Settings of mail that cannot work. Each message names the way out, and shows no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MailSettingsError {
    /// The text is no URL of a mail server.
    #[error("APP_SMTP_URL is not a URL; write it as smtps://user:password@mail.example")]
    NotAUrl,
    /// A URL of something else.
    #[error("APP_SMTP_URL begins with neither smtps:// nor smtp://")]
    Scheme,
    /// With a path or fragment, which has no meaning: a `#` in a password, most likely.
    #[error(
        "APP_SMTP_URL has something behind the host; write / ? # @ in a password as %2F %3F %23 %40"
    )]
    Rest,
    /// With a parameter that is not known.
    #[error("APP_SMTP_URL may end in ?tls=required or ?tls=none, and nothing else")]
    Parameter,
    /// With one of the two only, or one that is no text.
    #[error("APP_SMTP_URL needs a user name and a password, percent-encoded, or neither")]
    Credentials,
    /// A password that others could read on its way.
    #[error("APP_SMTP_URL would send the password in plain text: leave out ?tls=none")]
    PlainPassword,
    /// No sender.
    #[error("APP_SMTP_URL needs APP_MAIL_FROM, such as 'Surety <no-reply@surety.example>'")]
    NoSender,
    /// A sender that is none.
    #[error("APP_MAIL_FROM is not a mailbox; write it as 'Surety <no-reply@surety.example>'")]
    Sender,
    /// A time with which nothing would work.
    #[error(
        "APP_SMTP_TIMEOUT ({}) must be from {} to {}",
        humantime::format_duration(*given),
        humantime::format_duration(TIMEOUTS[0]),
        humantime::format_duration(TIMEOUTS[1])
    )]
    Timeout {
        /// The value that was given.
        given: Duration,
    },
    /// The system's certificates cannot be read, or the like.
    #[error("TLS to the mail server cannot be set up: {0}")]
    Tls(String),
}

impl Default for MailArgs {
    /// The values that hold when nothing is set.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            mail: MailArgs,
        }
        <Defaults as clap::Parser>::parse_from(["app"]).mail
    }
}

impl MailArgs {
    /// Tells if a mail server is named.
    pub fn has_server(&self) -> bool {
        // An environment file that leaves the variable empty means none.
        self.smtp_url.as_ref().is_some_and(|url| !url.0.is_empty())
    }

    /// The way that mails go: to the mail server; without one into the folder; without either
    /// none.
    ///
    /// # Errors
    ///
    /// [`MailSettingsError`].
    pub fn mailer(&self) -> Result<Option<Mailer>, MailSettingsError> {
        let [min, max] = TIMEOUTS;
        if !(min..=max).contains(&self.smtp_timeout) {
            return Err(MailSettingsError::Timeout { given: self.smtp_timeout });
        }
        let sender = self.mail_from.as_deref().filter(|text| !text.is_empty());
        let sender = sender.map(sender_of).transpose()?;
        match (&self.smtp_url, &self.folder) {
            (Some(url), _) if self.has_server() => {
                let sender = sender.ok_or(MailSettingsError::NoSender)?;
                let server = self.server(&url.0, sender.email.domain())?;
                Ok(Some(Mailer::by_smtp(sender, server)))
            }
            (_, Some(folder)) => {
                let ours = || FOLDER_SENDER.parse().expect("a mailbox");
                Ok(Some(Mailer::into_folder(sender.unwrap_or_else(ours), folder.clone())))
            }
            (_, None) => Ok(None),
        }
    }

    fn server(&self, url: &str, sender_domain: &str) -> Result<SmtpServer, MailSettingsError> {
        let url = Url::parse(url).map_err(|_| MailSettingsError::NotAUrl)?;
        let is_smtps = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(MailSettingsError::Scheme),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err(MailSettingsError::NotAUrl),
        };
        if !["", "/"].contains(&url.path()) || url.fragment().is_some() {
            return Err(MailSettingsError::Rest);
        }
        let is_plain = match url.query() {
            None | Some("tls=required") => false,
            Some("tls=none") if !is_smtps => true,
            Some(_) => return Err(MailSettingsError::Parameter),
        };
        let credentials = credentials(&url)?;
        if is_plain && credentials.is_some() {
            return Err(MailSettingsError::PlainPassword);
        }
        let tls = || {
            let parameters = TlsParameters::new(host.clone());
            parameters.map_err(|error| MailSettingsError::Tls(error.to_string()))
        };
        let (security, port) = match (is_smtps, is_plain) {
            (true, _) => (Security::Tls(tls()?), SMTPS_PORT),
            (false, false) => (Security::StartTls(tls()?), SUBMISSION_PORT),
            (false, true) => (Security::Plain, RELAY_PORT),
        };
        Ok(SmtpServer {
            port: url.port().unwrap_or(port),
            security,
            credentials,
            hello: ClientId::Domain(sender_domain.to_owned()),
            timeout: self.smtp_timeout,
            permits: Semaphore::new(usize::from(self.smtp_connections)),
            idle: Mutex::new(Vec::new()),
            host,
        })
    }
}

/// A sender whose domain can end a `Message-ID`, which is in ASCII.
fn sender_of(text: &str) -> Result<Mailbox, MailSettingsError> {
    let mailbox: Mailbox = text.parse().map_err(|_| MailSettingsError::Sender)?;
    let is_usable = mailbox.email.domain().is_ascii() && !text.chars().any(char::is_control);
    if is_usable { Ok(mailbox) } else { Err(MailSettingsError::Sender) }
}

/// The words before the `@`, decoded.
fn credentials(url: &Url) -> Result<Option<Credentials>, MailSettingsError> {
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        let text = bytes.decode_utf8().map_err(|_| MailSettingsError::Credentials)?;
        match text.is_empty() || text.contains('\0') {
            true => Err(MailSettingsError::Credentials),
            false => Ok(text.into_owned()),
        }
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, password) => {
            let password = decoded(password.unwrap_or_default())?;
            Ok(Some(Credentials::new(decoded(user)?, password)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(url: &str, from: &str) -> Result<Option<Mailer>, MailSettingsError> {
        let args = MailArgs {
            smtp_url: Some(SmtpUrl(url.to_owned())),
            mail_from: Some(from.to_owned()),
            ..MailArgs::default()
        };
        assert!(!format!("{args:?}").contains("hunter2"), "{args:?}");
        let mailer = args.mailer();
        assert!(!format!("{mailer:?}").contains("hunter2"), "{mailer:?}");
        mailer
    }

    const FROM: &str = "Surety <no-reply@surety.example>";

    #[test]
    fn without_a_server_and_a_folder_there_is_no_way() {
        assert!(MailArgs::default().mailer().expect("the defaults work").is_none());
        assert!(with("", "").expect("empty means none").is_none());
    }

    #[test]
    fn servers_are_taken_with_tls_and_without_where_no_password_is_sent() {
        for url in [
            "smtps://ada:hunter2@mail.example",
            "smtps://ada%40mail.example:hunter2%23@mail.example:2465",
            "smtp://ada:hunter2@mail.example:587?tls=required",
            "smtp://mail.example",
            "smtp://127.0.0.1:25?tls=none",
            "smtp://[::1]:25/?tls=none",
        ] {
            assert!(with(url, FROM).expect(url).is_some(), "{url}");
        }
    }

    #[test]
    fn what_is_no_mail_server_is_refused_with_the_way_out() {
        use MailSettingsError::{Credentials, NotAUrl, Parameter, PlainPassword, Rest, Scheme};
        for (url, expected) in [
            ("mail.example", NotAUrl),
            ("smtp://", NotAUrl),
            ("https://mail.example", Scheme),
            ("hunter2:465", Scheme),
            ("smtps://ada:hunter2#x@mail.example", NotAUrl),
            ("smtps://mail.example/hunter2", Rest),
            ("smtps://mail.example#hunter2", Rest),
            ("smtps://mail.example?tls=none", Parameter),
            ("smtp://mail.example?tls=opportunistic", Parameter),
            ("smtp://mail.example?hunter2", Parameter),
            ("smtps://ada@mail.example", Credentials),
            ("smtps://:hunter2@mail.example", Credentials),
            ("smtps://ada:hunter2%ff@mail.example", Credentials),
            ("smtp://ada:hunter2@mail.example?tls=none", PlainPassword),
        ] {
            let refused = with(url, FROM).expect_err(url);
            assert_eq!(refused, expected, "{url}");
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_server_needs_a_sender_with_a_domain_for_message_ids() {
        let url = "smtps://mail.example";
        assert_eq!(with(url, "").expect_err("no sender"), MailSettingsError::NoSender);
        for from in ["nobody", "a@b@c", "Surety <no-reply@bücher.example>", "a\r\n <x@y.example>"]
        {
            assert_eq!(with(url, from).expect_err(from), MailSettingsError::Sender, "{from:?}");
        }
    }

    #[test]
    fn a_time_with_which_nothing_would_work_is_refused_by_name() {
        for secs in [0, 301] {
            let args = MailArgs { smtp_timeout: Duration::from_secs(secs), ..MailArgs::default() };
            let refused = args.mailer().expect_err("it cannot work").to_string();
            assert!(refused.starts_with("APP_SMTP_TIMEOUT"), "{refused}");
        }
    }
}
