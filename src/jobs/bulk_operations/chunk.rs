//! The next part of a bulk operation, to be committed together with how far it got.

use sqlx::{Connection as _, PgConnection};

use super::store::Running;
use crate::audit::{NewEntry, Subject};
use crate::ids::BulkOperationId;
use crate::jobs::changes::acting::{self, By, ChangeError, Standings, Together};
use crate::jobs::changes::forecast::Tally;
use crate::jobs::changes::{JobAction, JobRefusal};
use crate::jobs::dead_letters::DeadLetterError;
use crate::payments::LedgerError;
use crate::payments::transactions::TransactionError;
use crate::queue::operate::discarded::Decision;
use crate::queue::operate::interventions::standings;
use crate::queue::{JobId, QueueError};

/// The part of an operation that is done by one transaction.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The jobs of a page of the list.
    Page(Vec<JobId>),
    /// A job that needs a transaction of its own.
    Alone(JobId),
}

impl Running {
    /// Takes the next part out of what is left.
    pub(super) async fn next_part(&mut self, conn: &mut PgConnection) -> Result<Part, QueueError> {
        if let Some(id) = self.pending.pop() {
            return Ok(Part::Alone(id));
        }
        let page = self.scope.next_page(conn).await?.unwrap_or_default();
        Ok(Part::Page(page.iter().map(|job| job.id).collect()))
    }

    /// Acts on the jobs of a part, and counts the results.
    pub(super) async fn act(
        &mut self,
        conn: &mut PgConnection,
        part: &Part,
    ) -> Result<(), ChangeError> {
        let by = Author::of(self);
        match part {
            Part::Page(ids) => {
                let found: Standings = standings(&mut *conn, ids).await?;
                let Together { outcomes, left } =
                    acting::together(conn, self.action, &found, &by).await?;
                outcomes.iter().for_each(|(_, outcome)| self.tally.count(*outcome));
                let gone = ids.iter().filter(|id| !found.contains_key(id));
                gone.for_each(|_| self.tally.count(Err(JobRefusal::NOT_FOUND)));
                self.pending.extend(left);
            }
            Part::Alone(id) => act_alone(conn, self.action, *id, &by, &mut self.tally).await?,
        }
        Ok(())
    }

    /// Puts a part aside that an error of the data kept from being done: the jobs of a page one by
    /// one, and a single one as failed.
    pub(super) fn put_aside(&mut self, part: Part, error: &ChangeError) {
        match part {
            Part::Page(ids) => self.pending.extend(ids),
            Part::Alone(id) => {
                self.failed += 1;
                let error = format!("job {id}: {}", crate::queue::chain(error));
                self.last_error = Some(error.chars().filter(|c| *c != '\0').take(1000).collect());
            }
        }
    }

    /// The share of its jobs that it has seen to, in percent.
    pub(super) fn percent(&self) -> u8 {
        let skipped: u64 = self.tally.skipped.values().sum();
        let seen = self.tally.changed + self.failed + skipped;
        let percent = seen.saturating_mul(100) / self.eligible.max(1);
        u8::try_from(percent.min(99)).unwrap_or(99)
    }
}

async fn act_alone(
    conn: &mut PgConnection,
    action: JobAction,
    id: JobId,
    by: &Author,
    tally: &mut Tally,
) -> Result<(), ChangeError> {
    let found = standings(&mut *conn, &[id]).await?;
    let Some(job) = found.get(&id) else {
        tally.count(Err(JobRefusal::NOT_FOUND));
        return Ok(());
    };
    let mut savepoint = conn.begin().await?;
    let outcome = acting::alone(&mut savepoint, action, job, by).await?;
    match outcome {
        Ok(_) => savepoint.commit().await?,
        Err(_) => savepoint.rollback().await?,
    }
    tally.count(outcome);
    Ok(())
}

/// The author of an operation, by whom each of its jobs is changed.
struct Author {
    name: String,
    reason: String,
    request_id: Option<String>,
    operation: BulkOperationId,
}

impl Author {
    fn of(operation: &Running) -> Self {
        Self {
            name: operation.made_by.clone(),
            reason: operation.reason.clone(),
            request_id: operation.request_id.clone(),
            operation: operation.id,
        }
    }
}

impl By for Author {
    fn decision(&self) -> Decision<'_> {
        Decision { by: &self.name, reason: &self.reason }
    }

    fn entry(&self, action: &'static str, subject: Subject) -> NewEntry {
        NewEntry::new(&self.name, action, subject)
            .reason(Some(&self.reason))
            .request_id(self.request_id.as_deref())
    }

    fn operation(&self) -> Option<BulkOperationId> {
        Some(self.operation)
    }
}

/// Tells if what failed would fail again, because of what is stored: then one job is the cause, and
/// the others can be changed without it.
pub(super) fn is_about_data(error: &ChangeError) -> bool {
    let of_database = |error: &sqlx::Error| {
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| ["22", "23", "P0"].iter().any(|class| code.starts_with(class)))
    };
    match error {
        ChangeError::Queue(QueueError::Database(error))
        | ChangeError::Money(
            DeadLetterError::Queue(QueueError::Database(error))
            | DeadLetterError::Ledger(LedgerError::Database(error))
            | DeadLetterError::Transaction(TransactionError::Database(error)),
        ) => of_database(error),
        ChangeError::Queue(_) | ChangeError::Money(_) => true,
    }
}
