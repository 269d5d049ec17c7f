//! Settings of the relay, and the broker that a URL means.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::arguments::parse_duration;
use clap::{Args as ClapArgs, ValueEnum};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::db::DatabaseArgs;
use crate::events::reader::Start;
use crate::probes::ProbeArgs;

/// The port of NATS.
const NATS_PORT: u16 = 4222;
/// The most bytes of a name in AMQP, a "short string" (AMQP 0-9-1, 4.2.5.3).
const MAX_NAME_BYTES: usize = 255;
/// The least and the most of a lease: longer than a batch takes, and less than an operator's
/// patience.
const LEASES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10 * 60)];

/// Publishes events to a broker that there is already, until told to stop.
#[derive(ClapArgs, Clone, Debug)]
#[command(after_help = "Examples:
  app relay --to nats://127.0.0.1:4222 --create-stream SURETY
  APP_RELAY_TO_FILE=/run/secrets/broker app relay --exchange surety --from beginning
  app relay --to nats://127.0.0.1:4222 --once                  what there is, for cron

Every event is published at least once, as a CloudEvent, events of one account in the order of their
commits, and with an id by which a second one is known. docs/relay.md says what readers can rely on.

The first SIGINT, SIGTERM or SIGHUP ends the batch under way and exits 0. Several processes of one
--name are one that works and others that wait to take over.")]
pub struct Args {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The broker: nats://user:password@host:4222 (tls:// for TLS), or
    /// amqp://user:password@host:5672/vhost (amqps:// for TLS).
    ///
    /// With a password, better by APP_RELAY_TO_FILE: other users of the machine can see a command's
    /// arguments.
    #[arg(long, env = "APP_RELAY_TO", hide_env_values = true, value_name = "URL")]
    pub to: BrokerUrl,

    /// The name under which is kept how far this relay is; another one for another broker.
    #[arg(long, env = "APP_RELAY_NAME", default_value = "relay", value_parser = parse_name)]
    pub name: String,

    /// The first event of a relay with a new name.
    #[arg(long, value_enum, default_value_t)]
    pub from: From,

    /// The source of the events, as CloudEvents name it: a URI.
    #[arg(long, env = "APP_RELAY_SOURCE", default_value = "urn:surety", value_parser = parse_source,
          value_name = "URI")]
    pub source: String,

    /// NATS: the beginning of subjects; the type of the event follows.
    #[arg(long, env = "APP_RELAY_SUBJECT", default_value = "surety.events",
          value_parser = parse_subject)]
    pub subject: String,

    /// NATS: makes a stream of this name for these subjects, unless it is there.
    #[arg(long, env = "APP_RELAY_CREATE_STREAM", value_parser = parse_stream, value_name = "NAME")]
    pub create_stream: Option<String>,

    /// AMQP: the exchange; a durable one of type topic is made unless it is there.
    #[arg(long, env = "APP_RELAY_EXCHANGE", default_value = "surety",
          value_parser = parse_short_name)]
    pub exchange: String,

    /// AMQP: the routing key of all events. [default: the type of the event]
    #[arg(long, env = "APP_RELAY_ROUTING_KEY", value_parser = parse_short_name, value_name = "KEY")]
    pub routing_key: Option<String>,

    /// AMQP: the treatment of an event for which no queue is bound.
    #[arg(long, env = "APP_RELAY_UNROUTABLE", value_enum, default_value_t)]
    pub unroutable: Unroutable,

    /// The most events that are published before they are confirmed.
    #[arg(long, env = "APP_RELAY_BATCH", default_value_t = 256, value_name = "EVENTS",
          value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub batch: u16,

    /// The interval at which new events are looked for.
    #[arg(long, env = "APP_RELAY_POLL", default_value = "500ms", value_parser = parse_duration)]
    pub poll: Duration,

    /// The time after which another process takes over from one that died.
    #[arg(long, env = "APP_RELAY_LEASE", default_value = "15s", value_parser = parse_lease)]
    pub lease: Duration,

    /// Ends when there is nothing left to relay, and with an error at the first failure.
    #[arg(long)]
    pub once: bool,

    /// Where probes are answered.
    #[command(flatten)]
    pub probes: ProbeArgs,
}

