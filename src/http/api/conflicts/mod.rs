//! Conflicts: transactions that came again with other content, and operators' decisions over them.

mod bodies;
mod refusals;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

use self::bodies::{ConflictOut, ConflictPage, ResolveIn};
use self::refusals::{GetConflict, ListConflicts, ResolveConflict};
use super::ApiTags;
use crate::http::edge::caller::{Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::id::Id;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{self, DEFAULT_LIMIT, read_cursor, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::operations::Actor;
use crate::operations::conflicts::{
    self, ConflictError, ConflictFilter, ConflictId, ConflictView, Resolve,
};
use crate::queue::Notifier;

/// The API of conflicts.
#[derive(Clone)]
pub struct ConflictsApi {
    /// The database of transactions.
    pub pool: PgPool,
    /// Wakes a worker when a correction is to be settled.
    pub notifier: Notifier,
}

#[OpenApi]
impl ConflictsApi {
    /// List the conflicts
    ///
    /// Transactions that came again with other content, newest first; for viewers and above. What
    /// was recorded first stands until somebody decides. A page that is not the last has a
    /// `next_cursor`: send it with the same filters to get the next page.
    #[oai(
        path = "/v1/conflicts",
        method = "get",
        operation_id = "list_conflicts",
        tag = "ApiTags::Conflicts"
    )]
    async fn list_conflicts(
        &self,
        caller: Caller,
        uri: &Uri,
        /// Those that somebody has decided over, too.
        all: Query<Option<bool>>,
        /// Only of the transaction with this id.
        #[oai(validator(min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"))]
        transaction_id: Query<Option<String>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListConflicts>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["all", "transaction_id", "limit", "cursor"])?;
        if transaction_id.0.as_ref().is_some_and(|id| id.contains('\0')) {
            return Err(Problem::parameter("transaction_id", "No id has U+0000.").into());
        }
        let open_only = !all.0.unwrap_or(false);
        let filter = ConflictFilter { open_only, transaction_id: transaction_id.0 };
        let list = format!("list_conflicts 1 {filter:?}");
        let before = cursor.0.map(|text| read_cursor(&text, &list)).transpose()?;
        let before = before.map(i64::from_be_bytes).map(ConflictId);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            Ok(conflicts::list(conn, &filter, before, limit + 1).await?)
        });
        let (found, last) = lists::page(found.await?, limit);
        let last = last.map(|last: ConflictView| last.id);
        Ok(Listed::Ok(Json(ConflictPage::new(found, last, &list))))
    }

    /// Get a conflict
    ///
    /// Both bodies and what differs; for viewers and above.
    #[oai(
        path = "/v1/conflicts/:conflict_id",
        method = "get",
        operation_id = "get_conflict",
        tag = "ApiTags::Conflicts"
    )]
    async fn get_conflict(
        &self,
        caller: Caller,
        /// The number of the conflict.
        conflict_id: Path<Id<i64>>,
    ) -> Result<Found, Refused<GetConflict>> {
        caller.require(Right::Read)?;
        let id = ConflictId(conflict_id.0.0);
        let found = within_seconds(&self.pool, async |conn| Ok(conflicts::find(conn, id).await?));
        let found = found.await?.ok_or_else(|| Problem::new(Code::ConflictNotFound))?;
        Ok(Found::Ok(Json(found.into())))
    }

    /// Resolve a conflict
    ///
    /// `kept`: what was recorded first stands. `corrected`: what came later was right; two linked
    /// transactions, settled as all others are, move back what ours has moved and move what theirs
    /// says. Only once ours has its outcome, and once for each transaction. For admins, because it
    /// can move money; who, when and why is kept.
    #[oai(
        path = "/v1/conflicts/:conflict_id/resolve",
        method = "post",
        operation_id = "resolve_conflict",
        tag = "ApiTags::Conflicts"
    )]
    async fn resolve_conflict(
        &self,
        caller: Caller,
        /// The number of the conflict.
        conflict_id: Path<Id<i64>>,
        body: JsonBody<ResolveIn>,
    ) -> Result<Found, Refused<ResolveConflict>> {
        caller.require(Right::Decide)?;
        let (resolution, reason, mode) = body.read()?;
        let actor = Actor { identity: caller.into(), reason };
        let request = Resolve { id: ConflictId(conflict_id.0.0), resolution, mode };
        let resolved = within_seconds(&self.pool, async |conn| {
            Ok(conflicts::resolve(conn, request, &actor).await?)
        });
        let resolved = resolved.await?;
        self.notifier.notify();
        Ok(Found::Ok(Json(resolved.into())))
    }
}

impl From<ConflictError> for Problem {
    fn from(error: ConflictError) -> Self {
        match error {
            ConflictError::NotFound => Self::new(Code::ConflictNotFound),
            ConflictError::AlreadyResolved => Self::new(Code::ConflictResolved),
            ConflictError::NotFinal
            | ConflictError::CorrectedBefore
            | ConflictError::NotCorrectable => {
                Self::new(Code::NotCorrectable).detail(format!("{error}."))
            }
            ConflictError::Transaction(error) => error.into(),
            ConflictError::Queue(error) => error.into(),
        }
    }
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<ConflictPage>),
}

#[derive(ApiResponse)]
enum Found {
    /// The conflict as it stands.
    #[oai(status = 200)]
    Ok(Json<ConflictOut>),
}
