//! Moves what recurs in the document to `components`: headers, parameters and refusals, each said
//! once and referred to.
//!
//! Success responses stay where they are: they differ by operation, and a reader of an operation
//! wants to see them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{names, scalars};
use crate::http::wire::problem::{Code, MEDIA_TYPE};

/// A part of the document that may become a component.
struct Part<'a> {
    name: String,
    value: &'a mut Value,
}

/// Shares all that can be shared.
pub(super) fn share(document: &mut Value) {
    scalars::share(document);
    let schemas = document["components"]["schemas"].clone();
    spell_out_nullable(document, &schemas);
    leave_out_unused(document);
    // Headers before the responses that hold them.
    let headers = referred_to("headers", headers(document), 2);
    let parameters = referred_to("parameters", parameters(document), 2);
    let responses = referred_to("responses", refusals(document), 1);
    let components = document["components"].as_object_mut().expect("there are components");
    for (section, members) in
        [("headers", headers), ("parameters", parameters), ("responses", responses)]
    {
        components.insert(section.to_owned(), Value::Object(members));
    }
    for members in components.values_mut().filter_map(Value::as_object_mut) {
        members.sort_keys();
    }
    components.sort_keys();
}

/// Removes the schemas that nothing refers to.
fn leave_out_unused(document: &mut Value) {
    let text = document.to_string();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
    }
}

/// Writes out each schema that may be null and else is another one: OpenAPI 3.0 knows `nullable`
/// beside a `type` only, and a reference that is one of all conditions refuses null.
fn spell_out_nullable(value: &mut Value, schemas: &Value) {
    if let Value::Object(schema) = &mut *value
        && schema.contains_key("nullable")
        && !schema.contains_key("type")
    {
        let all_of = schema.remove("allOf");
        let reference = all_of.as_ref().and_then(|all_of| all_of[0]["$ref"].as_str());
        let name = reference.and_then(|it| it.strip_prefix("#/components/schemas/"));
        match name.and_then(|name| schemas[name].as_object()) {
            Some(meant) => write_out(schema, meant),
            // Whatever has no type may be null anyway.
            None => _ = schema.remove("nullable"),
        }
    }
    // An enumeration refuses what it does not name.
    if value["nullable"] == true
        && let Some(choices) = value.get_mut("enum").and_then(Value::as_array_mut)
        && !choices.contains(&Value::Null)
    {
        choices.push(Value::Null);
    }
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(|member| spell_out_nullable(member, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| spell_out_nullable(item, schemas)),
        _ => {}
    }
}

/// Adds what another schema says. A text has both descriptions: its own says what it is here, the
/// other which texts there are.
fn write_out(schema: &mut Map<String, Value>, meant: &Map<String, Value>) {
    if let (Some(Value::String(own)), "string", Some(of_all)) = (
        schema.get_mut("description"),
        meant["type"].as_str().unwrap_or_default(),
        meant.get("description").and_then(Value::as_str),
    ) {
        *own = format!("{own} {of_all}");
    }
    for (key, part) in meant {
        schema.entry(key.clone()).or_insert_with(|| part.clone());
    }
}

/// Puts a reference in the place of each part that the document has at least `least` times, and
/// gives the parts by name. A part whose name stands for another one stays.
fn referred_to(section: &str, parts: Vec<Part<'_>>, least: usize) -> Map<String, Value> {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for part in &parts {
        *uses.entry(part.value.to_string()).or_default() += 1;
    }
    let mut members = Map::new();
    for Part { name, value } in parts {
        if uses[&value.to_string()] < least {
            continue;
        }
        if members.get(&name).is_none_or(|other| other == value) {
            let reference = json!({ "$ref": format!("#/components/{section}/{name}") });
            members.insert(name, std::mem::replace(value, reference));
        }
    }
    members
}

fn headers(document: &mut Value) -> Vec<Part<'_>> {
    let responses = operations(document).flat_map(|operation| members(operation, "responses"));
    let headers = responses.flat_map(|(_, response)| members(response, "headers"));
    headers.map(|(name, value)| Part { name: name.clone(), value }).collect()
}

fn parameters(document: &mut Value) -> Vec<Part<'_>> {
    let lists = operations(document).filter_map(|it| it.get_mut("parameters")?.as_array_mut());
    let parameters = lists.flatten().map(|value| {
        let text = |field: &str| value[field].as_str().unwrap_or_default();
        Part { name: names::of_parameter(text("name"), text("in")), value }
    });
    parameters.collect()
}

fn refusals(document: &mut Value) -> Vec<Part<'_>> {
    let mut refusals = Vec::new();
    for operation in operations(document) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        for (status, value) in members(operation, "responses") {
            let examples = &value["content"][MEDIA_TYPE]["examples"];
            let is_named = |code: &Code| !examples[code.as_str()].is_null();
            let codes: Vec<Code> = Code::ALL.iter().copied().filter(is_named).collect();
            if codes.is_empty() {
                continue;
            }
            let is_limited = !value["headers"]["RateLimit"].is_null();
            let name = names::of_refusal(&codes, is_limited);
            let name = name.unwrap_or_else(|| names::of_answer(&id, status));
            refusals.push(Part { name, value });
        }
    }
    refusals
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let methods = members(document, "paths").filter_map(|(_, methods)| methods.as_object_mut());
    methods.flat_map(|methods| methods.values_mut())
}

/// The members of a field that is an object; none when there is no such field.
fn members<'a>(
    value: &'a mut Value,
    field: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Value)> + use<'a> {
    value.get_mut(field).and_then(Value::as_object_mut).into_iter().flatten()
}
