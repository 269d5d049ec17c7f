//! `GET /metrics`: the figures of this process, for Prometheus.

use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiResponse, OpenApi};

use super::ApiTags;
use crate::http::edge::metrics::{MEDIA_TYPE, Metrics};
use crate::http::wire::refused::{NoRefusals, Refused};

/// The API of the figures.
pub struct MetricsApi {
    /// The registry that is shown.
    pub metrics: Metrics,
}

#[OpenApi]
impl MetricsApi {
    /// Get the figures of this process
    ///
    /// For Prometheus, in the text format of OpenMetrics: requests by operation and class of
    /// status, with their durations; inbound webhooks by what became of them; decisions of the rate
    /// limits; connections to the database. Each process counts for itself, from its start.
    #[oai(path = "/metrics", method = "get", operation_id = "get_metrics", tag = "ApiTags::System")]
    async fn get_metrics(&self) -> Result<MetricsGiven, Refused<NoRefusals>> {
        Ok(MetricsGiven::Ok(OpenMetrics(self.metrics.scrape().await)))
    }
}

#[derive(ApiResponse)]
enum MetricsGiven {
    /// The figures.
    #[oai(status = 200)]
    Ok(OpenMetrics),
}

/// Text in the format of OpenMetrics.
struct OpenMetrics(String);

impl Payload for OpenMetrics {
    const CONTENT_TYPE: &'static str = MEDIA_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }
}

impl IntoResponse for OpenMetrics {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}
