//! Settings of the way to the bank and of its circuit breaker.

use std::time::Duration;

use crate::arguments::parse_duration;
use clap::Args as ClapArgs;
use url::Url;

use super::breaker::BreakerSettings;
use super::client::{BankClient, ClientLimits};

/// A probe that has not reported so long after the call must have ended is taken for dead. It is
/// the time for the two commits around the call.
const PROBE_MARGIN: Duration = Duration::from_secs(10);

/// The longest total time-out: a run of a job makes up to two calls, an enquiry and what it leads
/// to, and must end by itself, for a run that is stopped tells neither the log nor the breaker.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(40);
/// The shortest and the longest of the waits.
const WAITS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(24 * 60 * 60)];

/// Settings of the way to the bank and of its circuit breaker; shared by all who call it.
#[derive(ClapArgs, Clone, Debug)]
pub struct BankArgs {
    /// Base URL of the bank. Without it, deposits and withdrawals wait. [default: none]
    #[arg(long, env = "APP_BANK_URL", value_name = "URL")]
    pub bank_url: Option<String>,

    /// Time limit of a connection to the bank.
    #[arg(
        long,
        env = "APP_BANK_CONNECT_TIMEOUT",
        default_value = "3s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub bank_connect_timeout: Duration,

    /// Time limit of a call to the bank, from the connection to the last byte of the answer; at
    /// most 40s.
    #[arg(
        long,
        env = "APP_BANK_TIMEOUT",
        default_value = "15s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub bank_timeout: Duration,

    /// The most bytes of an answer of the bank's.
    #[arg(
        long,
        env = "APP_BANK_MAX_ANSWER",
        default_value_t = 64 << 10,
        value_parser = clap::value_parser!(u32).range(1024..),
        value_name = "BYTES"
    )]
    pub bank_max_answer: u32,

    /// Delay of the second attempt of a deposit or withdrawal after the first failed, about; each
    /// further one waits four times as long.
    #[arg(
        long,
        env = "APP_BANK_RETRY_DELAY",
        default_value = "4s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub bank_retry_delay: Duration,

    /// An instruction that the bank does not know may still be on its way to it. After so long it
    /// is taken for lost, and its order may fail.
    #[arg(
        long,
        env = "APP_BANK_LOST_AFTER",
        default_value = "2m",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub bank_lost_after: Duration,

    /// Failed calls in a row, over all workers, after which the bank is left alone.
    #[arg(
        long,
        env = "APP_BANK_BREAKER_THRESHOLD",
        default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..),
        value_name = "CALLS"
    )]
    pub bank_breaker_threshold: u16,

    /// Time that the bank is left alone before one call probes whether it is back.
    #[arg(
        long,
        env = "APP_BANK_BREAKER_OPEN",
        default_value = "60s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub bank_breaker_open: Duration,
}

/// Settings of the bank that cannot work. Each message names the way out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BankSettingsError {
    /// The text is no URL at all. It is not shown: what is no URL may be a password.
    #[error("APP_BANK_URL is not a URL; write it as https://bank.example/api")]
    NotAUrl,
    /// A URL of something else.
    #[error("APP_BANK_URL begins with neither http:// nor https://")]
    Scheme,
    /// With a name or password in it, which would be in logs and traces.
    #[error("APP_BANK_URL has a user name or password in it; remove what stands before the @")]
    Credentials,
    /// With a query or fragment, to which no path can be added.
    #[error("APP_BANK_URL has a query or fragment; remove what follows the ? or #")]
    Query,
    /// A connection that may take longer than the whole call.
    #[error(
        "APP_BANK_CONNECT_TIMEOUT ({}) must be above 0 and below APP_BANK_TIMEOUT ({})",
        humantime::format_duration(*connect),
        humantime::format_duration(*total)
    )]
    Timeouts {
        /// The limit of the connection.
        connect: Duration,
        /// The limit of the call.
        total: Duration,
    },
    /// A duration with which nothing would work.
    #[error(
        "{name} ({}) must be from {} to {}",
        humantime::format_duration(*given),
        humantime::format_duration(*min),
        humantime::format_duration(*max)
    )]
    OutOfRange {
        /// The name of the setting.
        name: &'static str,
        /// The value that was given.
        given: Duration,
        /// The least that it may be.
        min: Duration,
        /// The most that it may be.
        max: Duration,
    },
    /// The system's certificates cannot be read, or the like.
    #[error("the client of the bank cannot be set up: {0}")]
    Client(String),
}

impl Default for BankArgs {
    /// The values that hold when nothing is set.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            bank: BankArgs,
        }
        <Defaults as clap::Parser>::parse_from(["app"]).bank
    }
}

