//! The findings of the doctor, kept for a moment: however many pages are open, it looks once.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::operations::health::{Examine, HealthError, HealthReport, examine};

/// The age from which it looks again: an examination reads a good part of the catalog.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// The latest findings.
#[derive(Debug, Default)]
pub(in crate::pages) struct Looks {
    latest: Mutex<Option<(Instant, Arc<HealthReport>)>>,
}

impl Looks {
    /// The findings of now, or of ten seconds ago. Whoever comes while it looks waits for it.
    pub(in crate::pages) async fn take(
        &self,
        pool: &PgPool,
    ) -> Result<Arc<HealthReport>, HealthError> {
        let mut latest = self.latest.lock().await;
        if let Some((taken_at, report)) = latest.as_ref()
            && taken_at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(report));
        }
        let report = Arc::new(examine(pool, Examine::default()).await?);
        *latest = Some((Instant::now(), Arc::clone(&report)));
        Ok(report)
    }
}
