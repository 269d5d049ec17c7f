//! `GET /metrics`: the figures of this process, for Prometheus.

use poem::http::HeaderMap;
use poem::http::header::ACCEPT;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiResponse, OpenApi};

use super::ApiTags;
use crate::http::wire::problem::{Code, Problem};
use crate::http::wire::refused::{Refusals, Refused};
use crate::metrics::{Exposition, Format, Metrics};

/// The API of the figures.
pub struct MetricsApi {
    /// The registry that is shown; without one nothing is, as if there were no such operation.
    pub metrics: Option<Metrics>,
}

#[OpenApi]
impl MetricsApi {
    /// Get the figures of this process
    ///
    /// For Prometheus, in the format that the `Accept` prefers: the text format 0.0.4 or
    /// OpenMetrics. Waits for nobody: figures of the whole system are those of the last look at the
    /// database, and are missing while it is away.
    #[oai(path = "/metrics", method = "get", operation_id = "get_metrics", tag = "ApiTags::System")]
    async fn get_metrics(&self, headers: &HeaderMap) -> Result<MetricsGiven, Refused<GetMetrics>> {
        let metrics = self.metrics.as_ref().ok_or_else(|| Problem::new(Code::NotFound))?;
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let exposition = Format::preferred(accept).write(&metrics.gather());
        Ok(MetricsGiven::Ok(Text(exposition)))
    }
}

#[derive(ApiResponse)]
enum MetricsGiven {
    /// The figures.
    #[oai(status = 200)]
    Ok(Text),
}

/// Text in one of the two formats.
struct Text(Exposition);

impl Payload for Text {
    const CONTENT_TYPE: &'static str = Format::Text.media_type();

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }
}

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        Response::builder().content_type(self.0.media_type).body(self.0.text)
    }
}

/// The refusals of `get_metrics`.
#[derive(Debug)]
struct GetMetrics;

impl Refusals for GetMetrics {
    const CODES: &'static [&'static [Code]] = &[&[Code::NotFound]];
}
