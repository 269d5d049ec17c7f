//! The OpenAPI document: what poem-openapi says by itself, and what it needs to be told.

use std::collections::HashMap;

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method};
use poem_openapi::registry::{MetaApi, MetaPath, Registry};
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};
use serde_json::{Value, json};

use super::problem::{Code, FieldError, MEDIA_TYPE, Problem};
use super::{Apis, docs};

const DESCRIPTION: &str = "\
Takes payment webhooks, never loses one, and applies each exactly once to a double-entry ledger.

A 2xx is sent only after the commit. A 503 says that it is not known whether there was one: send \
the same request again, as often as you like. Errors are problem details (RFC 9457); branch on \
their `code`, which is stable.";

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
    let paths = document["paths"].as_object_mut().expect("a document has paths");
    for operation in paths.values_mut().flat_map(operations) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        add_examples(operation, &id);
        let responses = operation["responses"].as_object_mut().expect("operations have responses");
        for response in responses.values_mut() {
            add_problem_examples(response);
            add_request_id(response);
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

/// The description of a refusal names its codes; each becomes an example.
fn add_problem_examples(response: &mut Value) {
    let description = response["description"].as_str().unwrap_or_default().to_owned();
    let Some(content) = response["content"].get_mut(MEDIA_TYPE) else { return };
    let named = |code: &&Code| description.contains(&format!("`{}`:", code.as_str()));
    for code in Code::ALL.iter().filter(named) {
        content["examples"][code.as_str()] = json!({
            "summary": code.title(),
            "value": example_of(*code),
        });
    }
}

fn example_of(code: Code) -> Value {
    let field = |pointer: &str, code: &str, detail: &str| FieldError {
        pointer: pointer.to_owned(),
        code: code.to_owned(),
        detail: detail.to_owned(),
    };
    let errors = match code {
        Code::MissingFields => vec![field("#/amount", "missing", "amount is required")],
        Code::InvalidFields => vec![field("#/amount", "wrong-type", "amount must be a number")],
        Code::UnacceptableValues => {
            vec![field("#/currency", "unknown-currency", "currency is not a currency in use")]
        }
        Code::InvalidParameter => vec![field("?limit", "invalid", "must be at most 200")],
        Code::NotReady => vec![field("database", "away", "The database does not answer.")],
        _ => Vec::new(),
    };
    let path = match code {
        Code::TransactionNotFound => "/v1/transactions/txn_1001",
        Code::InvalidParameter | Code::InvalidCursor => "/v1/transactions",
        Code::NotReady => "/readyz",
        _ => "/v1/webhooks/transactions",
    };
    let body = Problem::new(code).errors(errors).body(path);
    serde_json::from_slice(&body).expect("a problem is JSON")
}

/// What a cursor looks like.
const CURSOR: &str = "AAAAAAAAAC7yK1bQ4F0mRz0Q8sJtV9xk";

/// What goes in and what comes out when all is well.
fn add_examples(operation: &mut Value, id: &str) {
    let transaction = json!({
        "transaction_id": "txn_1001",
        "source_account": "acc_user_789",
        "destination_account": "acc_merchant_456",
        "amount": "1500.00",
        "currency": "USD",
    });
    let mut stored = transaction.clone();
    stored["status"] = json!("COMPLETED");
    stored["failure_reason"] = Value::Null;
    stored["created_at"] = json!("2026-11-02T09:30:00.123456Z");
    stored["processed_at"] = json!("2026-11-02T09:30:00.145012Z");
    let (status, answer) = match id {
        "receive_transaction" => ("202", json!({ "message": "accepted" })),
        "get_transaction" => ("200", stored),
        "list_transactions" => ("200", json!({ "transactions": [stored], "next_cursor": CURSOR })),
        "get_status" => {
            ("200", json!({ "status": "HEALTHY", "current_time": "2026-11-02T09:30:00.123456Z" }))
        }
        "check_health" => ("200", json!({ "status": "ok" })),
        "check_readiness" => ("200", json!({ "status": "ready" })),
        "get_version" => ("200", json!({ "name": "surety", "version": env!("CARGO_PKG_VERSION") })),
        _ => return,
    };
    operation["responses"][status]["content"]["application/json"]["example"] = answer;
    if id == "receive_transaction" {
        operation["requestBody"]["content"]["application/json"]["example"] = transaction;
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some(example) = example_of_parameter(name) {
            parameter["example"] = example;
        }
    }
}

fn example_of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "transaction_id" => json!("txn_1001"),
        "webhook-id" => json!("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
        "webhook-timestamp" => json!("1793612400"),
        "webhook-signature" => json!("v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
        "status" => json!("COMPLETED"),
        "currency" => json!("USD"),
        "account" => json!("acc_user_789"),
        "created_from" => json!("2026-11-01T00:00:00Z"),
        "created_before" => json!("2026-12-01T00:00:00Z"),
        "limit" => json!(50),
        "cursor" => json!(CURSOR),
        _ => return None,
    })
}
