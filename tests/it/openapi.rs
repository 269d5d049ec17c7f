//! The OpenAPI document: committed, complete, served, and fit for generators of clients.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use surety::http::api::openapi::{self, Document};

use crate::support::TestApi;

fn document() -> Value {
    serde_json::from_str(&Document::new().to_json()).unwrap()
}

/// The document with each header, parameter and response where it is referred to.
fn resolved_document() -> Value {
    let document = document();
    let mut resolved = document.clone();
    resolve(&mut resolved["paths"], &document);
    resolved
}

fn resolve(part: &mut Value, document: &Value) {
    if let Some(reference) = part["$ref"].as_str().filter(|it| !it.contains("/schemas/")) {
        *part = referred(document, reference).clone();
    }
    each_member(part, |_, member| resolve(member, document));
}

/// Finds the part that a reference names.
fn referred<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} refers to nothing"))
}

fn each_member(part: &mut Value, mut visit: impl FnMut(&str, &mut Value)) {
    match part {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, it)| visit(name, it)),
        Value::Array(items) => items.iter_mut().for_each(|it| visit("", it)),
        _ => {}
    }
}

/// Every value in the document but for examples, with its JSON pointer.
fn every_part(document: &Value) -> Vec<(String, &Value)> {
    let mut parts = Vec::new();
    let mut rest = vec![(String::new(), document)];
    while let Some((at, part)) = rest.pop() {
        let members: Vec<(String, &Value)> = match part {
            Value::Object(fields) => fields.iter().map(|(name, it)| (name.clone(), it)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(position, it)| (position.to_string(), it)).collect()
            }
            _ => Vec::new(),
        };
        for (name, member) in members.into_iter().filter(|(name, _)| !name.starts_with("example")) {
            rest.push((format!("{at}/{}", name.replace('/', "~1")), member));
        }
        parts.push((at, part));
    }
    parts
}

/// Method, path and operation of all there are.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn the_committed_files_are_what_the_code_says() {
    let document = Document::new();
    for (file, text) in [
        ("openapi.json", document.to_json()),
        ("openapi.yaml", document.to_yaml()),
        ("surety.http", document.to_http_collection()),
    ] {
        let path = format!("{}/openapi/{file}", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "openapi/{file} is stale: run 'cargo run -- openapi'");
    }
}

#[test]
fn every_operation_says_all_about_itself() {
    let document = resolved_document();
    let tags: HashSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let mut ids = HashSet::new();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect(&at);
        assert!(id.contains('_') && ids.insert(id.to_owned()), "{at}: {id}");
        for text in ["summary", "description"] {
            assert!(operation[text].as_str().is_some_and(|it| it.len() > 10), "{at}: {text}");
        }
        for tag in operation["tags"].as_array().expect(&at) {
            assert!(tags.contains(tag.as_str().unwrap()), "{at}: {tag}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            assert!(parameter["description"].is_string(), "{at}: {name}");
            assert!(!parameter["example"].is_null(), "{at}: {name}");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(!body["content"]["application/json"]["example"].is_null(), "{at}");
        }
        check_responses(&at, &operation["responses"]);
    }
    assert_eq!(ids.len(), 105);
    // Its media type is for scrapers.
    ids.insert("get_metrics".to_owned());
    assert_eq!(ids, openapi::routes_by_operation().into_keys().collect());
}

fn check_responses(at: &str, responses: &Value) {
    assert!(!responses["500"].is_null(), "{at}");
    for (status, response) in responses.as_object().unwrap() {
        let at = format!("{at} {status}");
        assert!(response["description"].as_str().is_some_and(|it| !it.is_empty()), "{at}");
        assert!(!response["headers"]["X-Request-Id"].is_null(), "{at}");
        if status == "204" {
            assert!(response["content"].is_null(), "{at}");
            continue;
        }
        let content = response["content"].as_object().expect(&at);
        let is_refusal = status.as_str() >= "400";
        let [media_type] = content.keys().collect::<Vec<_>>()[..] else { panic!("{at}") };
        assert_eq!(media_type == "application/problem+json", is_refusal, "{at}");
        let examples = &content[media_type][if is_refusal { "examples" } else { "example" }];
        let is_text = media_type != "application/json" && examples.is_string();
        assert!(is_text || examples.as_object().is_some_and(|it| !it.is_empty()), "{at}");
        for (code, example) in examples.as_object().into_iter().flatten().filter(|_| is_refusal) {
            assert_eq!(example["value"]["code"], code.as_str(), "{at}");
            assert_eq!(example["value"]["status"].to_string(), *status, "{at}");
        }
        if status == "503" {
            assert!(!response["headers"]["Retry-After"].is_null(), "{at}");
        }
    }
}

