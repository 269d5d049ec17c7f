//! Dead letters: discarded jobs, and operators' decisions over them.

mod bodies;
mod refusals;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use time::OffsetDateTime;

use self::bodies::{DeadLetterDetails, DeadLetterPage, DecisionIn};
use self::refusals::{GetDeadLetter, ListDeadLetters, Redrive, WriteOff};
use super::ApiTags;
use crate::http::edge::caller::{Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::id::Id;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{DEFAULT_LIMIT, read_cursor, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::operations::dead_letters::{
    self, DeadLetterError, DeadLetterFilter, DeadLetterView, Decide, DecisionError, DecisionKind,
    DecisionRefusal, JobId, Position,
};
use crate::operations::{Actor, Mode};
use crate::payments::transactions::TransactionError;
use crate::queue::{Notifier, QueueError};

/// The API of dead letters.
#[derive(Clone)]
pub struct DeadLettersApi {
    /// The database of dead letters.
    pub pool: PgPool,
    /// Wakes the workers when a job is to run again.
    pub notifier: Notifier,
}

#[OpenApi]
impl DeadLettersApi {
    /// List the dead letters
    ///
    /// The jobs that were given up after their last attempt and that nobody has decided over,
    /// newest first; for viewers and above. After a page with a `next_cursor` there may be another:
    /// send it with the same filters to get that.
    #[oai(
        path = "/v1/dead-letters",
        method = "get",
        operation_id = "list_dead_letters",
        tag = "ApiTags::DeadLetters"
    )]
    async fn list_dead_letters(
        &self,
        caller: Caller,
        uri: &Uri,
        /// Only jobs of this kind.
        #[oai(validator(min_length = 1, max_length = 100))]
        kind: Query<Option<String>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListDeadLetters>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &LIST_PARAMETERS)?;
        if kind.0.as_ref().is_some_and(|kind| kind.contains('\0')) {
            return Err(Problem::parameter("kind", "No kind's name has U+0000.").into());
        }
        let filter = DeadLetterFilter { kind: kind.0, queue: None };
        let before = cursor.0.map(|text| read_position(&text, &list_of(&filter))).transpose()?;
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let page = within_seconds(&self.pool, async |conn| {
            let found = dead_letters::list(conn, &filter, before, u32::from(limit)).await?;
            // A full page may be the last: the next one tells, which is empty then.
            let is_full = found.len() == usize::from(limit);
            Ok(DeadLetterPage::new(found, is_full, &list_of(&filter)))
        });
        Ok(Listed::Ok(Json(page.await?)))
    }

    /// Get a dead letter
    ///
    /// The job with all of its attempts, what was decided over it, and the order or transaction
    /// that it is about as it stands; for viewers and above.
    #[oai(
        path = "/v1/dead-letters/:job_id",
        method = "get",
        operation_id = "get_dead_letter",
        tag = "ApiTags::DeadLetters"
    )]
    async fn get_dead_letter(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
    ) -> Result<Found, Refused<GetDeadLetter>> {
        caller.require(Right::Read)?;
        let found = within_seconds(&self.pool, async |conn| {
            Ok(dead_letters::find(conn, JobId(job_id.0.0)).await?)
        });
        let letter = found.await?.ok_or_else(|| Problem::new(Code::DeadLetterNotFound))?;
        Ok(Found::Ok(Json(letter.into())))
    }

    /// Run a job again
    ///
    /// Under its old number and with the effect key that it had, so that the bank moves no money
    /// twice; as often as it was allowed at first. Only while its order or transaction has no
    /// outcome: `COMPLETED` and `FAILED` are final. For admins, because it moves money; who, when
    /// and why is kept.
    #[oai(
        path = "/v1/dead-letters/:job_id/redrive",
        method = "post",
        operation_id = "redrive_dead_letter",
        tag = "ApiTags::DeadLetters"
    )]
    async fn redrive_dead_letter(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<DecisionIn>,
    ) -> Result<Found, Refused<Redrive>> {
        caller.require(Right::Decide)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        let redriven = self.decide(JobId(job_id.0.0), DecisionKind::Redriven, &actor).await?;
        self.notifier.notify();
        Ok(Found::Ok(Json(redriven.into())))
    }

    /// Write off what a job was to do
    ///
    /// The job is not run again. Its order or transaction, if that is not finished, becomes
    /// `FAILED` with `written-off`, and what it held is available again: see to it first that the
    /// bank has not moved the money. For admins; who, when and why is kept.
    #[oai(
        path = "/v1/dead-letters/:job_id/write-off",
        method = "post",
        operation_id = "write_off_dead_letter",
        tag = "ApiTags::DeadLetters"
    )]
    async fn write_off_dead_letter(
        &self,
        caller: Caller,
        /// The number of the job.
        job_id: Path<Id<i64>>,
        body: JsonBody<DecisionIn>,
    ) -> Result<Found, Refused<WriteOff>> {
        caller.require(Right::Decide)?;
        let actor = Actor { identity: caller.into(), reason: body.read()? };
        let written_off = self.decide(JobId(job_id.0.0), DecisionKind::WrittenOff, &actor).await?;
        Ok(Found::Ok(Json(written_off.into())))
    }
}

