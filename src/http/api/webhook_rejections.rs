//! Inbound webhooks of providers that were refused, for operators.

use poem::http::Uri;
use poem_openapi::param::Query;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::ApiTags;
use crate::http::edge::caller::{self, Caller, Right};
use crate::http::edge::database::within_seconds;
use crate::http::wire::lists::{
    self, DEFAULT_LIMIT, cursor_after, read_cursor, refuse_unknown_parameters,
};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::operations::webhook_rejections::{self, Rejection, RejectionFilter};
use crate::providers::is_source_name;

/// The API of rejected webhooks.
#[derive(Clone)]
pub struct WebhookRejectionsApi {
    /// The database that they are kept in.
    pub pool: PgPool,
}

#[OpenApi]
impl WebhookRejectionsApi {
    /// List rejected webhooks
    ///
    /// What the sources of webhooks were refused, each body once for each reason, newest first; for
    /// viewers and above. Of a source the newest 1,000 that were signed are kept, and the newest
    /// 200 of the others, for 30 days. They are here a second after they came. A page that is not
    /// the last has a `next_cursor`: send it with the same filters to get the next page.
    #[oai(
        path = "/v1/webhook-rejections",
        method = "get",
        operation_id = "list_webhook_rejections",
        tag = "ApiTags::InboundWebhooks"
    )]
    async fn list_webhook_rejections(
        &self,
        caller: Caller,
        uri: &Uri,
        /// Only of the source with this name.
        source: Query<Option<String>>,
        /// Only those whose signature was right.
        verified: Query<Option<bool>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListWebhookRejections>> {
        caller.require(Right::Read)?;
        refuse_unknown_parameters(uri, &["source", "verified", "limit", "cursor"])?;
        if source.0.as_deref().is_some_and(|name| !is_source_name(name)) {
            let reason = "A source is named by a-z, 0-9 and -.";
            return Err(Problem::parameter("source", reason).into());
        }
        let verified_only = verified.0.unwrap_or(false);
        let filter = RejectionFilter { source: source.0, verified_only };
        let list = format!("list_webhook_rejections 1 {filter:?}");
        let before = cursor.0.map(|text| read_cursor(&text, &list)).transpose()?;
        let before = before.map(i64::from_be_bytes);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = within_seconds(&self.pool, async |conn| {
            Ok(webhook_rejections::list(conn, &filter, before, limit + 1).await?)
        });
        let (found, last) = lists::page(found.await?, limit);
        let next_cursor = last.map(|last: Rejection| cursor_after(last.id.to_be_bytes(), &list));
        let rejections = found.into_iter().map(RejectionOut::from).collect();
        Ok(Listed::Ok(Json(RejectionPage { rejections, next_cursor })))
    }
}

/// Deliveries with one body that were refused for one reason.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookRejection")]
struct RejectionOut {
    /// The number of it.
    id: i64,
    /// The source that they came to.
    source: String,
    /// The reason, as a stable code.
    reason: String,
    /// The reason in words.
    detail: String,
    /// True if the signature was right: then the provider meant it.
    is_verified: bool,
    /// The SHA-256 of the body in hexadecimal; null if it was not read.
    #[oai(nullable)]
    body_sha256: Option<String>,
    /// The bytes of the body.
    body_bytes: i64,
    /// The first kilobyte of the body; null if the signature was not right.
    #[oai(nullable)]
    excerpt: Option<String>,
    /// The address that the last one came from; null if it is not known.
    #[oai(nullable)]
    address: Option<String>,
    /// The number of times that it came.
    received_count: i64,
    /// The first time.
    #[serde(with = "time::serde::rfc3339")]
    first_seen_at: OffsetDateTime,
    /// The last time.
    #[serde(with = "time::serde::rfc3339")]
    last_seen_at: OffsetDateTime,
}

impl From<Rejection> for RejectionOut {
    fn from(rejection: Rejection) -> Self {
        Self {
            id: rejection.id,
            source: rejection.source,
            reason: rejection.reason,
            detail: rejection.detail,
            is_verified: rejection.is_verified,
            body_sha256: rejection.body_sha256,
            body_bytes: rejection.body_bytes,
            excerpt: rejection.excerpt,
            address: rejection.address,
            received_count: rejection.received_count,
            first_seen_at: rejection.first_seen_at,
            last_seen_at: rejection.last_seen_at,
        }
    }
}

/// A page of rejected webhooks, newest first.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "WebhookRejectionPage")]
struct RejectionPage {
    /// The rejections of this page.
    rejections: Vec<RejectionOut>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<RejectionPage>),
}

/// The refusals of `list_webhook_rejections`.
#[derive(Debug)]
struct ListWebhookRejections;

impl Refusals for ListWebhookRejections {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}
