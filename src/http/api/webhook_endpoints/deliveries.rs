//! Deliveries to endpoints: looking at them, and asking for them again.

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;

use super::delivery_bodies::{
    AttemptOut, DeliveryDetails, DeliveryOut, DeliveryPage, DeliveryStateName, ReplayIn, ReplayOut,
    TestOut,
};
use super::refusals::{GetDelivery, ListDeliveries, SendAgain, StartReplay};
use super::{changed_by, seen_by};
use crate::http::api::ApiTags;
use crate::http::edge::caller::Caller;
use crate::http::edge::database::within_seconds;
use crate::http::edge::reads::{Reads, read_recent};
use crate::http::wire::id::Id;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{self, DEFAULT_LIMIT, read_cursor, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::Refused;
use crate::ids::{EndpointId, EventId};
use crate::operations::Identity;
use crate::operations::endpoints::deliveries::{self, DeliveryError, parse_event_id};
use crate::queue::{JobId, Notifier};

/// The API of deliveries.
#[derive(Clone)]
pub struct DeliveriesApi {
    /// The database of deliveries.
    pub pool: PgPool,
    /// Where the list is read.
    pub reads: Reads,
    /// Wakes the workers when something is to be sent.
    pub notifier: Notifier,
}

#[OpenApi]
impl DeliveriesApi {
    /// List the deliveries to an endpoint
    ///
    /// The newest event first.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/deliveries",
        method = "get",
        operation_id = "list_deliveries",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn list_deliveries(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        /// Only those in this state.
        state: Query<Option<DeliveryStateName>>,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListDeliveries>> {
        refuse_unknown_parameters(uri, &["state", "limit", "cursor"])?;
        let (scope, id) = (seen_by(&caller)?, EndpointId(endpoint_id.0.0));
        let state = state.0.map(Into::into);
        let list = format!("list_deliveries 1 {id} {state:?}");
        let before = cursor.0.map(|text| read_cursor::<8>(&text, &list)).transpose()?;
        let before = before.map(i64::from_be_bytes);
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = read_recent(&self.reads, move |mut conn| async move {
            Ok(deliveries::list(&mut conn, scope, id, state, before, limit + 1).await?)
        });
        let (found, age) = found.await?;
        let (found, last) = lists::page(found, limit);
        let next_cursor = last.map(|it| lists::cursor_after(it.position.to_be_bytes(), &list));
        let deliveries = found.into_iter().map(DeliveryOut::from).collect();
        let page = DeliveryPage { deliveries, next_cursor };
        Ok(Listed::Ok(Json(page), age))
    }

    /// Get a delivery
    ///
    /// With its last attempts: each request that was made, and the beginning of its answer.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/deliveries/:event_id",
        method = "get",
        operation_id = "get_delivery",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn get_delivery(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        /// The id of the event, `evt_…`.
        event_id: Path<String>,
    ) -> Result<Found, Refused<GetDelivery>> {
        let (scope, event) = (seen_by(&caller)?, event_of(&event_id.0)?);
        let found = within_seconds(&self.pool, async |conn| {
            Ok(deliveries::find(conn, scope, EndpointId(endpoint_id.0.0), event).await?)
        });
        let (delivery, attempts) = found.await?;
        let attempts = attempts.into_iter().map(AttemptOut::from).collect();
        Ok(Found::Ok(Json(DeliveryDetails { delivery: delivery.into(), attempts })))
    }

    /// Send a delivery again
    ///
    /// Whatever came of it, by the whole schedule, under the same `webhook-id`.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/deliveries/:event_id/retry",
        method = "post",
        operation_id = "retry_delivery",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn retry_delivery(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        /// The id of the event, `evt_…`.
        event_id: Path<String>,
    ) -> Result<Accepted, Refused<SendAgain>> {
        let (scope, event) = (changed_by(&caller)?, event_of(&event_id.0)?);
        let retried = deliveries::retry(
            &self.pool,
            scope,
            EndpointId(endpoint_id.0.0),
            event,
            &caller.into(),
        )
        .await;
        let retried = retried.map_err(Problem::from)?;
        self.notifier.notify();
        Ok(Accepted::Accepted(Json(retried.into())))
    }

    /// Send a test event
    ///
    /// To this endpoint alone, whatever types it wants: an event `webhook.test`.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/test",
        method = "post",
        operation_id = "test_webhook_endpoint",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn test_webhook_endpoint(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
    ) -> Result<Tested, Refused<SendAgain>> {
        let scope = changed_by(&caller)?;
        let sent = deliveries::send_test(&self.pool, scope, EndpointId(endpoint_id.0.0)).await;
        let event_id = sent.map_err(Problem::from)?;
        self.notifier.notify();
        Ok(Tested::Accepted(Json(TestOut { event_id })))
    }

    /// Send many deliveries again
    ///
    /// Those that failed, or everything since a moment, delivered before or not. With `dry_run`
    /// they are only counted. A replay goes on where it was after a restart.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/replays",
        method = "post",
        operation_id = "replay_deliveries",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn replay_deliveries(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        body: JsonBody<ReplayIn>,
    ) -> Result<Replaying, Refused<StartReplay>> {
        let (scope, id) = (changed_by(&caller)?, EndpointId(endpoint_id.0.0));
        let (replay, is_dry_run) = body.read()?;
        if is_dry_run {
            let counted = within_seconds(&self.pool, async |conn| {
                Ok(deliveries::count_replay(conn, scope, id, replay).await?)
            });
            return Ok(Replaying::Counted(Json(counted.await?.into())));
        }
        let job = deliveries::replay(&self.pool, scope, id, replay, &caller.into())
            .await
            .map_err(Problem::from)?;
        self.notifier.notify();
        let begun = self.find(changed_by(&caller)?, id, job).await?;
        Ok(Replaying::Accepted(Json(begun)))
    }

    /// Get a replay
    ///
    /// Its state, and how many deliveries it has asked for.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/replays/:replay_id",
        method = "get",
        operation_id = "get_replay",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn get_replay(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        /// The number of the replay.
        replay_id: Path<Id<i64>>,
    ) -> Result<ReplayFound, Refused<GetDelivery>> {
        let id = EndpointId(endpoint_id.0.0);
        let found = self.find(seen_by(&caller)?, id, JobId(replay_id.0.0)).await?;
        Ok(ReplayFound::Ok(Json(found)))
    }

    /// Stop a replay
    ///
    /// What it has asked for until then is sent.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/replays/:replay_id",
        method = "delete",
        operation_id = "cancel_replay",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn cancel_replay(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        /// The number of the replay.
        replay_id: Path<Id<i64>>,
    ) -> Result<ReplayFound, Refused<GetDelivery>> {
        let (scope, id) = (changed_by(&caller)?, EndpointId(endpoint_id.0.0));
        let actor = Identity::from(caller);
        let cancelled =
            deliveries::cancel_replay(&self.pool, scope, id, JobId(replay_id.0.0), &actor).await;
        Ok(ReplayFound::Ok(Json(cancelled.map_err(Problem::from)?.into())))
    }
}

impl DeliveriesApi {
    async fn find(
        &self,
        scope: deliveries::Scope,
        id: EndpointId,
        job: JobId,
    ) -> Result<ReplayOut, Problem> {
        within_seconds(&self.pool, async |conn| {
            Ok(deliveries::find_replay(conn, scope, id, job).await?.into())
        })
        .await
    }
}

/// The event of this public id; whatever is none has no delivery either.
fn event_of(text: &str) -> Result<EventId, Problem> {
    parse_event_id(text).ok_or_else(|| Problem::new(Code::DeliveryNotFound))
}

impl From<DeliveryError> for Problem {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::NoSuchEndpoint => Self::new(Code::EndpointNotFound),
            DeliveryError::NotFound => Self::new(Code::DeliveryNotFound),
            DeliveryError::Disabled => Self::new(Code::EndpointDisabled),
            DeliveryError::Pending => Self::new(Code::DeliveryPending),
            DeliveryError::Ledger(error) => error.into(),
            DeliveryError::Queue(error) => error.into(),
            DeliveryError::Database(error) => error.into(),
        }
    }
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(
        Json<DeliveryPage>,
        /// The greatest age of what is shown, in seconds; absent when it is up to the moment.
        #[oai(header = "Data-Age")]
        Option<f64>,
    ),
}

#[derive(ApiResponse)]
enum Found {
    /// The delivery with its attempts.
    #[oai(status = 200)]
    Ok(Json<DeliveryDetails>),
}

#[derive(ApiResponse)]
enum Accepted {
    /// It is on its way.
    #[oai(status = 202)]
    Accepted(Json<DeliveryOut>),
}

#[derive(ApiResponse)]
enum Tested {
    /// It is on its way.
    #[oai(status = 202)]
    Accepted(Json<TestOut>),
}

#[derive(ApiResponse)]
enum Replaying {
    /// The number of deliveries that would be sent.
    #[oai(status = 200)]
    Counted(Json<ReplayOut>),
    /// It has begun.
    #[oai(status = 202)]
    Accepted(Json<ReplayOut>),
}

#[derive(ApiResponse)]
enum ReplayFound {
    /// The replay as it stands.
    #[oai(status = 200)]
    Ok(Json<ReplayOut>),
}