/// The first event of a new relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum From {
    /// The first one from now on.
    #[default]
    Now,
    /// The first one that there ever was.
    Beginning,
}

impl From {
    /// In the words of the events.
    #[must_use]
    pub const fn start(self) -> Start {
        match self {
            Self::Now => Start::Now,
            Self::Beginning => Start::Beginning,
        }
    }
}

/// The treatment of an event that no queue would get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Unroutable {
    /// It is published again until a queue is bound, and all behind it wait.
    #[default]
    Wait,
    /// Nobody wants it.
    Drop,
}

/// The URL of a broker, with a password in it that `Debug` does not show.
#[derive(Clone)]
pub struct BrokerUrl(String);

impl FromStr for BrokerUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokerUrl(..)")
    }
}

/// The place that events are published to.
#[derive(Clone, Debug)]
pub enum Destination {
    /// NATS JetStream.
    Nats(NatsDestination),
    /// AMQP 0-9-1.
    Amqp(AmqpDestination),
}

/// A NATS server.
#[derive(Clone)]
pub struct NatsDestination {
    /// The URL, without user and password.
    pub server: String,
    /// True if the server must speak TLS.
    pub is_tls: bool,
    /// The user; without a password, a token.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The beginning of subjects.
    pub subject: String,
    /// The stream to make.
    pub create_stream: Option<String>,
}

impl fmt::Debug for NatsDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsDestination").field("server", &self.server).finish_non_exhaustive()
    }
}

/// An AMQP broker.
#[derive(Clone)]
pub struct AmqpDestination {
    /// The URL, with user and password.
    pub url: String,
    /// Host and port.
    pub server: String,
    /// The exchange.
    pub exchange: String,
    /// The routing key of all events.
    pub routing_key: Option<String>,
    /// The treatment of an event that no queue would get.
    pub unroutable: Unroutable,
}

impl fmt::Debug for AmqpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpDestination").field("server", &self.server).finish_non_exhaustive()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nats(to) => f.write_str(&to.server),
            Self::Amqp(to) => f.write_str(&to.server),
        }
    }
}

/// A URL that is none of a broker. No message shows any of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokerUrlError {
    /// The text is no URL, or has no host.
    #[error("APP_RELAY_TO is not a URL; write it as nats://user:password@host:4222")]
    NotAUrl,
    /// A URL of something else.
    #[error("APP_RELAY_TO begins with none of nats://, tls://, amqp:// and amqps://")]
    Scheme,
    /// With a part that has no meaning: a `#` in a password, most likely.
    #[error(
        "APP_RELAY_TO has something behind the host that means nothing; write / ? # @ in a \
         password as %2F %3F %23 %40"
    )]
    Rest,
    /// User or password is no text.
    #[error("APP_RELAY_TO needs user and password percent-encoded")]
    Credentials,
}

impl Args {
    /// The broker that these settings mean.
    ///
    /// # Errors
    ///
    /// [`BrokerUrlError`].
    pub fn destination(&self) -> Result<Destination, BrokerUrlError> {
        let BrokerUrl(text) = &self.to;
        let url = Url::parse(text.trim()).map_err(|_hidden| BrokerUrlError::NotAUrl)?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or(BrokerUrlError::NotAUrl)?;
        if url.fragment().is_some() {
            return Err(BrokerUrlError::Rest);
        }
        match url.scheme() {
            "nats" | "tls" => {
                if !matches!(url.path(), "" | "/") || url.query().is_some() {
                    return Err(BrokerUrlError::Rest);
                }
                let port = url.port().unwrap_or(NATS_PORT);
                let user = Some(url.username()).filter(|user| !user.is_empty());
                Ok(Destination::Nats(NatsDestination {
                    server: format!("{}://{host}:{port}", url.scheme()),
                    is_tls: url.scheme() == "tls",
                    user: user.map(decoded).transpose()?,
                    password: url.password().map(decoded).transpose()?,
                    subject: self.subject.clone(),
                    create_stream: self.create_stream.clone(),
                }))
            }
            "amqp" | "amqps" => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                Ok(Destination::Amqp(AmqpDestination {
                    url: url.to_string(),
                    server: format!("{}://{host}{port}", url.scheme()),
                    exchange: self.exchange.clone(),
                    routing_key: self.routing_key.clone(),
                    unroutable: self.unroutable,
                }))
            }
            _ => Err(BrokerUrlError::Scheme),
        }
    }

    /// The reader of events that this relay is.
    #[must_use]
    pub fn reader(&self) -> String {
        format!("relay:{}", self.name)
    }
}

