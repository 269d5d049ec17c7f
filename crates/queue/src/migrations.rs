//! Brings the queue's schema to a database.

use sqlx::PgPool;

/// The migrations, in the library.
static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// Applies all missing migrations.
///
/// # Errors
///
/// When the database does not answer or refuses.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATOR.run(pool).await
}
