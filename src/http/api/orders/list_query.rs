//! The parameters of every list of orders, as one extractor.

use poem::{Request, RequestBody};
use poem_openapi::param::Query;
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromParameter, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use time::OffsetDateTime;

use crate::http::api::transactions::TransactionStatus;
use crate::http::wire::lists::{DEFAULT_LIMIT, MAX_LIMIT, refuse_unknown_parameters};
use crate::http::wire::moment::Moment;
use crate::http::wire::problem::Problem;

/// The filter of a list of orders, and the page of it that is wanted.
///
/// To poem-openapi it is one parameter that is an object; the document's finishing touch
/// ([`crate::http::api::openapi`]) shows each of its properties as a parameter of its own.
#[derive(Clone, Debug)]
pub struct OrderQuery {
    /// Only those in this state.
    pub status: Option<TransactionStatus>,
    /// Only those given at this time or later.
    pub created_from: Option<OffsetDateTime>,
    /// Only those given before this time.
    pub created_before: Option<OffsetDateTime>,
    /// The number of orders on a page.
    pub limit: u16,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The names of the parameters.
const NAMES: [&str; 5] = ["status", "created_from", "created_before", "limit", "cursor"];

impl<'a> ApiExtractor<'a> for OrderQuery {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        TransactionStatus::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let described = |schema: MetaSchemaRef, description: &'static str| {
            schema.merge(MetaSchema { description: Some(description), ..MetaSchema::ANY })
        };
        let (status, moment) = (TransactionStatus::schema_ref(), Moment::schema_ref());
        let limit = u16::schema_ref().merge(MetaSchema {
            minimum: Some(1.0),
            maximum: Some(f64::from(MAX_LIMIT)),
            ..MetaSchema::ANY
        });
        let schemas = [
            described(status, "Only those in this state."),
            described(moment.clone(), "Only those created at this time or later (RFC 3339)."),
            described(moment, "Only those created before this time (RFC 3339)."),
            described(limit, "The most items on a page; 50 when absent."),
            described(String::schema_ref(), "The `next_cursor` of the page before."),
        ];
        let properties = NAMES.into_iter().zip(schemas).collect();
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            properties,
            ..MetaSchema::new("object")
        })))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        refuse_unknown_parameters(request.uri(), &NAMES)?;
        let limit = parameter(request, "limit").await?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let reason = format!("must be from 1 to {MAX_LIMIT}");
            return Err(Problem::parameter("limit", &reason).into());
        }
        Ok(Self {
            status: parameter(request, "status").await?,
            created_from: parameter(request, "created_from").await?.map(Moment::boundary),
            created_before: parameter(request, "created_before").await?.map(Moment::boundary),
            limit,
            cursor: parameter(request, "cursor").await?,
        })
    }
}

/// A parameter, read as poem-openapi reads one that stands alone.
async fn parameter<T: ParseFromParameter>(
    request: &Request,
    name: &'static str,
) -> poem::Result<Option<T>> {
    let options = ExtractParamOptions { name, ..ExtractParamOptions::default() };
    let mut no_body = RequestBody::default();
    Ok(Query::<Option<T>>::from_request(request, &mut no_body, options).await?.0)
}
