//! `GET /metrics`: figures of requests, in the formats that Prometheus reads.

use std::collections::{HashMap, HashSet};

use surety::metrics::Format;

use super::{api_with, post};
use crate::support::{TestApi, event};

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads a scrape by the grammar of either format: families with their type before their samples,
/// names and labels of the allowed characters, numbers.
fn parse(text: &str) -> (HashMap<String, String>, Vec<Sample>) {
    let body = text.strip_suffix("# EOF\n").unwrap_or(text);
    let (mut kinds, mut samples) = (HashMap::new(), Vec::new());
    let mut described = HashSet::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(described.insert(name.to_owned()), "{name} is described twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(unit), "{line}");
        } else {
            let sample = sample(line);
            let suffixes = ["_total", "_bucket", "_sum", "_count", ""];
            let family = suffixes
                .iter()
                .find_map(|suffix| kinds.get_key_value(sample.name.strip_suffix(suffix)?));
            assert!(family.is_some(), "of no family: {line}");
            samples.push(sample);
        }
    }
    (kinds, samples)
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    assert!(is_name(name), "{line}");
    let labels = labels.split_terminator(',').map(|label| {
        let (key, quoted) = label.split_once('=').unwrap();
        assert!(is_name(key), "{line}");
        let value = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        (key.to_owned(), value.to_owned())
    });
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// The value of the only sample with this name and these labels.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted = |sample: &&Sample| {
        sample.name == name
            && labels.iter().all(|(key, value)| {
                sample.labels.contains(&((*key).to_owned(), (*value).to_owned()))
            })
    };
    let found: Vec<&Sample> = samples.iter().filter(wanted).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0].value
}

#[tokio::test]
async fn requests_webhooks_limits_and_connections_are_shown() {
    let api = api_with("2/d").await;
    post(&api).await;
    post(&api).await;
    post(&api).await;
    api.get("/nothing").await;

    let answer = api.get("/metrics").await;

    assert_eq!(answer.header("content-type"), Format::Text.media_type());
    let (kinds, samples) = parse(&answer.text);
    let is = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let value = value(&samples, name, labels);
        assert!((value - expected).abs() < 0.1, "{name} {labels:?}: {value}, not {expected}");
    };
    let status = |status| ("http_response_status_code", status);
    let receive = [("http_route", "/v1/webhooks/transactions"), ("http_request_method", "POST")];
    let count = "http_server_request_duration_seconds_count";
    is(count, &[receive[0], receive[1], status("202")], 2.0);
    is(count, &[receive[0], receive[1], status("429")], 1.0);
    is(count, &[("http_route", "_other"), status("404")], 1.0);
    let bucket = "http_server_request_duration_seconds_bucket";
    is(bucket, &[receive[0], status("202"), ("le", "+Inf")], 2.0);
    let events = "app_webhook_events_total";
    is(events, &[("source", "transactions"), ("outcome", "accepted")], 1.0);
    is(events, &[("source", "transactions"), ("outcome", "duplicate")], 1.0);
    is(events, &[("source", "transactions"), ("outcome", "refused")], 1.0);
    let class = ("class", "inbound-webhooks");
    is("app_rate_limit_decisions_total", &[class, ("decision", "passed")], 2.0);
    is("app_rate_limit_decisions_total", &[class, ("decision", "refused")], 1.0);
    is("app_rate_limit_leases_total", &[class], 2.0);
    is("db_client_connection_max", &[("db_client_connection_pool_name", "api")], 10.0);
    is("app_commit_requests_count", &[("work", "webhooks")], 2.0);
    is("http_server_active_requests", &[], 1.0);
    assert_eq!(kinds["http_server_request_duration_seconds"], "histogram");
    assert_eq!(kinds["app_webhook_events_total"], "counter");
}

#[tokio::test]
async fn a_scraper_that_prefers_open_metrics_gets_it() {
    let api = TestApi::start().await;
    api.get("/").await;
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.2";
    let answer = api.request("GET", "/metrics").header("accept", accept).send().await.unwrap();

    assert_eq!(answer.headers()["content-type"], Format::OpenMetrics.media_type());
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (kinds, samples) = parse(&text);
    assert_eq!(kinds["process_cpu_seconds"], "counter");
    assert!(value(&samples, "process_cpu_seconds_total", &[]) >= 0.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert!((value(&samples, "app_build_info", &version) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn the_buckets_of_a_histogram_only_grow_and_end_at_its_count() {
    let api = TestApi::start().await;
    for _ in 0..20 {
        api.get("/").await;
    }
    let (_, samples) = parse(&api.get("/metrics").await.text);
    let of_root =
        |sample: &&Sample| sample.labels.contains(&("http_route".to_owned(), "/".to_owned()));
    let buckets: Vec<f64> = samples
        .iter()
        .filter(of_root)
        .filter(|it| it.name.ends_with("_bucket"))
        .map(|it| it.value)
        .collect();
    assert!(buckets.is_sorted() && buckets.len() > 10, "{buckets:?}");
    assert!((buckets[buckets.len() - 1] - 20.0).abs() < 0.1);
    let labels = [("http_route", "/")];
    assert!(value(&samples, "http_server_request_duration_seconds_sum", &labels) > 0.0);
}

#[tokio::test]
async fn no_figure_is_told_apart_by_an_id() {
    let api = TestApi::start().await;
    let ask = async |n: u32| {
        api.post(event(&format!("txn_{n}"))).await;
        api.get(&format!("/v1/transactions/txn_{n}")).await;
        api.get(&format!("/unknown/{n}")).await;
    };
    ask(0).await;
    let of_requests = async || {
        let scrape = api.get("/metrics").await.text;
        assert!(!scrape.contains("txn_"), "{scrape}");
        let (_, samples) = parse(&scrape);
        samples.iter().filter(|it| it.name.starts_with("http_server_request")).count()
    };
    // The first scrape is not among the figures that it shows.
    of_requests().await;
    let before = of_requests().await;
    for n in 1..50 {
        ask(n).await;
    }
    assert_eq!(of_requests().await, before, "each request has made a figure of its own");
}

#[tokio::test]
async fn the_scrape_is_not_limited() {
    let api = api_with("1/d").await;
    for _ in 0..30 {
        assert_eq!(api.get("/metrics").await.status, 200);
    }
}
