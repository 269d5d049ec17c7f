//! The OpenAPI document: what poem-openapi says by itself, and what it needs to be told.

mod collection;
mod examples;

use std::collections::HashMap;

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method};
use poem_openapi::registry::{MetaApi, MetaPath, Registry};
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};
use serde_json::{Value, json};

use self::examples::Exchange;
use super::{Apis, docs};
use crate::http::edge::rate_limits;
use crate::http::wire::problem::{Code, MEDIA_TYPE};

const DESCRIPTION: &str = "\
Takes payment webhooks, never loses one, and applies each exactly once to a double-entry ledger.

A 2xx is sent only after the commit. A 503 says that it is not known whether there was one: send \
the same request again, as often as you like. Errors are problem details (RFC 9457); branch on \
their `code`, which is stable.

Where the number of requests is limited, each answer says how many are left (`RateLimit`, \
`X-RateLimit-Remaining`); a 429 says by `Retry-After` when to come back.";

/// The service of these APIs, or of what stands for them.
pub fn service<T: OpenApi>(apis: T) -> OpenApiService<T, ()> {
    OpenApiService::new(apis, "Surety", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .contact(ContactObject::new().name("The maintainers of Surety"))
        .license(LicenseObject::new("MIT OR Apache-2.0").url("https://spdx.org/licenses/MIT.html"))
        .server(ServerObject::new("http://127.0.0.1:8000").description("What `app dev` starts"))
}

/// By poem's pattern of a path, what `Allow` says there. Paths outside of the document know only
/// GET.
pub fn allowed_methods() -> HashMap<String, HeaderValue> {
    let paths = Apis::meta().into_iter().flat_map(|api| api.paths);
    paths.map(|path| (poem_pattern(&path.path), allow(&path))).collect()
}

/// All paths, as the document and [`super::docs`] have them.
pub fn paths() -> Vec<String> {
    let documented = Apis::meta().into_iter().flat_map(|api| api.paths).map(|path| path.path);
    documented.chain(docs::PATHS.map(str::to_owned)).collect()
}

/// The ids of all documented operations.
pub fn operation_ids() -> impl Iterator<Item = String> {
    let paths = Apis::meta().into_iter().flat_map(|api| api.paths);
    paths.flat_map(|path| path.operations).filter_map(|it| it.operation_id.map(str::to_owned))
}

fn allow(path: &MetaPath) -> HeaderValue {
    let mut methods: Vec<&str> = path.operations.iter().map(|it| it.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    HeaderValue::from_str(&methods.join(", ")).expect("methods are ASCII")
}

/// `/a/{name}` is `/a/:param0` to poem.
fn poem_pattern(path: &str) -> String {
    let mut params = 0;
    let segments = path.split('/').map(|segment| match segment.starts_with('{') {
        true => {
            params += 1;
            format!(":param{}", params - 1)
        }
        false => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
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
        let mut finished = serde_json::from_str(&raw).expect("poem-openapi writes JSON");
        finish(&mut finished);
        Self { finished }
    }

    /// As JSON, for people to read.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.finished)
    }

    /// As YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(&self.finished).expect("what is JSON can be YAML")
    }

    /// As requests to be sent from an editor, in the order in which they work: an `.http` file.
    pub fn to_http_collection(&self) -> String {
        collection::write(&self.finished)
    }

    /// The page of Swagger UI, which needs nothing from any other server.
    pub fn swagger_ui(&self) -> String {
        let service = service(Described);
        self.put_into(service.swagger_ui_html(), &service.spec(), "Swagger UI")
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
            "<title>Surety API</title>",
            1,
        )
    }
}

/// Adds to the document what poem-openapi cannot say.
fn finish(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut().expect("there are schemas");
    for schema in schemas.values_mut() {
        tidy(schema);
    }
    for name in names_of_bodies(document) {
        // Bodies are read strictly (crate::http::wire::json_body).
        document["components"]["schemas"][name]["additionalProperties"] = Value::Bool(false);
    }
    let paths = document["paths"].as_object_mut().expect("a document has paths");
    for operation in paths.values_mut().flat_map(operations) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        explode_parameters(operation);
        add_examples(operation, &id);
        let responses = operation["responses"].as_object_mut().expect("operations have responses");
        let is_limited = responses.contains_key("429");
        for response in responses.values_mut() {
            add_problem_examples(response);
            add_request_id(response);
            if is_limited {
                add_rate_limit(response);
            }
        }
    }
}

