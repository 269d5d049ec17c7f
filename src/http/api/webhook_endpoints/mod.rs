//! Webhook endpoints: who is told of what, and where.

mod bodies;
mod deliveries;
mod delivery_bodies;
mod refusals;

use std::time::Duration;

use poem::http::Uri;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;

use self::bodies::{
    EndpointChangeIn, EndpointOut, EndpointPage, EventTypeOut, EventTypesOut, NewEndpoint,
    NewSecretOut, OverlapIn, SecretOut,
};
use self::refusals::{ChangeEndpoint, CreateEndpoint, GetEndpoint, ListEndpoints};
use super::ApiTags;
use crate::events::EventType;
use crate::http::edge::caller::{Caller, Right};
use crate::http::wire::id::Id;
use crate::http::wire::json_body::JsonBody;
use crate::http::wire::lists::{self, DEFAULT_LIMIT, read_cursor, refuse_unknown_parameters};
use crate::http::wire::payload::Json;
use crate::http::wire::problem::{Code, FieldError, Problem};
use crate::http::wire::refused::{NoRefusals, Refused};
use crate::ids::EndpointId;
use crate::operations::Identity;
use crate::operations::endpoints::{self, EndpointError, Safeguards, Scope, SettingRefusal};

pub use self::deliveries::DeliveriesApi;

/// The time for which an old secret signs beside a new one, unless another is asked for.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// The API of webhook endpoints.
#[derive(Clone)]
pub struct WebhookEndpointsApi {
    /// The database of endpoints.
    pub pool: PgPool,
    /// Vets the addresses of endpoints, and seals their secrets.
    pub safeguards: Safeguards,
}

/// The endpoints that a caller sees: users their own, those above all.
fn seen_by(caller: &Caller) -> Result<Scope, Problem> {
    match caller.role.may(Right::Read) {
        true => Ok(Scope::All),
        false => Ok(Scope::Of(caller.owner()?)),
    }
}

/// The endpoints that a caller may change: of those that the caller sees, viewers none.
fn changed_by(caller: &Caller) -> Result<Scope, Problem> {
    let scope = seen_by(caller)?;
    match scope {
        Scope::Of(_) => {}
        Scope::All => caller.require(Right::Operate)?,
    }
    Ok(scope)
}

#[OpenApi]
impl WebhookEndpointsApi {
    /// Create an endpoint
    ///
    /// Events are sent to it from now on: a user's are those of their wallets, an operator's those
    /// of everybody. The secret signs what is sent (Standard Webhooks); it is shown here and never
    /// again.
    #[oai(
        path = "/v1/webhook-endpoints",
        method = "post",
        operation_id = "create_webhook_endpoint",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn create_webhook_endpoint(
        &self,
        caller: Caller,
        body: JsonBody<NewEndpoint>,
    ) -> Result<Created, Refused<CreateEndpoint>> {
        let owner = match changed_by(&caller)? {
            Scope::Of(user) => Some(user),
            Scope::All => None,
        };
        let change = body.read()?;
        let created =
            endpoints::create(&self.pool, &self.safeguards, owner, change, &caller.into()).await;
        let (endpoint, secret) = created.map_err(Problem::from)?;
        let location = format!("/v1/webhook-endpoints/{}", endpoint.id);
        let secret = secret.reveal().to_owned();
        Ok(Created::Created(Json(SecretOut { endpoint: endpoint.into(), secret }), location))
    }

    /// List endpoints
    ///
    /// Newest first: your own, or as a viewer and above all.
    #[oai(
        path = "/v1/webhook-endpoints",
        method = "get",
        operation_id = "list_webhook_endpoints",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn list_webhook_endpoints(
        &self,
        caller: Caller,
        uri: &Uri,
        /// The most items on a page; 50 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listed, Refused<ListEndpoints>> {
        refuse_unknown_parameters(uri, &["limit", "cursor"])?;
        let scope = seen_by(&caller)?;
        let list = format!("list_webhook_endpoints 1 {scope:?}");
        let before = cursor.0.map(|text| read_cursor::<16>(&text, &list)).transpose()?;
        let before = before.map(|id| EndpointId(Uuid::from_bytes(id)));
        let limit = limit.0.unwrap_or(DEFAULT_LIMIT);
        let found = endpoints::list(&self.pool, scope, before, limit + 1).await;
        let (found, last) = lists::page(found.map_err(Problem::from)?, limit);
        let next_cursor = last.map(|last| lists::cursor_after(*last.id.as_bytes(), &list));
        let endpoints = found.into_iter().map(EndpointOut::from).collect();
        Ok(Listed::Ok(Json(EndpointPage { endpoints, next_cursor })))
    }

    /// Get an endpoint
    ///
    /// With its state: whether it is enabled, and how it has fared of late. Never with its secret
    /// or the values of its headers.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id",
        method = "get",
        operation_id = "get_webhook_endpoint",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn get_webhook_endpoint(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
    ) -> Result<Found, Refused<GetEndpoint>> {
        let found = endpoints::find(&self.pool, seen_by(&caller)?, EndpointId(endpoint_id.0.0));
        Ok(Found::Ok(Json(found.await.map_err(Problem::from)?.into())))
    }

