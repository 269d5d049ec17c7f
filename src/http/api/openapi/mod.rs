//! The OpenAPI document: poem-openapi writes it from the types, and three steps finish it.
//!
//! - `describe`: adds headers, `examples` and exact schemas, and removes defaults.
//! - `components`: moves whatever recurs to `components`, under a name from `names`;
//!   constrained text such as amounts and currencies becomes a schema by `scalars`.
//! - `layout`: lays the JSON out for reviewers: whatever fits in a line is one.
//! - `collection`: writes the same operations as requests for an editor.
//!
//! Guaranteed: the document depends on nothing but the code, and names are unique over all sections
//! of `components`, so that generated clients compile (`tests/it/openapi.rs`, `.ci/clients/run`).
//!
//! `routes` tells the layers around the operations which there are.

mod audit_examples;
mod collection;
mod components;
mod describe;
mod examples;
mod failure_examples;
mod layout;
mod names;
mod operator_examples;
mod routes;
mod scalars;
mod system_examples;
mod webhook_examples;

use std::collections::HashMap;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, Registry};
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};
use serde_json::Value;

use super::Apis;

pub use self::routes::{allowed_methods, choices, paths, routes_by_operation};

const DESCRIPTION: &str = "\
Takes payment webhooks, never loses one, and applies each exactly once to a double-entry ledger.

A 2xx is sent only after the commit. A 503 says that it is not known whether there was one: send \
the same request again, as often as you like. Errors are problem details (RFC 9457); branch on \
their `code`, which is stable.

Where the number of requests is limited, each answer says how many are left (`RateLimit`, \
`X-RateLimit-Remaining`); a 429 says by `Retry-After` when to come back.

A server on a loopback address without a webhook secret is for trying things out: it takes \
unsigned webhooks and shows all transactions. It answers programs of its own machine only, and \
refuses (`not-local`) what names another `Host` or came through a proxy.

Prometheus scrapes `GET /metrics`, which is no part of this document.";

/// Operations that the document leaves out: `/metrics` is for a scraper, and generators of clients
/// do not know its media type.
const LEFT_OUT: [&str; 1] = ["/metrics"];

/// The icon of the pages, which fetch none: a page's own would be asked for by the browser.
const ICON: &str = "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg \
    xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' \
    fill='%231f6feb'/%3E%3Cpath d='M4 8.5l3 3 5-6' fill='none' stroke='white' \
    stroke-width='2'/%3E%3C/svg%3E\">";
const VIEWPORT: &str = "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";
const SMALL_SCREENS: &str = include_str!("swagger_ui.css");
/// Signs the webhooks that are tried out.
const SIGNING: &str = include_str!("swagger_ui.js");
const SIGNING_FORM: &str = "\
<form class=\"surety-signing\" onsubmit=\"return false\"><label>Webhook secret \
<input id=\"webhook-secret\" type=\"password\" autocomplete=\"off\" placeholder=\"whsec_…\" \
onchange=\"surety.check(this)\"> Webhooks that you try out are signed with it. It stays in this \
page.</label></form>
";

/// The service of these APIs, or of what stands for them.
pub fn service<T: OpenApi>(apis: T) -> OpenApiService<T, ()> {
    OpenApiService::new(apis, "Surety", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .contact(ContactObject::new().name("The maintainers of Surety"))
        .license(LicenseObject::new("MIT OR Apache-2.0").url("https://spdx.org/licenses/MIT.html"))
        .server(ServerObject::new("/"))
}

fn replace_last(page: &str, old: &str, new: &str) -> String {
    let at = page.rfind(old).expect("the crate's page has it");
    [&page[..at], new, &page[at + old.len()..]].concat()
}

/// The APIs without any state: they can be described, not called.
struct Described;

impl OpenApi for Described {
    fn meta() -> Vec<MetaApi> {
        Apis::meta()
    }

    fn register(registry: &mut Registry) {
        Apis::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// The finished document.
#[derive(Debug)]
pub struct Document {
    /// Every operation in full, without references except to schemas.
    described: Value,
    finished: Value,
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

impl Document {
    /// Describes all APIs; needs neither settings nor a database.
    pub fn new() -> Self {
        let raw = service(Described).spec();
        let mut described = serde_json::from_str(&raw).expect("poem-openapi writes JSON");
        describe::complete(&mut described);
        describe::order_groups(&mut described);
        let mut finished = described.clone();
        let paths = finished["paths"].as_object_mut().expect("a document has paths");
        paths.retain(|path, _| !LEFT_OUT.contains(&path.as_str()));
        components::share(&mut finished);
        Self { described, finished }
    }

    /// Every operation in full, `/metrics` among them: before anything was moved to `components`.
    pub fn described(&self) -> &Value {
        &self.described
    }

    /// As JSON, for people to read.
    pub fn to_json(&self) -> String {
        layout::json(&self.finished)
    }

    /// As YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(&self.finished).expect("what is JSON can be YAML")
    }

    /// As requests to be sent from an editor, in the order in which they work: an `.http` file.
    pub fn to_http_collection(&self) -> String {
        collection::write(&self.described)
    }

    /// The page of Swagger UI, which needs nothing from any other server.
    pub fn swagger_ui(&self) -> String {
        let service = service(Described);
        let page = self.put_into(service.swagger_ui_html(), &service.spec(), "Swagger UI");
        // The last of each: what comes before is the crate's script, and the document.
        let page = replace_last(
            &page,
            "<div id=\"ui\"></div>",
            &format!(
                "<style>{SMALL_SCREENS}</style>{SIGNING_FORM}<div id=\"ui\"></div>\n\
                 <script>{SIGNING}</script>"
            ),
        );
        let page = replace_last(
            &page,
            "filter: false,",
            "filter: false,\n        requestInterceptor: surety.intercept,",
        );
        format!("<!doctype html>{page}")
    }

    /// The page of ReDoc, which needs nothing from any other server.
    pub fn redoc(&self) -> String {
        let service = service(Described);
        let page = self.put_into(service.redoc_html(), &service.spec(), "Redoc");
        // The crate's page asks Google for fonts; ours are the reader's own.
        let without_fonts = |line: &&str| !line.contains("fonts.googleapis.com");
        page.lines().filter(without_fonts).collect::<Vec<_>>().join("\n")
    }

    /// The crate's pages hold the document as poem-openapi made it; ours goes in its place.
    fn put_into(&self, page: String, raw: &str, title: &str) -> String {
        // Inside a script, `</` could end it.
        let finished = self.finished.to_string().replace("</", "<\\/");
        page.replacen(raw, &finished, 1).replacen(
            &format!("<title>{title}</title>"),
            &format!("<title>Surety API</title>{ICON}{VIEWPORT}"),
            1,
        )
    }
}