impl BankArgs {
    /// The client; `None` when no URL is set.
    ///
    /// # Errors
    ///
    /// [`BankSettingsError`].
    pub fn client(&self) -> Result<Option<BankClient>, BankSettingsError> {
        self.check()?;
        // An environment file that leaves the variable empty means none.
        let Some(url) = self.bank_url.as_deref().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let limits = ClientLimits {
            connect_timeout: self.bank_connect_timeout,
            total_timeout: self.bank_timeout,
            max_answer_bytes: usize::try_from(self.bank_max_answer).unwrap_or(usize::MAX),
        };
        let client = BankClient::new(parse_url(url)?, limits)
            .map_err(|error| BankSettingsError::Client(error.to_string()))?;
        Ok(Some(client))
    }

    fn check(&self) -> Result<(), BankSettingsError> {
        let (connect, total) = (self.bank_connect_timeout, self.bank_timeout);
        if connect.is_zero() || connect >= total {
            return Err(BankSettingsError::Timeouts { connect, total });
        }
        let [min, max] = WAITS;
        for (name, given, min, max) in [
            ("APP_BANK_TIMEOUT", total, min, MAX_TIMEOUT),
            ("APP_BANK_RETRY_DELAY", self.bank_retry_delay, min, max),
            // What may still be sent is not lost.
            ("APP_BANK_LOST_AFTER", self.bank_lost_after, total, max),
            ("APP_BANK_BREAKER_OPEN", self.bank_breaker_open, min, max),
        ] {
            if !(min..=max).contains(&given) {
                return Err(BankSettingsError::OutOfRange { name, given, min, max });
            }
        }
        Ok(())
    }

    /// The settings of the circuit breaker.
    pub fn breaker(&self) -> BreakerSettings {
        BreakerSettings {
            threshold: self.bank_breaker_threshold,
            open_for: self.bank_breaker_open,
            probe_lease: self.bank_timeout + PROBE_MARGIN,
        }
    }
}

/// A URL that paths can be added to.
fn parse_url(text: &str) -> Result<Url, BankSettingsError> {
    let url = Url::parse(text).map_err(|_| BankSettingsError::NotAUrl)?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(BankSettingsError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BankSettingsError::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BankSettingsError::Query);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> Result<Option<BankClient>, BankSettingsError> {
        BankArgs { bank_url: Some(url.to_owned()), ..BankArgs::default() }.client()
    }

    #[test]
    fn without_a_url_there_is_no_client() {
        assert!(BankArgs::default().client().expect("the defaults work").is_none());
        assert!(with_url("").expect("empty means none").is_none());
    }

    #[test]
    fn http_and_https_urls_are_taken() {
        for url in ["http://127.0.0.1:8100", "https://bank.example/api/", "http://[::1]:1/x"] {
            assert!(with_url(url).expect(url).is_some(), "{url}");
        }
    }

    #[test]
    fn what_is_no_place_of_a_bank_is_refused_with_the_way_out() {
        use BankSettingsError::{Credentials, NotAUrl, Query, Scheme};
        for (url, expected) in [
            ("127.0.0.1:8100", NotAUrl),
            ("/payments", NotAUrl),
            ("http://", NotAUrl),
            ("ftp://bank.example", Scheme),
            ("hunter2:8100", Scheme),
            ("http://user:hunter2@bank.example", Credentials),
            ("http://user@bank.example", Credentials),
            ("http://:hunter2@bank.example", Credentials),
            ("http://bank.example/?key=hunter2", Query),
            ("http://bank.example/#x", Query),
        ] {
            let refused = with_url(url).expect_err(url);
            assert_eq!(refused, expected, "{url}");
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_connection_may_not_take_longer_than_the_call() {
        for connect_secs in [0, 15, 20] {
            let bank_connect_timeout = Duration::from_secs(connect_secs);
            let args = BankArgs { bank_connect_timeout, ..BankArgs::default() };
            let refused = args.client().expect_err("it cannot work");
            assert!(matches!(refused, BankSettingsError::Timeouts { .. }), "{refused}");
        }
    }

    #[test]
    fn a_duration_with_which_nothing_would_work_is_refused_by_name() {
        let secs = Duration::from_secs;
        let defaults = BankArgs::default;
        for (args, words) in [
            (BankArgs { bank_timeout: secs(41), ..defaults() }, "APP_BANK_TIMEOUT (41s)"),
            (BankArgs { bank_retry_delay: secs(0), ..defaults() }, "APP_BANK_RETRY_DELAY (0s)"),
            (BankArgs { bank_retry_delay: Duration::MAX, ..defaults() }, "APP_BANK_RETRY_DELAY"),
            (BankArgs { bank_lost_after: secs(14), ..defaults() }, "APP_BANK_LOST_AFTER (14s)"),
            (BankArgs { bank_breaker_open: secs(0), ..defaults() }, "APP_BANK_BREAKER_OPEN (0s)"),
            (BankArgs { bank_breaker_open: Duration::MAX, ..defaults() }, "APP_BANK_BREAKER_OPEN"),
        ] {
            let refused = args.client().expect_err(words).to_string();
            assert!(refused.starts_with(words) && refused.contains("must be from"), "{refused}");
        }
    }

    #[test]
    fn a_probe_may_take_as_long_as_a_call() {
        let args = BankArgs::default();
        assert!(args.breaker().probe_lease > args.bank_timeout);
    }
}