    /// Change an endpoint
    ///
    /// What is absent stays; what is null goes back to what it is by default. `enabled` switches it
    /// off and on; on, it is sent to as if it had never failed.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id",
        method = "patch",
        operation_id = "change_webhook_endpoint",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn change_webhook_endpoint(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        body: JsonBody<EndpointChangeIn>,
    ) -> Result<Found, Refused<ChangeEndpoint>> {
        let (scope, id) = (changed_by(&caller)?, EndpointId(endpoint_id.0.0));
        let (change, enabled) = body.read()?;
        let by = Identity::from(caller);
        let changed = endpoints::update(&self.pool, &self.safeguards, scope, id, change, &by).await;
        let mut changed = changed.map_err(Problem::from)?;
        if let Some(is_enabled) = enabled {
            let switched = endpoints::switch(&self.pool, scope, id, is_enabled, &by).await;
            changed = switched.map_err(Problem::from)?;
        }
        Ok(Found::Ok(Json(changed.into())))
    }

    /// Delete an endpoint
    ///
    /// Nothing more is sent to it. What was sent stays on record.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id",
        method = "delete",
        operation_id = "delete_webhook_endpoint",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn delete_webhook_endpoint(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
    ) -> Result<Deleted, Refused<GetEndpoint>> {
        let id = EndpointId(endpoint_id.0.0);
        let deleted = endpoints::delete(&self.pool, changed_by(&caller)?, id, &caller.into()).await;
        deleted.map_err(Problem::from)?;
        Ok(Deleted::NoContent)
    }

    /// Replace the secret of an endpoint
    ///
    /// The new secret signs from now on, and is shown here and never again. The one before signs
    /// beside it for a while, a day unless you say otherwise, so that a receiver that takes either
    /// misses nothing.
    #[oai(
        path = "/v1/webhook-endpoints/:endpoint_id/secret",
        method = "post",
        operation_id = "rotate_webhook_secret",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn rotate_webhook_secret(
        &self,
        caller: Caller,
        /// The id of the endpoint.
        endpoint_id: Path<Id<Uuid>>,
        body: JsonBody<OverlapIn>,
    ) -> Result<Rotated, Refused<ChangeEndpoint>> {
        let overlap = body.read()?.unwrap_or(DEFAULT_OVERLAP);
        let id = EndpointId(endpoint_id.0.0);
        let (scope, by) = (changed_by(&caller)?, Identity::from(caller));
        let sealing = &self.safeguards.secrets;
        let secret = endpoints::rotate_secret(&self.pool, sealing, scope, id, overlap, &by).await;
        let secret = secret.map_err(Problem::from)?.reveal().to_owned();
        Ok(Rotated::Ok(Json(NewSecretOut { secret })))
    }

    /// List the types of events
    ///
    /// What endpoints can be told. The body of an event is `{"type", "timestamp", "data"}`; the
    /// data of one is what the API answers to those who read its subject at that moment.
    #[oai(
        path = "/v1/webhook-event-types",
        method = "get",
        operation_id = "list_webhook_event_types",
        tag = "ApiTags::WebhookEndpoints"
    )]
    async fn list_webhook_event_types(&self) -> Result<EventTypes, Refused<NoRefusals>> {
        let event_types = EventType::ALL.iter().map(|it| EventTypeOut::from(*it)).collect();
        Ok(EventTypes::Ok(Json(EventTypesOut { event_types })))
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::NotFound => Self::new(Code::EndpointNotFound),
            EndpointError::TooMany(most) => {
                Self::new(Code::TooManyEndpoints).detail(format!("There may be {most} of them."))
            }
            EndpointError::Refused(refusal) => refusal.into(),
            EndpointError::Random(error) => Self::new(Code::InternalError).cause(error),
            EndpointError::Seal(error) => Self::new(Code::InternalError).cause(error),
            EndpointError::Database(error) => error.into(),
        }
    }
}

impl From<SettingRefusal> for Problem {
    fn from(refusal: SettingRefusal) -> Self {
        let detail = format!("{refusal}");
        Self::new(Code::UnacceptableValues).detail(format!("{detail}.")).errors(vec![FieldError {
            pointer: format!("#/{}", refusal.field),
            code: "unacceptable".to_owned(),
            detail,
        }])
    }
}

#[derive(ApiResponse)]
enum Created {
    /// The endpoint, with its secret.
    #[oai(status = 201)]
    Created(
        Json<SecretOut>,
        /// The path at which to read it.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Listed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<EndpointPage>),
}

#[derive(ApiResponse)]
enum Found {
    /// The endpoint as it stands.
    #[oai(status = 200)]
    Ok(Json<EndpointOut>),
}

#[derive(ApiResponse)]
enum Deleted {
    /// It is deleted.
    #[oai(status = 204)]
    NoContent,
}

#[derive(ApiResponse)]
enum Rotated {
    /// The new secret.
    #[oai(status = 200)]
    Ok(Json<NewSecretOut>),
}

#[derive(ApiResponse)]
enum EventTypes {
    /// All types of events.
    #[oai(status = 200)]
    Ok(Json<EventTypesOut>),
}
