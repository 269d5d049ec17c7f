//! Settings of the API that `app serve` and `app dev` share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;

use crate::arguments::{BadSetting, SecretText, parse_duration, read_value};
use crate::http::api::inbound_webhooks::ConflictAnswer;
use crate::http::edge::caller::TransactionReaders;
use crate::http::edge::cors::CorsOrigins;
use crate::http::edge::rate_limits::LimitArgs;
use crate::standard_webhooks::WebhookSecret;

/// Settings of the API; shared by `app serve` and `app dev`.
#[derive(ClapArgs, Clone, Debug)]
pub struct ApiArgs {
    /// The secrets that inbound webhooks are signed with, each 'whsec_' and base64, separated by
    /// commas or spaces. Several are valid at once, for rotation.
    #[arg(long, env = "APP_WEBHOOK_SECRETS", hide_env_values = true, value_name = "SECRETS")]
    pub webhook_secrets: Option<SecretText>,

    /// A file that holds the secrets instead.
    #[arg(
        long,
        env = "APP_WEBHOOK_SECRETS_FILE",
        value_name = "FILE",
        conflicts_with = "webhook_secrets"
    )]
    pub webhook_secrets_file: Option<PathBuf>,

    /// A file (TOML) that describes providers with a shape and a signature scheme of their own,
    /// each received at /v1/webhooks/sources/NAME. Their secrets are in variables or files that it
    /// names. [default: none]
    #[arg(long, env = "APP_WEBHOOK_SOURCES", value_name = "FILE")]
    pub webhook_sources: Option<PathBuf>,

    /// Answer to a known transaction id with other content: 409, or a flagged 202. It is kept
    /// either way.
    #[arg(long, env = "APP_CONFLICT_ANSWER", value_enum, default_value_t, value_name = "ANSWER")]
    pub conflict_answer: ConflictAnswer,

    /// Readers of /v1/transactions. [default: operators; anybody without a webhook secret on a
    /// loopback address]
    #[arg(long, env = "APP_TRANSACTION_READERS", value_enum, value_name = "WHO")]
    pub transaction_readers: Option<TransactionReaders>,

    /// Time from acceptance to settlement of a transaction.
    #[arg(long, env = "APP_SETTLE_DELAY", default_value = "0s", value_parser = parse_duration)]
    pub settle_delay: Duration,

    /// The most bytes of a request body.
    #[arg(long, env = "APP_MAX_BODY", default_value_t = 1 << 20, value_name = "BYTES")]
    pub max_body: usize,

    /// Time that a client may take to send the headers of a request.
    #[arg(long, env = "APP_HEADER_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub header_timeout: Duration,

    /// Time that a client may take to send the body of a request.
    #[arg(long, env = "APP_BODY_TIMEOUT", default_value = "15s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// Time that a connection may be idle between requests.
    #[arg(long, env = "APP_IDLE_TIMEOUT", default_value = "75s", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// The most connections at once; more are answered 503.
    #[arg(
        long,
        env = "APP_MAX_CONNECTIONS",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "CONNECTIONS"
    )]
    pub max_connections: u32,

    /// The most connections to the database for reads; webhooks have their own.
    #[arg(
        long,
        env = "APP_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        value_name = "CONNECTIONS"
    )]
    pub database_connections: u32,

    /// Commits of webhooks that may be under way at the same time.
    #[arg(
        long,
        env = "APP_COMMITTERS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=64),
        value_name = "COMMITS"
    )]
    pub committers: u16,

    /// Limits of the requests of one caller.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Sites that may call the API from a browser, as `https://app.example`, separated by commas
    /// [default: none]
    #[arg(
        long,
        env = "APP_CORS_ORIGINS",
        default_value = "",
        hide_default_value = true,
        value_name = "ORIGINS"
    )]
    pub cors_origins: CorsOrigins,

    /// Time between two looks at the database for the figures of /metrics.
    #[arg(long, env = "APP_SAMPLE_INTERVAL", default_value = "10s", value_parser = parse_duration)]
    pub sample_interval: Duration,

    /// Time that /readyz says 503 before the process stops accepting, so that a balancer notices in
    /// time.
    #[arg(long, env = "APP_DRAIN_DELAY", default_value = "0s", value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// Time that requests under way may go on once the process stops accepting.
    #[arg(long, env = "APP_SERVE_GRACE", default_value = "20s", value_parser = parse_duration)]
    pub serve_grace: Duration,
}

/// The variable or file that should hold secrets holds none.
#[derive(Debug, thiserror::Error)]
#[error(
    "APP_WEBHOOK_SECRETS, or the file that APP_WEBHOOK_SECRETS_FILE names, holds no secret: \
     unset both, or make one with: echo whsec_$(openssl rand -base64 32)"
)]
pub struct NoSecretGiven;

impl Default for ApiArgs {
    /// The values that hold when nothing is set.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            api: ApiArgs,
        }
        <Defaults as clap::Parser>::parse_from(["app"]).api
    }
}

impl ApiArgs {
    /// The secrets, from wherever they are set.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or what is set holds no secret or what is none.
    pub fn secrets(&self) -> anyhow::Result<Vec<WebhookSecret>> {
        match (&self.webhook_secrets, &self.webhook_secrets_file) {
            (Some(text), _) => secrets_of(text.as_str()),
            (None, Some(file)) => secrets_in(file),
            (None, None) => Ok(Vec::new()),
        }
    }
}

/// Fails when what is to listen there, with these secrets, could be told anything by anybody.
///
/// # Errors
///
/// [`BadSetting`].
pub fn require_signatures(secrets: &[WebhookSecret], listen: SocketAddr) -> Result<(), BadSetting> {
    if secrets.is_empty() && !listen.ip().is_loopback() {
        return Err(BadSetting(format!(
            "refusing to listen on {listen} without a webhook secret, as anybody could post \
             transactions: set APP_WEBHOOK_SECRETS, or say --allow-unsigned"
        )));
    }
    Ok(())
}

/// The secrets in a file.
///
/// # Errors
///
/// When it cannot be read, or holds no secret or what is none.
pub(super) fn secrets_in(file: &Path) -> anyhow::Result<Vec<WebhookSecret>> {
    let text =
        read_value(file).context("the file that APP_WEBHOOK_SECRETS_FILE names cannot be read")?;
    secrets_of(&text)
}

/// The secrets of a text.
///
/// # Errors
///
/// When it holds no secret, or what is none.
pub(super) fn secrets_of(text: &str) -> anyhow::Result<Vec<WebhookSecret>> {
    let secrets = WebhookSecret::parse_all(text)?;
    // What is set and empty was meant to hold a secret: a variable that was not filled in must not
    // turn signatures off.
    if secrets.is_empty() {
        return Err(NoSecretGiven.into());
    }
    Ok(secrets)
}
