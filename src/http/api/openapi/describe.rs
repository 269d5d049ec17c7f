//! Adds to the document what poem-openapi cannot say, and takes out what says nothing.

use serde_json::{Value, json};

use super::examples::{self, Exchange};
use crate::http::edge::rate_limits;
use crate::http::wire::problem::{Code, MEDIA_TYPE};

/// Completes the document that poem-openapi wrote.
pub(super) fn complete(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut().expect("there are schemas");
    for (name, schema) in schemas.iter_mut() {
        tidy(name, schema);
    }
    for name in names_of_bodies(document) {
        // Bodies are read strictly (crate::http::wire::json_body).
        let schema = &mut document["components"]["schemas"][name];
        schema["additionalProperties"] = Value::Bool(false);
        allow_null(schema);
    }
    let paths = document["paths"].as_object_mut().expect("a document has paths");
    for operation in paths.values_mut().flat_map(operations) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        explode_parameters(operation);
        parameters(operation).for_each(drop_defaults);
        add_examples(operation, &id);
        let responses = operation["responses"].as_object_mut().expect("operations have responses");
        let is_limited = responses.contains_key("429");
        for response in responses.values_mut() {
            tidy_headers(response);
            add_problem_examples(response);
            add_request_id(response);
            if is_limited {
                add_rate_limit(response);
            }
        }
    }
    count_from_zero(document);
}

/// Says of each number without a sign that it has none: to most readers its format says nothing.
fn count_from_zero(part: &mut Value) {
    let is_unsigned = part["format"].as_str().is_some_and(|format| format.starts_with("uint"));
    match part {
        Value::Object(members) => {
            if is_unsigned && !members.contains_key("minimum") {
                members.insert("minimum".to_owned(), json!(0));
            }
            members.values_mut().for_each(count_from_zero);
        }
        Value::Array(items) => items.iter_mut().for_each(count_from_zero),
        _ => {}
    }
}

/// Of a field that may be absent, null is as good as absent (crate::http::wire::field_types).
fn allow_null(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object_mut().into_iter().flatten();
    for (_, field) in properties.filter(|(name, _)| !required.contains(&json!(name))) {
        // Nothing counts beside a reference.
        if let Some(reference) = field.get("$ref").cloned() {
            *field = json!({ "allOf": [{ "$ref": reference }] });
        }
        field["nullable"] = Value::Bool(true);
    }
}

/// The groups in the order of their first operations, so that the way in comes first; poem-openapi
/// has them by name.
pub(super) fn order_groups(document: &mut Value) {
    let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = paths.flat_map(|path| path.as_object().into_iter().flat_map(|it| it.values()));
    let groups: Vec<Value> = operations.filter_map(|it| it["tags"].get(0).cloned()).collect();
    let place = |group: &Value| groups.iter().position(|other| *other == group["name"]);
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.sort_by_key(|group| place(group).unwrap_or(usize::MAX));
    }
}

/// A field that may be null is there all the same; a field that is a reference with a description
/// of its own needs no second copy of it; a title repeats the name.
fn tidy(name: &str, schema: &mut Value) {
    let fields = schema.as_object_mut().expect("a schema is an object");
    if fields.get("title").is_some_and(|title| title == name) {
        fields.shift_remove("title");
    }
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

/// Removes from a parameter or a header what holds anyway. `explode` is about arrays and objects,
/// and there are none.
fn drop_defaults(part: &mut Value) {
    let fields = part.as_object_mut().expect("parameters and headers are objects");
    for (name, default) in [("required", false), ("deprecated", false), ("explode", true)] {
        if fields.get(name) == Some(&Value::Bool(default)) {
            fields.shift_remove(name);
        }
    }
}

/// poem-openapi writes the names of headers in capitals.
fn tidy_headers(response: &mut Value) {
    let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, mut header) in std::mem::take(headers) {
        drop_defaults(&mut header);
        headers.insert(usual_case(&name), header);
    }
}

/// `CACHE-CONTROL` is `Cache-Control`; what is not all in capitals stays.
fn usual_case(name: &str) -> String {
    if name == "ETAG" {
        return "ETag".to_owned();
    }
    if name.chars().any(|char| char.is_ascii_lowercase()) {
        return name.to_owned();
    }
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_owned() + &rest.to_ascii_lowercase()
    });
    words.collect::<Vec<_>>().join("-")
}

fn parameters(operation: &mut Value) -> impl Iterator<Item = &mut Value> {
    operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten()
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

/// Adds examples of the body, of the success and of each parameter.
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
    for parameter in parameters(operation) {
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some(example) = examples::of_parameter(id, name) {
            parameter["example"] = example;
        }
    }
}