#[test]
fn what_needs_the_database_may_be_unavailable() {
    let document = resolved_document();
    for (method, path, operation) in operations(&document) {
        // The catalogue of events is that of this binary.
        let is_catalogue = path == "/v1/webhook-event-types";
        let needs_database = path.starts_with("/v1/") && !is_catalogue || path == "/readyz";
        let says_so = !operation["responses"]["503"].is_null();
        assert_eq!(says_so, needs_database, "{method} {path}");
    }
}

#[test]
fn amounts_are_never_floats_in_answers() {
    let schemas = &document()["components"]["schemas"];
    for (schema, field, name) in [
        ("Transaction", "amount", "Amount"),
        ("Order", "amount", "Amount"),
        ("Wallet", "balance", "SignedAmount"),
        ("Entry", "amount", "SignedAmount"),
    ] {
        let reference = &schemas[schema]["properties"][field]["allOf"][0]["$ref"];
        assert_eq!(reference, &format!("#/components/schemas/{name}"), "{schema}.{field}");
        assert_eq!(schemas[name]["type"], "string");
        assert!(schemas[name]["pattern"].as_str().unwrap().starts_with('^'));
    }
}

/// Floats that are no multiple of 0.0001 would fail a check for it though the amount is valid.
#[test]
fn no_number_has_to_be_a_multiple() {
    assert!(every_part(&document()).iter().all(|(at, _)| !at.ends_with("/multipleOf")));
}

#[test]
fn every_text_of_a_body_says_its_bounds() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let reference = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let Some(reference) = reference.as_str() else { continue };
        for (field, schema) in referred(&document, reference)["properties"].as_object().unwrap() {
            let reference = schema["allOf"][0]["$ref"].as_str().or(schema["$ref"].as_str());
            let schema = reference.map_or(schema, |reference| referred(&document, reference));
            let is_bound = ["enum", "format", "oneOf"].iter().any(|key| !schema[key].is_null());
            if schema["type"] != "string" || is_bound {
                continue;
            }
            let is_currency = reference.is_some_and(|it| it.ends_with("/Currency"));
            let keys: &[&str] = if is_currency { &[] } else { &["minLength", "maxLength"] };
            for key in keys.iter().chain(&["pattern"]) {
                assert!(!schema[key].is_null(), "{method} {path}: {field} has no {key}");
            }
        }
    }
}

#[test]
fn an_enumeration_that_may_be_null_names_null_and_unsigned_numbers_have_a_minimum() {
    for (at, part) in every_part(&document()) {
        if part["nullable"] == true
            && let Some(choices) = part["enum"].as_array()
        {
            assert!(choices.contains(&Value::Null), "{at}");
        }
        if part["format"].as_str().is_some_and(|format| format.starts_with("uint")) {
            assert!(part["minimum"].is_number(), "{at}");
        }
    }
}

#[test]
fn the_server_is_the_one_that_gives_the_document() {
    assert_eq!(document()["servers"], serde_json::json!([{ "url": "/" }]));
}

#[test]
fn references_lose_nothing() {
    fn without_schemas(part: &mut Value) {
        if let Some(fields) = part.as_object_mut() {
            fields.remove("schema");
        }
        each_member(part, |_, member| without_schemas(member));
    }
    let (mut resolved, mut described) =
        (resolved_document()["paths"].take(), Document::new().described()["paths"].clone());
    described.as_object_mut().unwrap().remove("/metrics").unwrap();
    without_schemas(&mut resolved);
    without_schemas(&mut described);
    assert_eq!(resolved, described);
}

#[test]
fn what_recurs_is_said_once() {
    let document = document();
    for (at, part) in every_part(&document) {
        let parts: Vec<&str> = at.split('/').collect();
        // /paths/{path}/{method}/responses/{status}
        if let ["", "paths", _, _, "responses", status] = parts[..] {
            let is_refusal = status >= "400";
            assert_eq!(part["$ref"].is_string(), is_refusal, "{at}");
        }
    }
    for (section, parent) in [("parameters", "parameters"), ("headers", "headers")] {
        let inline = |(at, part): &(String, &Value)| {
            let parents: Vec<&str> = at.split('/').collect();
            let is_there = parents.len() > 3 && parents[parents.len() - 2] == parent;
            is_there && !at.starts_with("/components") && part["$ref"].is_null()
        };
        let mut seen = HashSet::new();
        for (at, part) in every_part(&document).into_iter().filter(inline) {
            assert!(seen.insert(part.to_string()), "{at} is there twice: it can be of {section}");
        }
    }
}