impl DeadLettersApi {
    async fn decide(
        &self,
        id: JobId,
        verdict: DecisionKind,
        actor: &Actor,
    ) -> Result<DeadLetterView, Problem> {
        let request = Decide { id, verdict, mode: Mode::Commit };
        within_seconds(&self.pool, async |conn| {
            Ok(dead_letters::decide(conn, request, actor).await?)
        })
        .await
    }
}

const LIST_PARAMETERS: [&str; 3] = ["kind", "limit", "cursor"];

/// The list that a cursor is bound to.
fn list_of(DeadLetterFilter { kind, queue: _ }: &DeadLetterFilter) -> String {
    format!("list_dead_letters 1 {kind:?}")
}

/// Microseconds since 1970, which is how exactly the database keeps it, and the job.
fn cursor_key(position: Position) -> [u8; 16] {
    let micros = position.discarded_at.unix_timestamp_nanos() / 1000;
    let key = (micros << 64) | i128::from(position.id.0);
    key.to_be_bytes()
}

fn read_position(text: &str, list: &str) -> Result<Position, Problem> {
    let key = i128::from_be_bytes(read_cursor(text, list)?);
    let invalid = |_| Problem::new(Code::InvalidCursor);
    let discarded_at =
        OffsetDateTime::from_unix_timestamp_nanos((key >> 64) * 1000).map_err(invalid)?;
    let id = i64::try_from(key & i128::from(u64::MAX));
    Ok(Position { discarded_at, id: JobId(id.map_err(|_| Problem::new(Code::InvalidCursor))?) })
}

impl From<DecisionError> for Problem {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::Refused(refusal) => Self::new(match refusal {
                DecisionRefusal::NotFound => Code::DeadLetterNotFound,
                DecisionRefusal::AlreadyDecided => Code::DeadLetterDecided,
                DecisionRefusal::NothingToRedrive => Code::NothingToRedrive,
            }),
            DecisionError::Failed(error) => error.into(),
        }
    }
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Queue(error) => error.into(),
            DeadLetterError::Ledger(error) => error.into(),
            DeadLetterError::Transaction(error) => TransactionError::into(error),
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Database(error) => error.into(),
            other => Self::new(Code::InternalError).cause(other),
        }
    }
}

#[derive(ApiResponse)]
enum Found {
    /// The dead letter as it stands.
    #[oai(status = 200)]
    Ok(Json<DeadLetterDetails>),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<DeadLetterPage>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_holds_the_position_it_was_made_from() {
        let at = time::macros::datetime!(2026-11-02 9:30:00.123456 UTC);
        let position = Position { discarded_at: at, id: JobId(812) };
        let cursor = crate::http::wire::lists::cursor_after(cursor_key(position), "list");
        assert_eq!(read_position(&cursor, "list").expect("it is ours"), position);
        assert!(read_position(&cursor, "other list").is_err());
    }
}
