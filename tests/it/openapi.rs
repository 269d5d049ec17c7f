//! The OpenAPI document: committed, complete, and served.

use std::collections::HashSet;

use serde_json::Value;
use surety::http::api::openapi::Document;

use crate::support::TestApi;

fn document() -> Value {
    serde_json::from_str(&Document::new().to_json()).unwrap()
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
    let document = document();
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
    assert_eq!(ids.len(), 38);
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
    let document = document();
    for (method, path, operation) in operations(&document) {
        let needs_database = path.starts_with("/v1/") || path == "/readyz";
        let says_so = !operation["responses"]["503"].is_null();
        assert_eq!(says_so, needs_database, "{method} {path}");
    }
}

#[test]
fn amounts_are_never_floats_in_answers() {
    let schemas = &document()["components"]["schemas"];
    let amount = &schemas["Transaction"]["properties"]["amount"];
    assert_eq!(amount["type"], "string");
    assert!(amount["pattern"].as_str().unwrap().starts_with('^'));
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
    for (method, path, operation) in operations(&document()) {
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
