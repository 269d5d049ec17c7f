//! A verification that nobody waits for: it runs in this process, on a connection of its own, and
//! leaves a record.

use std::time::Duration;

use sqlx::{Connection as _, PgPool};

use super::records::{self, ABANDONED_AFTER, VerificationState, VerificationView};
use super::{Report, Scope, VerifyError, verify};
use crate::audit::{self, Subject};
use crate::db;
use crate::operations::Identity;
use crate::queue::commits::commit;

/// The longest that one check may take, and all of them together.
const ONE_WITHIN: Duration = Duration::from_secs(300);
const ALL_WITHIN: Duration = Duration::from_secs(600);
const _: () = assert!(ALL_WITHIN.as_secs() < ABANDONED_AFTER.as_secs());

/// A verification that was asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Started {
    /// It has begun.
    New(VerificationView),
    /// Another one is under way, and would find the same.
    UnderWay(VerificationView),
}

/// Begins a verification, unless one is under way anywhere. It reads one snapshot, makes nobody
/// wait, and is over after ten minutes at most; its record has the result.
///
/// # Errors
///
/// [`VerifyError::Database`]; nothing has begun then.
pub async fn start(pool: &PgPool, by: &Identity) -> Result<Started, VerifyError> {
    let mut tx = pool.begin().await?;
    let id = records::begin(&mut tx, by.as_str()).await?;
    let Some(id) = id else {
        tx.rollback().await?;
        return under_way(pool).await.map(Started::UnderWay);
    };
    let entry = by.entry("verification.start", Subject::new("verification", id));
    audit::record(&mut tx, &[entry]).await?;
    let begun = records::find(&mut tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    commit(tx).await?;
    tokio::spawn(run(pool.clone(), id));
    Ok(Started::New(begun))
}

/// The one that is under way; or the newest, if it has ended in this moment.
async fn under_way(pool: &PgPool) -> Result<VerificationView, VerifyError> {
    let newest = records::list(&mut *pool.acquire().await?, None, 20).await?;
    let running = newest.iter().find(|it| it.state == VerificationState::Running).cloned();
    let found = running.or_else(|| newest.into_iter().next());
    Ok(found.ok_or(sqlx::Error::RowNotFound)?)
}

async fn run(pool: PgPool, id: i64) {
    let checking = tokio::time::timeout(ALL_WITHIN, check(&pool));
    let result = checking.await.unwrap_or(Err(VerifyError::Late(ALL_WITHIN)));
    match &result {
        Ok(report) if report.holds() => {
            tracing::info!(verification_id = id, "verification {id}: every guarantee holds");
        }
        Ok(report) => tracing::error!(
            verification_id = id,
            violations = report.violations(),
            "verification {id}: guarantees are broken"
        ),
        Err(error) => {
            tracing::warn!(verification_id = id, "verification {id}: {}", error.in_one_line());
        }
    }
    let recorded = async { records::end(&mut *pool.acquire().await?, id, &result).await };
    if let Err(error) = recorded.await {
        tracing::warn!(verification_id = id, "verification {id} is not recorded: {error}");
    }
}

async fn check(pool: &PgPool) -> Result<Report, VerifyError> {
    let mut conn = db::connect_for_slow_statements(pool).await?;
    let report = verify(&mut conn, Scope::Everything, ONE_WITHIN).await?;
    conn.close().await?;
    Ok(report)
}
