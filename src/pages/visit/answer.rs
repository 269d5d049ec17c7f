//! Answers of pages: a page, or where to go on.

use askama::Template;
use flate2::Compression;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Response, ResponseBuilder};

use crate::http::wire::problem::{Code, Problem};
use crate::pages::assets::{accepts_gzip, gzip};
use crate::pages::refusals::Refusal;

/// Everything comes from here, and nothing stands in the page itself: text that got into it as
/// markup would still run nothing.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// Smaller pages would hardly get smaller.
const COMPRESSED_FROM_BYTES: usize = 1024;

/// The answer to a visit.
#[derive(Debug)]
pub(in crate::pages) enum Answer {
    /// A page.
    Page {
        /// The status.
        status: StatusCode,
        /// The page.
        html: String,
    },
    /// After an action: where to go on, and a sentence to be shown there.
    Elsewhere {
        /// The path.
        path: String,
        /// The sentence.
        notice: Option<String>,
    },
    /// A file to be kept, whole as it is sent.
    File(Response),
}

impl Answer {
    /// A page of this template.
    ///
    /// # Errors
    ///
    /// [`Code::InternalError`], if the template cannot be written.
    pub(in crate::pages) fn page(template: &impl Template) -> Result<Self, Refusal> {
        Self::page_with(StatusCode::OK, template)
    }

    /// The same with another status.
    ///
    /// # Errors
    ///
    /// [`Code::InternalError`].
    pub(in crate::pages) fn page_with(
        status: StatusCode,
        template: &impl Template,
    ) -> Result<Self, Refusal> {
        let html = template.render();
        let html = html.map_err(|error| Problem::new(Code::InternalError).cause(error))?;
        Ok(Self::Page { status, html })
    }

    /// To somewhere else, without a word.
    pub(in crate::pages) fn redirect(path: impl Into<String>) -> Self {
        Self::Elsewhere { path: path.into(), notice: None }
    }
}

/// A response with a page.
pub(in crate::pages) fn page_response(
    response: ResponseBuilder,
    html: String,
    headers: &HeaderMap,
) -> Response {
    let response = response
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::CACHE_CONTROL, "no-store")
        // Not `no-referrer`, by which browsers would hide from us where our own forms come from.
        .header(header::REFERRER_POLICY, "same-origin")
        .header(header::VARY, "accept-encoding");
    match html.len() >= COMPRESSED_FROM_BYTES && accepts_gzip(headers) {
        true => response
            .header(header::CONTENT_ENCODING, "gzip")
            .body(gzip(html.as_bytes(), Compression::fast())),
        false => response.body(html),
    }
}
