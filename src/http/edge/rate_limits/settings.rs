//! The limits, and the grammar of their settings: `10/min`, `1000/1h`, `off`.

use std::str::FromStr;
use std::time::Duration;

use super::LimitClass;
use crate::http::edge::client_address::TrustedProxies;

/// No window is longer: a bucket that takes longer to fill is no rate limit.
const WINDOW_SECS_MAX: u64 = 31 * 24 * 3600;
/// The most requests per window, so that all arithmetic fits into the database's integers.
const REQUESTS_MAX: u32 = 1_000_000_000;

/// The limits of all classes, and by whom the address of a client is believed.
#[derive(clap::Args, Clone, Debug)]
pub struct LimitArgs {
    /// The most requests of one user for balances: 10/min, 100/1h, off.
    #[arg(long, env = "APP_LIMIT_BALANCE", default_value = "10/min", value_name = "LIMIT")]
    pub limit_balance: Limit,

    /// The most requests of one user for the list of transactions.
    #[arg(
        long,
        env = "APP_LIMIT_TRANSACTION_LIST",
        default_value = "20/min",
        value_name = "LIMIT"
    )]
    pub limit_transaction_list: Limit,

    /// The most requests of one caller for everything else.
    #[arg(long, env = "APP_LIMIT_API", default_value = "1000/min", value_name = "LIMIT")]
    pub limit_api: Limit,

    /// The most attempts to sign in to one account from one address, of IPv6 from one /64: guesses
    /// from elsewhere keep its owner out of nothing.
    #[arg(long, env = "APP_LIMIT_LOGIN_ACCOUNT", default_value = "10/min", value_name = "LIMIT")]
    pub limit_login_account: Limit,

    /// The most attempts to sign in from one address, to whichever account.
    #[arg(long, env = "APP_LIMIT_LOGIN_ADDRESS", default_value = "100/min", value_name = "LIMIT")]
    pub limit_login_address: Limit,

    /// The most inbound webhooks from one address. They are let through while the database cannot
    /// be asked; everything else is refused then.
    #[arg(long, env = "APP_LIMIT_INBOUND_WEBHOOKS", default_value = "off", value_name = "LIMIT")]
    pub limit_inbound_webhooks: Limit,

    /// Networks of proxies in front of this server, separated by commas: only of them is
    /// X-Forwarded-For believed.
    #[arg(
        long,
        env = "APP_TRUSTED_PROXIES",
        default_value = "",
        hide_default_value = true,
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: TrustedProxies,
}

impl LimitArgs {
    /// The limit of one class.
    pub(super) fn of(&self, class: LimitClass) -> Limit {
        match class {
            LimitClass::Balance => self.limit_balance,
            LimitClass::TransactionList => self.limit_transaction_list,
            LimitClass::Api => self.limit_api,
            LimitClass::LoginByAccount => self.limit_login_account,
            LimitClass::LoginByAddress => self.limit_login_address,
            LimitClass::InboundWebhook => self.limit_inbound_webhooks,
            // Each source has its own.
            LimitClass::WebhookSource => Limit::Off,
        }
    }
}

/// A limit, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Nobody is limited.
    Off,
    /// Each subject has this quota.
    Quota(Quota),
}

/// A number of requests at once, and as many again within each window, evenly spread over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// At least 1.
    pub(super) requests: u32,
    /// Whole seconds.
    pub(super) window: Duration,
}

impl Quota {
    /// The time until one more request is allowed.
    pub(super) fn interval(self) -> Duration {
        Duration::from_micros(self.interval_us())
    }

    /// The same in microseconds, the unit of the database's clock.
    pub(super) fn interval_us(self) -> u64 {
        let window_us = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        window_us / u64::from(self.requests)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let quota = text.split_once('/').and_then(|(requests, window)| {
            let one_of_it = window.starts_with(|first: char| !first.is_ascii_digit());
            let window = if one_of_it { format!("1{window}") } else { window.to_owned() };
            let window = humantime::parse_duration(&window).ok()?;
            Some(Quota { requests: requests.parse().ok()?, window })
        });
        let quota = quota.ok_or("expected requests per time, such as 10/min or 100/1h, or off")?;
        if quota.window.subsec_nanos() != 0
            || !(1..=WINDOW_SECS_MAX).contains(&quota.window.as_secs())
        {
            return Err("the time must be whole seconds, at most 31 days".to_owned());
        }
        let is_countable = (1..=REQUESTS_MAX).contains(&quota.requests);
        if !is_countable || quota.interval_us() == 0 {
            return Err("there must be at least 1 request, and not millions a second".to_owned());
        }
        Ok(Self::Quota(quota))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_requests_per_time() {
        let table = [
            ("10/min", 10, 60),
            ("10/m", 10, 60),
            ("5/s", 5, 1),
            ("1000/1h", 1000, 3600),
            ("100/10s", 100, 10),
            ("1/31d", 1, WINDOW_SECS_MAX),
        ];
        for (text, requests, secs) in table {
            let quota = Quota { requests, window: Duration::from_secs(secs) };
            assert_eq!(text.parse(), Ok(Limit::Quota(quota)), "{text}");
        }
        assert_eq!("off".parse(), Ok(Limit::Off));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "10",
            "/min",
            "10/",
            "0/min",
            "-1/min",
            "1.5/min",
            "10/500ms",
            "10/32d",
            "10/fortnight",
            "2000000/s",
            "2000000000/d",
            "99999999999/min",
            "Off",
            "10/0s",
        ] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }
}
