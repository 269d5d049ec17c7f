//! The database that an operator's command works on.

use sqlx::PgPool;

use crate::db;

/// Which database.
#[derive(clap::Args, Debug)]
pub(super) struct Database {
    /// The PostgreSQL database, as postgres://user@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl Database {
    /// Connects, whatever schema it has.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub(super) async fn connect(&self, application_name: &str) -> Result<PgPool, db::DbError> {
        self.connect_any(application_name, 1).await
    }

    /// The same with so many connections.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub(super) async fn connect_any(
        &self,
        application_name: &str,
        connections: u32,
    ) -> Result<PgPool, db::DbError> {
        db::connect(&self.database_url, connections, application_name).await
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

    /// The same with so many connections.
    ///
    /// # Errors
    ///
    /// As [`Self::connect_current`].
    pub(super) async fn connect_many(
        &self,
        application_name: &str,
        connections: u32,
    ) -> Result<PgPool, db::DbError> {
        let pool = db::connect(&self.database_url, connections, application_name).await?;
        db::require_current_schema(&pool).await?;
        Ok(pool)
    }
}
