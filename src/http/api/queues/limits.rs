//! Limits of queues, and keys that wait for a decision.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;

use super::bodies::{BlockedKeyPageOut, LimitsChangeIn, LimitsOut, UnblockIn, UnblockedOut};
use super::name;
use super::refusals::{ChangeLimits, ChangeQueue, GetQueue, UnblockKey};
use crate::http::api::ApiTags;
use crate::http::api::jobs::Because;
use crate::http::edge::caller::{Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::if_match::{IfMatch, etag};
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after_text, read_text_cursor, refuse_unknown_parameters,
};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::operations::queues::{self, Limits, LimitsVersion, LimitsView};
use crate::operations::{Actor, Identity};
use crate::queue::Notifier;

/// The API of limits and blocked keys.
#[derive(Clone)]
pub struct QueueLimitsApi {
    /// The database of queues.
    pub pool: PgPool,
    /// Wakes the workers when jobs may start.
    pub notifier: Notifier,
}

#[OpenApi]
impl QueueLimitsApi {
    /// Get the limits of a queue
    ///
    /// All null for a queue that has none, whether there is one of this name or not; for viewers
    /// and above. Send the `ETag` back as `If-Match` with a change.
    #[oai(
        path = "/v1/queues/:queue/limits",
        method = "get",
        operation_id = "get_queue_limits",
        tag = "ApiTags::Queues"
    )]
    async fn get_queue_limits(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
    ) -> Result<Found, Refused<GetQueue>> {
        caller.require(Right::Read)?;
        let name = name(queue.0)?;
        let limits =
            within_seconds(&self.pool, async |conn| Ok(queues::limits(conn, &name).await?));
        Ok(found(limits.await?))
    }

    /// Change the limits of a queue
    ///
    /// Those that are named; null takes one away. They hold for all workers from now on. With
    /// `If-Match`, only if they still are those of that `ETag`. For operators and admins; who, when
    /// and why is kept.
    #[oai(
        path = "/v1/queues/:queue/limits",
        method = "patch",
        operation_id = "change_queue_limits",
        tag = "ApiTags::Queues"
    )]
    async fn change_queue_limits(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        /// The ETag that the limits must still have.
        #[oai(name = "If-Match")]
        if_match: IfMatch<String>,
        body: JsonBody<LimitsChangeIn>,
    ) -> Result<Found, Refused<ChangeLimits>> {
        caller.require(Right::Operate)?;
        let name = name(queue.0)?;
        let (reason, change) = body.read()?;
        let by = Identity::from(caller).because(reason);
        let version = if_match.0.as_deref().map(LimitsVersion::from_text);
        let limits = within_seconds(&self.pool, async |conn| {
            Ok(queues::change_limits(conn, &name, change, version, &by).await?)
        });
        let limits = limits.await?;
        self.notifier.notify();
        Ok(found(Some(limits)))
    }

    /// Take all limits from a queue
    ///
    /// Its blocked keys go on. For operators and admins; who, when and why is kept.
    #[oai(
        path = "/v1/queues/:queue/limits/clear",
        method = "post",
        operation_id = "clear_queue_limits",
        tag = "ApiTags::Queues"
    )]
    async fn clear_queue_limits(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        body: JsonBody<Because>,
    ) -> Result<Found, Refused<ChangeQueue>> {
        caller.require(Right::Operate)?;
        let name = name(queue.0)?;
        let by = Identity::from(caller).because(body.read()?);
        let cleared = within_seconds(&self.pool, async |conn| {
            Ok(queues::clear_limits(conn, &name, &by).await?)
        });
        cleared.await?;
        self.notifier.notify();
        Ok(found(None))
    }

    /// List the blocked keys of a queue
    ///
    /// Keys of an ordered queue of which nothing runs until somebody decides, by name; for viewers
    /// and above.
    #[oai(
        path = "/v1/queues/:queue/blocked-keys",
        method = "get",
        operation_id = "list_blocked_keys",
        tag = "ApiTags::Queues"
    )]
    async fn list_blocked_keys(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<GetQueue>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let name = name(queue.0)?;
        let list = format!("list_blocked_keys 1 {name:?}");
        let after = cursor.0.map(|text| read_text_cursor(&text, &list)).transpose()?;
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            let most = u32::from(limit) + 1;
            Ok(queues::blocked_keys_by_name(conn, &name, after.as_deref(), most).await?)
        });
        let (found, last) = lists::page(found.await?, limit);
        Ok(Listed::Ok(Json(BlockedKeyPageOut {
            blocked_keys: found.into_iter().map(Into::into).collect(),
            next_cursor: last.map(|last| cursor_after_text(last.key.as_bytes(), &list)),
        })))
    }

    /// Let a blocked key go on
    ///
    /// A parked job at its head is tried again, a discarded one stays behind. For admins, because
    /// that gives up the order in which jobs were to run; who, when and why is kept.
    #[oai(
        path = "/v1/queues/:queue/blocked-keys/unblock",
        method = "post",
        operation_id = "unblock_queue_key",
        tag = "ApiTags::Queues"
    )]
    async fn unblock_queue_key(
        &self,
        caller: Caller,
        /// The name of the queue, percent-encoded where needed.
        queue: Path<String>,
        body: JsonBody<UnblockIn>,
    ) -> Result<Unblocked, Refused<UnblockKey>> {
        caller.require(Right::Decide)?;
        let name = name(queue.0)?;
        let (reason, key) = body.read()?;
        let actor = Actor { identity: caller.into(), reason };
        let head = within_seconds(&self.pool, async |conn| {
            Ok(queues::unblock_key(conn, &name, &key, &actor).await?)
        });
        let head = head.await?.ok_or_else(|| Problem::new(Code::KeyNotBlocked))?;
        self.notifier.notify();
        Ok(Unblocked::Ok(Json(UnblockedOut { job_id: head.0 })))
    }
}

fn found(limits: Option<Limits>) -> Found {
    let etag = etag(LimitsVersion::of(limits.as_ref()).as_str());
    Found::Ok(Json(LimitsView(limits.unwrap_or_default()).into()), etag)
}

#[derive(ApiResponse)]
enum Found {
    /// The limits as they stand.
    #[oai(status = 200)]
    Ok(
        Json<LimitsOut>,
        /// The version, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<BlockedKeyPageOut>),
}

#[derive(ApiResponse)]
enum Unblocked {
    /// The key goes on.
    #[oai(status = 200)]
    Ok(Json<UnblockedOut>),
}