/// A field that may be null is there all the same; and a field that is a reference with a
/// description of its own needs no second copy of it.
fn tidy(schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    let mut always_there = Vec::new();
    for (name, field) in properties {
        if field.get("nullable") == Some(&Value::Bool(true)) {
            always_there.push(json!(name));
        }
        if let Some(parts) = field.get_mut("allOf").and_then(Value::as_array_mut) {
            parts.retain(|part| part.get("$ref").is_some());
        }
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.extend(always_there);
    }
}

/// A parameter that is an object stands for several, which one extractor reads: each of its
/// properties is a parameter of its own.
fn explode_parameters(operation: &mut Value) {
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else {
        return;
    };
    let mut exploded = Vec::new();
    for parameter in parameters.drain(..) {
        let Some(properties) = parameter["schema"]["properties"].as_object() else {
            exploded.push(parameter);
            continue;
        };
        for (name, schema) in properties {
            let mut schema = schema.clone();
            let parts = schema.get("allOf").and_then(Value::as_array);
            let described = parts.and_then(|parts| parts.last()).unwrap_or(&schema);
            let description = described["description"].clone();
            if let Some(reference) = parts.and_then(|parts| parts.first()) {
                schema = reference.clone();
            } else if let Some(schema) = schema.as_object_mut() {
                schema.remove("description");
            }
            let mut one = parameter.clone();
            one["name"] = json!(name);
            one["description"] = description;
            one["schema"] = schema;
            exploded.push(one);
        }
    }
    *parameters = exploded;
}

/// The schemas that request bodies refer to.
fn names_of_bodies(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = paths.flat_map(|path| path.as_object().into_iter().flat_map(|it| it.values()));
    operations
        .filter_map(|it| it.pointer("/requestBody/content/application~1json/schema/$ref")?.as_str())
        .filter_map(|reference| Some(reference.rsplit_once('/')?.1.to_owned()))
        .collect()
}

fn operations(path: &mut Value) -> impl Iterator<Item = &mut Value> {
    path.as_object_mut().into_iter().flat_map(|methods| methods.values_mut())
}

/// `X-Request-Id` is on every answer.
fn add_request_id(response: &mut Value) {
    response["headers"]["X-Request-Id"] = json!({
        "description": "The id of the request: yours if you sent one, otherwise ours.",
        "required": true,
        "schema": { "type": "string" },
    });
}

/// On every answer to a request that was measured by a limit; a request may fail before that, and
/// limits may be off.
fn add_rate_limit(response: &mut Value) {
    for (name, kind, description) in rate_limits::HEADERS {
        response["headers"][name] = json!({
            "description": description,
            "required": false,
            "schema": { "type": kind },
        });
    }
}

/// The description of a refusal names its codes; each becomes an example.
fn add_problem_examples(response: &mut Value) {
    let description = response["description"].as_str().unwrap_or_default().to_owned();
    let content = response.get_mut("content").and_then(|it| it.get_mut(MEDIA_TYPE));
    let Some(content) = content else { return };
    let named = |code: &&Code| description.contains(&format!("`{}`:", code.as_str()));
    for code in Code::ALL.iter().filter(named) {
        content["examples"][code.as_str()] = json!({
            "summary": code.title(),
            "value": examples::of_problem(*code),
        });
    }
}

/// What goes in and what comes out when all is well.
fn add_examples(operation: &mut Value, id: &str) {
    let Exchange { request, answer } = examples::of_operation(id);
    if let Some(answer) = answer {
        let responses = operation["responses"].as_object_mut().into_iter().flatten();
        for (_, success) in responses.filter(|(status, _)| status.starts_with('2')) {
            let media_types = success["content"].as_object_mut().into_iter().flatten();
            for (_, content) in media_types {
                content["example"] = answer.clone();
            }
        }
    }
    if let Some(request) = request {
        operation["requestBody"]["content"]["application/json"]["example"] = request;
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some(example) = examples::of_parameter(id, name) {
            parameter["example"] = example;
        }
    }
}
