//! The committed collection of requests: sent from top to bottom, each is answered as documented.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use surety::bank::BankArgs;
use surety::bank::simulator::{Simulator, SimulatorArgs};
use surety::http::api::openapi::Document;
use surety::identity::Role;
use surety::jobs::Bank;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::money::TestWorker;
use crate::support::{Answer, Person, TestApi, send};

/// A request as the file has it.
struct Request {
    name: String,
    method: String,
    /// With the base URL.
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// The variables at the top, and the requests.
fn parse(file: &str) -> (HashMap<String, String>, Vec<Request>) {
    let mut parts = file.split("\n### ");
    let head = parts.next().unwrap();
    let variables = head.lines().filter_map(|line| line.strip_prefix('@')?.split_once(" = "));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    (variables, parts.map(parse_request).collect())
}

fn parse_request(part: &str) -> Request {
    let (top, body) = part.split_once("\n\n").unwrap_or((part, ""));
    let mut lines = top.lines().skip(1);
    let name = lines.next().unwrap().strip_prefix("# @name ").unwrap().to_owned();
    let (method, url) = lines.next().unwrap().split_once(' ').unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Request { name, method: method.to_owned(), url: url.to_owned(), headers, body: body.to_owned() }
}

/// Puts values where `{{ }}` are: variables, `$guid`, and parts of earlier answers.
fn fill(
    text: &str,
    variables: &HashMap<String, String>,
    answers: &HashMap<String, Value>,
) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (expression, after) = after.split_once("}}").unwrap();
        filled.push_str(before);
        filled.push_str(&match expression.split_once(".response.body.$.") {
            Some((name, path)) => {
                let pointer = path.replace(['.', '['], "/").replace(']', "");
                let value = answers[name].pointer(&format!("/{pointer}"));
                match value {
                    Some(Value::String(text)) => text.clone(),
                    Some(number @ Value::Number(_)) => number.to_string(),
                    _ => panic!("{expression}"),
                }
            }
            None if expression == "$guid" => Uuid::new_v4().to_string(),
            None => variables[expression].clone(),
        });
        rest = after;
    }
    filled + rest
}

/// The operation that this request is for, and its successes.
fn documented(document: &Value, request: &Request) -> (String, Vec<u16>) {
    let path = request.url.strip_prefix("{{base_url}}").unwrap().split('?').next().unwrap();
    let fits = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) =
            (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(&path).all(|(one, other)| one.starts_with('{') || one == other)
    };
    let mut found = document["paths"].as_object().unwrap().iter().filter(|(it, _)| fits(it));
    let operations = found.next().unwrap().1;
    let operation = &operations[request.method.to_lowercase()];
    let statuses = operation["responses"].as_object().unwrap().keys();
    let successes = statuses.filter(|it| it.starts_with('2')).map(|it| it.parse().unwrap());
    (operation["operationId"].as_str().unwrap().to_owned(), successes.collect())
}

async fn until_no_order_is_open(api: &TestApi) {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let open = "select count(*) from payments.orders where status in ('PENDING', 'PROCESSING')";
    while api.count(open).await > 0 {
        assert!(std::time::Instant::now() < deadline, "an order is never finished");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn sent(
    api: &TestApi,
    request: &Request,
    variables: &HashMap<String, String>,
    answers: &HashMap<String, Value>,
) -> Answer {
    let url = fill(&request.url, variables, answers);
    let path = url.strip_prefix(&variables["base_url"]).unwrap();
    let mut sending = api.request(&request.method, path);
    for (name, value) in &request.headers {
        sending = sending.header(name, fill(value, variables, answers));
    }
    if !request.body.is_empty() {
        sending = sending.body(fill(&request.body, variables, answers));
    }
    send(sending).await
}

#[tokio::test]
async fn the_collection_runs_from_top_to_bottom_and_knows_every_operation() {
    let file = format!("{}/openapi/surety.http", env!("CARGO_MANIFEST_DIR"));
    let (mut variables, requests) = parse(&std::fs::read_to_string(file).unwrap());
    let document = Document::new().described().clone();
    let api = TestApi::start().await;
    let admin = Person::new(&api, Role::Admin).await;
    variables.insert("admin_token".to_owned(), admin.token.clone());

    let behaviour =
        serde_json::from_value(json!({ "latency": "0s", "success_rate": 1.0 })).unwrap();
    let args = SimulatorArgs { behaviour, ..SimulatorArgs::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let simulator = Simulator::start(listener, &args, stop.clone()).unwrap();
    let bank_url = Some(format!("http://{}", simulator.address));
    let bank = Bank::new(&BankArgs { bank_url, ..BankArgs::default() }).unwrap();
    let worker = TestWorker::start(&api.pool, bank);

    let (mut answers, mut seen) = (HashMap::new(), HashSet::new());
    for request in &requests {
        let (operation, mut successes) = documented(&document, request);
        let about_none = [
            "get_failure",
            "get_operation",
            "cancel_operation",
            "prove_transaction",
            "receive_provider_event",
        ];
        let finds_nothing = operation.ends_with("_dead_letter") || operation.ends_with("_conflict");
        if finds_nothing || about_none.contains(&operation.as_str()) {
            // There is none, nothing is sealed, and no source is configured.
            successes = vec![404];
        }
        let is_about_nothing = ["_schedule", "get_worker", "drain_worker", "unblock_queue_key"];
        if is_about_nothing.iter().any(|it| operation.ends_with(it)) {
            successes = vec![404];
        }
        if operation == "retry_delivery" {
            // Nobody has answered it yet.
            successes = vec![202, 409];
        }
        let answer = sent(&api, request, &variables, &answers).await;
        assert!(successes.contains(&answer.status), "{}: {answer:?}", request.name);
        if answer.header("content-type") == "application/json" {
            let earlier = answers.insert(request.name.clone(), answer.json());
            assert!(earlier.is_none(), "two requests are called {}", request.name);
        }
        seen.insert(operation);
        until_no_order_is_open(&api).await;
    }

    let paths = document["paths"].as_object().unwrap().values();
    for operation in paths.flat_map(|methods| methods.as_object().unwrap().values()) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(seen.contains(id), "{id} is not in the collection: add it to STEPS");
    }
    let failed = "select count(*) from payments.orders where status = 'FAILED'";
    assert_eq!(api.count(failed).await, 0);
    assert_eq!(api.count("select count(*) from payments.orders").await, 4);
    worker.stop().await;
    stop.cancel();
}
