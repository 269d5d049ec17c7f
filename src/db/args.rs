//! Where the database is, as commands are told.

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use surety_postgres::connect::{connect_options, require_session};
use surety_postgres::{ConnectError, connect, connect_to_write};

/// The variables of libpq that name a place.
const LIBPQ_PLACES: [&str; 3] = ["PGHOST", "PGHOSTADDR", "PGDATABASE"];

/// Where the database is.
#[derive(clap::Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// The database: postgres://user@host:port/database. [default: what PGHOST, PGPORT, PGUSER,
    /// PGPASSWORD and PGDATABASE name, if one of the first or the last is set]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

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
        connect(&self.url()?, max_connections, application_name).await
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
        connect_to_write(&self.url()?, max_connections, application_name).await
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
        let url = self.direct().map_or_else(|| self.url(), |url| Ok(url.to_owned()))?;
        let pool = connect(&url, 1, application_name).await?;
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

    /// Fails when the URL of the database, if there is one, is none. Nothing is connected to.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn require_url(&self) -> Result<(), ConnectError> {
        self.url().ok().map_or(Ok(()), |url| connect_options(&url, "surety").map(drop))
    }

    /// Tells whether anything says which database is meant.
    pub fn is_named(&self) -> bool {
        self.url().is_ok() || self.direct().is_some()
    }

    /// The URL of the database, or one that leaves everything to the variables of libpq.
    fn url(&self) -> Result<String, ConnectError> {
        let given = self.database_url.as_deref().filter(|url| !url.is_empty());
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match given {
            Some(url) => Ok(url.to_owned()),
            None if LIBPQ_PLACES.into_iter().any(is_set) => Ok("postgres://".to_owned()),
            None => Err(ConnectError::NotNamed),
        }
    }

    /// An empty variable is one that is not set.
    fn direct(&self) -> Option<&str> {
        self.database_direct_url.as_deref().filter(|url| !url.is_empty())
    }
}