#[test]
fn every_component_is_used_and_every_reference_refers_to_one() {
    let document = document();
    let references: HashSet<&str> =
        every_part(&document).iter().filter_map(|(_, part)| part["$ref"].as_str()).collect();
    for reference in &references {
        referred(&document, reference);
    }
    for (section, members) in document["components"].as_object().unwrap() {
        for name in members.as_object().unwrap().keys().filter(|_| section != "securitySchemes") {
            let reference = format!("#/components/{section}/{name}");
            assert!(references.contains(&*reference), "{reference} is not used");
        }
    }
}

/// Generators make types of components in all sections, of constrained or structured fields
/// (`Wallet.balance`: `WalletBalance`), and of operations.
#[test]
fn no_two_types_of_a_generated_client_share_a_name() {
    let document = document();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = |words: &[&str], place: String| {
        places.entry(pascal(&words.join("-"))).or_default().push(place);
    };
    for (section, members) in document["components"].as_object().unwrap() {
        for component in members.as_object().unwrap().keys() {
            name(&[component], format!("{section}/{component}"));
        }
    }
    for (schema, says) in document["components"]["schemas"].as_object().unwrap() {
        for (field, says) in says["properties"].as_object().into_iter().flatten() {
            if is_a_type_of_its_own(says) || is_a_type_of_its_own(&says["items"]) {
                name(&[schema, field], format!("{schema}.{field}"));
            }
        }
    }
    for (_, _, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        for suffix in ["", "data", "error", "errors", "response", "responses", "body"] {
            name(&[id, suffix], format!("{id} {suffix}"));
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

/// True for a schema that generators give a name after the place where it stands.
fn is_a_type_of_its_own(schema: &Value) -> bool {
    ["pattern", "minLength", "maxLength", "enum", "oneOf", "anyOf", "properties"]
        .iter()
        .any(|constraint| !schema[constraint].is_null())
}

/// Each such text has a name, which is the same wherever it stands; but for what may be null, which
/// is written out.
#[test]
fn no_constrained_text_stands_where_it_is_used() {
    let document = document();
    for (at, part) in every_part(&document) {
        let is_component = at.matches('/').count() == 3 && at.starts_with("/components/schemas/");
        let is_schema = part["type"] == "string" || part["oneOf"].is_array();
        let may_be_null = part["nullable"] == true;
        let is_constrained = is_schema && is_a_type_of_its_own(part) && !may_be_null;
        assert!(!is_constrained || is_component, "{at}: add it to openapi/scalars.rs, {part}");
    }
}

fn pascal(name: &str) -> String {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric());
    let capitalised = words.filter(|word| !word.is_empty()).map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    capitalised.collect()
}

#[tokio::test]
async fn the_document_is_served_in_all_its_forms() {
    let api = TestApi::start().await;
    let document = Document::new();

    assert_eq!(api.get("/openapi.json").await.text, document.to_json());
    assert_eq!(api.get("/openapi.yaml").await.text, document.to_yaml());
    for path in ["/docs", "/redoc"] {
        let page = api.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        // The finished document is in the page, not the raw one, and nothing is fetched from
        // elsewhere.
        assert!(page.text.contains("\"missing-fields\":{\"summary\""), "{path}");
        assert!(!page.text.contains("fonts.googleapis.com"), "{path}");
    }
}

#[tokio::test]
async fn what_the_document_promises_is_there() {
    let api = TestApi::start().await;
    for (method, path, operation) in operations(Document::new().described()) {
        let path = path.replace("{transaction_id}", "txn_1001");
        let segment = |segment: &str| match segment.starts_with('{') {
            true => uuid::Uuid::now_v7().to_string(),
            false => segment.to_owned(),
        };
        let path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
        let answer = crate::support::send(api.request(&method.to_uppercase(), &path)).await;
        let status = answer.status.to_string();
        assert!(!operation["responses"][&status].is_null(), "{method} {path} answered {status}");
    }
}
