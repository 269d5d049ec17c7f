//! Answers to those who place, read and list orders.

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;

use super::bodies::{OrderOut, OrderPage};
use crate::http::edge::caller;
use crate::http::edge::idempotency::StoredAnswer;
use crate::http::wire::payload::Json;
use crate::http::wire::problem::Code;
use crate::http::wire::refused::Refusals;

/// The header that says that an answer was given before.
pub const IDEMPOTENT_REPLAYED: &str = "Idempotent-Replayed";

/// The answer to a request for an order, now or again: the bytes that are kept for its key.
///
/// For the document this is the 202; the refusals among them are documented with the operation's
/// other refusals.
#[derive(Debug)]
pub struct OrderAnswer {
    /// The answer that is stored for the key.
    pub(super) answer: StoredAnswer,
    /// An earlier request was answered the same.
    pub(super) is_replay: bool,
}

impl IntoResponse for OrderAnswer {
    fn into_response(self) -> Response {
        let StoredAnswer { status, location, content_type, body } = self.answer;
        let mut response = Response::builder()
            .status(StatusCode::from_u16(status).unwrap_or(StatusCode::ACCEPTED))
            .content_type(content_type);
        if let Some(location) = location {
            response = response.header(header::LOCATION, location);
        }
        if self.is_replay {
            let replayed = HeaderValue::from_static("true");
            response = response.header(IDEMPOTENT_REPLAYED, replayed);
        }
        response.body(body)
    }
}

impl ApiResponse for OrderAnswer {
    fn meta() -> MetaResponses {
        let header = |name: &str, description: &str, required| MetaHeader {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            required,
            deprecated: false,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "It is taken, now or by an earlier request with the same key, and \
                              will be executed. Its `status` is that of the moment it was taken.",
                status: Some(202),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: "application/json",
                    schema: OrderOut::schema_ref(),
                }],
                headers: vec![
                    header("Location", "The path at which to read it.", true),
                    header(IDEMPOTENT_REPLAYED, "`true` when this answer was given before.", false),
                ],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        OrderOut::register(registry);
    }
}

/// An order that was found.
#[derive(ApiResponse)]
pub enum OrderFound {
    /// The order as it stands.
    #[oai(status = 200)]
    Ok(Json<OrderOut>),
}

/// Orders that were found.
#[derive(ApiResponse)]
pub enum OrdersListed {
    /// The page.
    #[oai(status = 200)]
    Ok(Json<OrderPage>),
}

/// The refusals of operations that show one order.
#[derive(Debug)]
pub struct FindOrder;

impl Refusals for FindOrder {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::OrderNotFound]];
}

/// The refusals of operations that list the caller's orders.
#[derive(Debug)]
pub struct ListOrders;

impl Refusals for ListOrders {
    const CODES: &'static [&'static [Code]] =
        &[caller::REFUSALS, &[Code::InvalidParameter, Code::InvalidCursor, Code::Forbidden]];
}