fn decoded(text: &str) -> Result<String, BrokerUrlError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_hidden| BrokerUrlError::Credentials)
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("a name has 1 to 64 letters, digits, '_', '-' and '.'".to_owned()),
    }
}

fn parse_source(text: &str) -> Result<String, String> {
    let is_uri =
        !text.is_empty() && text.len() <= 1024 && text.bytes().all(|it| it > b' ' && it < 127);
    is_uri.then(|| text.to_owned()).ok_or_else(|| "a source is a URI of ASCII letters".to_owned())
}

fn parse_subject(text: &str) -> Result<String, String> {
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|it| it.is_ascii_graphic() && !b"*>".contains(&it))
    };
    match text.len() <= 128 && text.split('.').all(is_token) {
        true => Ok(text.to_owned()),
        false => Err("a subject is words with '.' between them, without '*' and '>'".to_owned()),
    }
}

fn parse_stream(text: &str) -> Result<String, String> {
    let is_name = |it: u8| it.is_ascii_alphanumeric() || b"_-".contains(&it);
    match (1..=32).contains(&text.len()) && text.bytes().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("a stream has a name of 1 to 32 letters, digits, '_' and '-'".to_owned()),
    }
}

fn parse_short_name(text: &str) -> Result<String, String> {
    match text.len() <= MAX_NAME_BYTES {
        true => Ok(text.to_owned()),
        false => Err(format!("a name in AMQP has at most {MAX_NAME_BYTES} bytes")),
    }
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    let lease = parse_duration(text).map_err(|error| error.to_string())?;
    match lease >= LEASES[0] && lease <= LEASES[1] {
        true => Ok(lease),
        false => Err("a lease takes from 1s to 10m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn destination(url: &str) -> Result<Destination, BrokerUrlError> {
        let cli = ["relay", "--database-url", "postgres://h/d", "--to", url];
        Cli::try_parse_from(cli).expect("settings").args.destination()
    }

    #[test]
    fn a_broker_is_shown_without_user_and_password() {
        for (url, shown) in [
            ("nats://me:hunter%402@h:1", "nats://h:1"),
            ("tls://hunter2@h", "tls://h:4222"),
            ("amqp://me:hunter2@h/v", "amqp://h"),
            ("amqps://me:hunter2@[::1]:5671", "amqps://[::1]:5671"),
        ] {
            let destination = destination(url).expect(url);
            assert_eq!(destination.to_string(), shown);
            assert!(!format!("{destination:?}").contains("hunter"), "{destination:?}");
        }
        let Ok(Destination::Nats(nats)) = destination("nats://me:hunter%402@h:1") else {
            panic!("not NATS");
        };
        assert_eq!(nats.password.as_deref(), Some("hunter@2"));
    }

    #[test]
    fn what_is_no_broker_is_refused_without_being_shown() {
        for (url, expected) in [
            ("hunter2", BrokerUrlError::NotAUrl),
            ("nats:hunter2", BrokerUrlError::NotAUrl),
            ("kafka://hunter2@h", BrokerUrlError::Scheme),
            ("nats://me:hunt#er2@h", BrokerUrlError::NotAUrl),
            ("nats://h/hunter2", BrokerUrlError::Rest),
            ("amqp://h/#hunter2", BrokerUrlError::Rest),
            ("nats://me:%ff@h", BrokerUrlError::Credentials),
        ] {
            let refused = destination(url).expect_err(url);
            assert_eq!(refused, expected, "{url}");
            assert!(!refused.to_string().contains("hunt"), "{refused}");
        }
    }
}
