//! The standby that a serving process may read.

use std::time::Duration;

use sqlx::PgPool;
use surety_postgres::connect::connect_options;
use surety_postgres::{ConnectError, Replica};

use crate::arguments::{InvalidDuration, parse_duration};
use crate::http::edge::reads::Reads;

/// The standby that lists, pages and reports read.
#[derive(clap::Args, Clone, Debug)]
pub struct ReadArgs {
    /// A hot standby of the same database, for lists, pages and reports of operators, which then
    /// say how old they may be. [default: none, they read the database itself]
    #[arg(long, env = "APP_DATABASE_READ_URL", hide_env_values = true, value_name = "URL")]
    pub database_read_url: Option<String>,

    /// The greatest age, from 2s to 1h, of what is read there as a read begins; while the standby
    /// is further behind, or away, they read the database itself.
    #[arg(long, env = "APP_READ_MAX_AGE", default_value = "10s", value_parser = parse_max_age)]
    pub read_max_age: Duration,
}

/// A text that is no greatest age.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum InvalidMaxAge {
    #[error(transparent)]
    Duration(#[from] InvalidDuration),
    #[error("not a time from 2s to 1h")]
    OutOfRange,
}

/// The age is known to the half of a second, and remembered for so long.
fn parse_max_age(text: &str) -> Result<Duration, InvalidMaxAge> {
    let age = parse_duration(text)?;
    let range = Duration::from_secs(2)..=Duration::from_secs(3600);
    if range.contains(&age) { Ok(age) } else { Err(InvalidMaxAge::OutOfRange) }
}

impl ReadArgs {
    /// The places to read from: the standby, if one is named, and the primary.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn reads(
        &self,
        primary: &PgPool,
        application: &'static str,
    ) -> Result<Reads, ConnectError> {
        let follow = |url: &str| {
            let connections = primary.options().get_max_connections();
            Replica::follow(primary, url, connections, application, self.read_max_age)
        };
        Ok(Reads::new(primary.clone(), self.url().map(follow).transpose()?))
    }

    /// Fails when the URL, if there is one, is none. Nothing is connected to.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn require_url(&self) -> Result<(), ConnectError> {
        let check = |url| connect_options(url, "surety").map(drop);
        self.url().map_or(Ok(()), check)
    }

    /// An empty variable is one that is not set.
    fn url(&self) -> Option<&str> {
        self.database_read_url.as_deref().filter(|url| !url.is_empty())
    }
}
