//! Where the database is, as commands are told.

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use surety_postgres::connect::{connect_options, require_session};
use surety_postgres::{ConnectError, connect, connect_to_write};

/// Where the database is.
#[derive(clap::Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// The database: postgres://user@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// The same database past a connection pooler, for what needs a session: migrations,
    /// notifications of new jobs, the reconciliation. [default: the database URL]
    #[arg(long, env = "APP_DATABASE_DIRECT_URL", hide_env_values = true, value_name = "URL")]
    pub database_direct_url: Option<String>,
}

impl DatabaseArgs {
    /// A pool of at most so many connections.
    ///
    /// # Errors
    ///
    /// As [`connect()`].
    pub async fn connect(
        &self,
        max_connections: u32,
        application_name: &str,
    ) -> Result<PgPool, ConnectError> {
        connect(&self.database_url, max_connections, application_name).await
    }

    /// [`Self::connect`] for who writes.
    ///
    /// # Errors
    ///
    /// As [`connect()`].
    pub async fn connect_to_write(
        &self,
        max_connections: u32,
        application_name: &str,
    ) -> Result<PgPool, ConnectError> {
        connect_to_write(&self.database_url, max_connections, application_name).await
    }

    /// A pool of one connection that is a session, for `what`.
    ///
    /// # Errors
    ///
    /// As [`connect()`], and [`ConnectError::NeedsSession`].
    pub async fn connect_session(
        &self,
        application_name: &str,
        what: &'static str,
    ) -> Result<PgPool, ConnectError> {
        let url = self.direct().unwrap_or(&self.database_url);
        let pool = connect(url, 1, application_name).await?;
        require_session(&pool, what)?;
        Ok(pool)
    }

    /// The way past a pooler, if it was given.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn direct_options(
        &self,
        application_name: &str,
    ) -> Result<Option<PgConnectOptions>, ConnectError> {
        self.direct().map(|url| connect_options(url, application_name)).transpose()
    }

    /// An empty variable is one that is not set.
    fn direct(&self) -> Option<&str> {
        self.database_direct_url.as_deref().filter(|url| !url.is_empty())
    }
}
