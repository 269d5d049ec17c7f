//! The document, for people and for programs: Swagger UI, ReDoc, JSON and YAML.

use std::sync::LazyLock;

use bytes::Bytes;
use poem::http::header;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, OpenApi};

use super::openapi::Document;
use crate::http::edge::security_headers;

/// The paths of the documentation.
pub const PATHS: [&str; 4] = ["/docs", "/redoc", "/openapi.json", "/openapi.yaml"];

const HTML: &str = "text/html; charset=utf-8";

/// The API of the document. Not part of the document: it is about the API, not of it.
#[derive(Clone, Copy)]
pub struct DocsApi;

/// Rendered at the first request, once per process: nothing of it depends on settings, and the
/// start of a server need not wait for it. On a thread of its own, because within a request the
/// examples of problems would carry that request's id.
static PAGES: LazyLock<Pages> = LazyLock::new(|| {
    let rendering = std::thread::spawn(Pages::render);
    rendering.join().expect("tests render the same pages")
});

struct Pages {
    swagger_ui: Page,
    redoc: Page,
    json: Page,
    yaml: Page,
}

impl Pages {
    fn render() -> Self {
        let document = Document::new();
        let page = |content_type, text: String| Page { content_type, text: text.into() };
        Self {
            swagger_ui: page(HTML, document.swagger_ui()),
            redoc: page(HTML, document.redoc()),
            json: page("application/json", document.to_json()),
            yaml: page("application/yaml", document.to_yaml()),
        }
    }
}

#[OpenApi]
impl DocsApi {
    #[oai(path = "/docs", method = "get", operation_id = "get_swagger_ui", hidden)]
    async fn get_swagger_ui(&self) -> Page {
        PAGES.swagger_ui.clone()
    }

    #[oai(path = "/redoc", method = "get", operation_id = "get_redoc", hidden)]
    async fn get_redoc(&self) -> Page {
        PAGES.redoc.clone()
    }

    #[oai(path = "/openapi.json", method = "get", operation_id = "get_openapi_json", hidden)]
    async fn get_openapi_json(&self) -> Page {
        PAGES.json.clone()
    }

    #[oai(path = "/openapi.yaml", method = "get", operation_id = "get_openapi_yaml", hidden)]
    async fn get_openapi_yaml(&self) -> Page {
        PAGES.yaml.clone()
    }
}

/// A page that was rendered before; a clone shares its text.
#[derive(Clone)]
struct Page {
    content_type: &'static str,
    text: Bytes,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let response = Response::builder()
            .content_type(self.content_type)
            .header(header::CACHE_CONTROL, "no-cache");
        let response = match self.content_type {
            HTML => response.header(header::CONTENT_SECURITY_POLICY, security_headers::DOCS_PAGE),
            _ => response,
        };
        response.body(self.text)
    }
}

impl ApiResponse for Page {
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(_: &mut Registry) {}
}
