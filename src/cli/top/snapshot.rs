//! The figures that are shown, as of one moment of the database.

use sqlx::PgPool;

use crate::operations::failures::{self, FailureView};
use crate::operations::overview::{self, Overview};
use crate::operations::workers::{self, WorkerList};

/// The most failures that are shown.
const MAX_FAILURES: u32 = 100;

/// Everything that there is to see.
pub(super) struct Snapshot {
    /// The database, for people: without a password.
    pub(super) database: String,
    pub(super) overview: Overview,
    pub(super) failures: Vec<FailureView>,
    pub(super) workers: WorkerList,
}

impl Snapshot {
    /// Reads it, each part by the operation that all callers use.
    ///
    /// # Errors
    ///
    /// When the database is away, or refuses.
    pub(super) async fn read(pool: &PgPool) -> anyhow::Result<Self> {
        let mut conn = pool.acquire().await?;
        Ok(Self {
            database: place(pool),
            overview: overview::read(&mut conn).await?,
            failures: failures::list(&mut conn, MAX_FAILURES).await?,
            workers: workers::list(&mut conn).await?,
        })
    }
}

fn place(pool: &PgPool) -> String {
    let options = pool.connect_options();
    let (host, port) = (options.get_host(), options.get_port());
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(_) => format!("{database} on this machine"),
        None => format!("{database} at {host}:{port}"),
    }
}
