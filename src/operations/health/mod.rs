//! Health of the database and of the queue in it: whether the one is fit for what it keeps, and
//! whether the other moves. Each finding names its remedy.
//!
//! The queue examines itself ([`crate::queue::health`]); here is the rest:
//!
//! - `connection`: the way to the server: headroom, what stands in between, clocks.
//! - `durability`: settings of the server that lose what was answered with a 2xx.
//! - `horizon`: sessions and slots that keep vacuum from cleaning up.
//! - `money`: conflicts, and the last verification.
//! - `readers`: readers of events that keep old ones.
//! - `schema`: migrations, indexes and storage settings.
//! - `vacuum`: dead rows outside the queue, and the age of the oldest transaction number.
//!
//! Any role that may connect can ask. A check that it may not see is [`Level::Unseen`], which is
//! neither good nor bad.

mod connection;
mod durability;
pub(super) mod horizon;
mod money;
mod readers;
mod schema;
mod vacuum;

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

pub use crate::queue::health::{Finding, Fix, Level};
pub use crate::queue::schema::SchemaState;

use crate::db::DbError;
use crate::operations::jobs::known_kinds;
use crate::queue::health::{self, Limits};

/// An examination of a database.
#[derive(Clone, Debug)]
pub struct Examine {
    /// The way past a connection pooler, if there is one.
    pub direct: Option<PgConnectOptions>,
    /// The time for which a due job may wait for a worker.
    pub max_wait: Duration,
    /// The time for which a transaction may stay open.
    pub max_transaction_age: Duration,
}

impl Default for Examine {
    /// No other way to the server, and a minute for both bounds.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { direct: None, max_wait: minute, max_transaction_age: minute }
    }
}

/// An examination that could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The schema could not be read.
    #[error(transparent)]
    Schema(#[from] DbError),
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] sqlx::Error),
}

/// The findings of an examination.
#[derive(Clone, Debug)]
pub struct HealthReport {
    /// The name of the database.
    pub database: String,
    /// The role that asked.
    pub role: String,
    /// The version of PostgreSQL.
    pub server_version: String,
    /// The time of the examination, by the database's clock.
    pub checked_at: OffsetDateTime,
    /// The state of the schema; none if this role may not see it.
    pub schema: Option<SchemaState>,
    /// The findings, in the order in which they were made.
    pub findings: Vec<Finding>,
}

impl HealthReport {
    /// The worst level of all findings.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// True if the schema is known to be another one than that of this binary.
    #[must_use]
    pub fn has_other_schema(&self) -> bool {
        is_other(self.schema)
    }
}

/// A schema that this role may not see is taken for the right one.
fn is_other(state: Option<SchemaState>) -> bool {
    !matches!(state, None | Some(SchemaState::Current))
}

/// Examines everything. Reads only, each look within seconds. The pool needs three connections: one
/// to ask, two to see whether they share a session of the server.
///
/// # Errors
///
/// [`HealthError`].
pub async fn examine(pool: &PgPool, request: Examine) -> Result<HealthReport, HealthError> {
    let state = schema::state(pool).await?;
    let connection_findings = connection::examine(pool, request.direct).await?;
    let mut conn = pool.acquire().await?;
    let mut report = begin(&mut conn, state).await?;
    let findings = &mut report.findings;
    findings.extend(schema::migrations(pool, state).await?);
    findings.extend(durability::examine(&mut conn).await?);
    findings.extend(connection_findings);
    findings.extend(horizon::examine(&mut conn, request.max_transaction_age).await?);
    findings.extend(vacuum::examine(&mut conn).await?);
    // In another schema these would look for what is not there.
    if !is_other(state) {
        findings.extend(schema::relations(&mut conn).await?);
        findings.extend(money::examine(&mut conn).await?);
        findings.extend(readers::examine(&mut conn).await?);
        let of_queue = health::check(&mut conn, &Limits { wait: request.max_wait }).await?;
        let known = known_kinds(pool).kinds();
        findings.extend(of_queue.into_iter().map(|finding| for_other_program(finding, &known)));
    }
    Ok(report)
}

/// The finding with a remedy that can work: no worker of this program runs a kind of another one,
/// whatever queue it takes.
fn for_other_program(mut finding: Finding, known: &[String]) -> Finding {
    if let Some(Fix::StartWorkerFor { kind, queue }) = &finding.fix
        && !known.contains(kind)
    {
        finding.fix = Some(Fix::Other(format!(
            "workers of this program do not know kind {kind}: start one of the program that does, \
             and have it take queue {queue}; or cancel them"
        )));
    }
    finding
}

/// A report without findings.
async fn begin(
    conn: &mut PgConnection,
    schema: Option<SchemaState>,
) -> Result<HealthReport, sqlx::Error> {
    let about = sqlx::query!(
        r#"
            select
              current_database() as "database!",
              current_user::text as "role!",
              current_setting('server_version') as "server_version!",
              clock_timestamp() as "checked_at!"
            "#
    )
    .fetch_one(conn)
    .await?;
    Ok(HealthReport {
        database: about.database,
        role: about.role,
        server_version: about.server_version,
        checked_at: about.checked_at,
        schema,
        findings: Vec::new(),
    })
}
