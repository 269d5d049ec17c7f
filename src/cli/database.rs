//! The database that an operator's command works on.

use std::path::PathBuf;
use std::sync::Once;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use surety_postgres::ConnectError;

use crate::db::{self, DatabaseArgs};
use crate::dev;

/// Whose database it is, is said once.
static SAID: Once = Once::new();

/// The database of a command.
#[derive(clap::Args, Debug)]
pub(super) struct Database {
    #[command(flatten)]
    args: DatabaseArgs,
}

impl Database {
    /// The database that is named, or else that of a running `app dev`.
    fn args(&self) -> DatabaseArgs {
        let (args, data_dir) = named_or_running(&self.args);
        if let Some(data_dir) = data_dir {
            SAID.call_once(|| {
                eprintln!("using the database of 'app dev' in {}", data_dir.display());
            });
        }
        args
    }

    /// Connects, whatever schema it has.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub(super) async fn connect(&self, application_name: &str) -> Result<PgPool, ConnectError> {
        self.connect_any(application_name, 1).await
    }

    /// The same with a pool of this size.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub(super) async fn connect_any(
        &self,
        application_name: &str,
        connections: u32,
    ) -> Result<PgPool, ConnectError> {
        self.args().connect(connections, application_name).await
    }

    /// The way past a connection pooler, if it was given.
    ///
    /// # Errors
    ///
    /// When the URL is none.
    pub(super) fn direct_options(
        &self,
        application_name: &str,
    ) -> Result<Option<PgConnectOptions>, ConnectError> {
        self.args().direct_options(application_name)
    }

    /// Connects to a session, whatever schema the database has: for `what` a connection pooler
    /// would spoil.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or only through such a pooler.
    pub(super) async fn connect_session(
        &self,
        application_name: &str,
        what: &'static str,
    ) -> Result<PgPool, ConnectError> {
        self.args().connect_session(application_name, what).await
    }

    /// Connects, and makes sure that its schema is this binary's.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or has another schema.
    pub(super) async fn connect_current(
        &self,
        application_name: &str,
    ) -> Result<PgPool, db::DbError> {
        self.connect_many(application_name, 1).await
    }

    /// The same with a pool of this size.
    ///
    /// # Errors
    ///
    /// As [`Self::connect_current`].
    pub(super) async fn connect_many(
        &self,
        application_name: &str,
        connections: u32,
    ) -> Result<PgPool, db::DbError> {
        let pool = self.args().connect(connections, application_name).await?;
        db::require_current_schema(&pool).await?;
        Ok(pool)
    }
}

/// The database that is named, or else that of a running `app dev`, and then its folder.
fn named_or_running(args: &DatabaseArgs) -> (DatabaseArgs, Option<PathBuf>) {
    match if args.is_named() { None } else { dev::running_database() } {
        Some((url, data_dir)) => {
            let args = DatabaseArgs { database_url: Some(url), database_direct_url: None };
            (args, Some(data_dir))
        }
        None => (args.clone(), None),
    }
}

/// Connects to the database of this URL, or else to that of the environment or of a running
/// `app dev`, and says nothing of it: for what is not a command of its own.
///
/// # Errors
///
/// When it cannot be reached.
pub(super) async fn connect_in_silence(
    url: Option<String>,
    application_name: &str,
) -> Result<PgPool, ConnectError> {
    let database_url = url.or_else(|| std::env::var("DATABASE_URL").ok());
    let args = DatabaseArgs { database_url, database_direct_url: None };
    named_or_running(&args).0.connect(1, application_name).await
}
