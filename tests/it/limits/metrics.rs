//! `GET /metrics`.

use std::collections::{HashMap, HashSet};

use surety::http::edge::metrics::{Metrics, Reading};

use super::{api_with, post, sum_of};
use crate::support::{TestApi, event};

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads a scrape by the grammar of OpenMetrics: families with their type before their samples,
/// names and labels of the allowed characters, numbers, an end.
fn parse(text: &str) -> (HashMap<String, String>, Vec<Sample>) {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
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

    assert_eq!(answer.header("content-type"), surety::http::edge::metrics::MEDIA_TYPE);
    let (kinds, samples) = parse(&answer.text);
    let is = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let value = value(&samples, name, labels);
        assert!((value - expected).abs() < 0.1, "{name} {labels:?}: {value}, not {expected}");
    };
    let receive = ("operation", "receive_transaction");
    is("surety_http_requests_total", &[receive, ("status", "2xx")], 2.0);
    is("surety_http_requests_total", &[receive, ("status", "4xx")], 1.0);
    is("surety_http_requests_total", &[("operation", "other"), ("status", "4xx")], 1.0);
    is("surety_http_request_duration_seconds_count", &[receive], 3.0);
    is("surety_http_request_duration_seconds_bucket", &[receive, ("le", "+Inf")], 3.0);
    is("surety_inbound_webhooks_total", &[("outcome", "accepted")], 1.0);
    is("surety_inbound_webhooks_total", &[("outcome", "duplicate")], 1.0);
    is("surety_inbound_webhooks_total", &[("outcome", "rejected")], 1.0);
    let class = ("class", "inbound-webhooks");
    is("surety_rate_limit_decisions_total", &[class, ("decision", "passed")], 2.0);
    is("surety_rate_limit_decisions_total", &[class, ("decision", "refused")], 1.0);
    is("surety_rate_limit_leases_total", &[class], 2.0);
    is("surety_database_connections", &[("state", "in_use")], 0.0);
    assert_eq!(kinds["surety_http_request_duration_seconds"], "histogram");
}

#[tokio::test]
async fn the_buckets_of_a_histogram_only_grow_and_end_at_its_count() {
    let api = TestApi::start().await;
    for _ in 0..20 {
        api.get("/").await;
    }
    let (_, samples) = parse(&api.get("/metrics").await.text);
    let of_root = |sample: &&Sample| {
        sample.labels.contains(&("operation".to_owned(), "get_status".to_owned()))
    };
    let buckets: Vec<f64> = samples
        .iter()
        .filter(of_root)
        .filter(|it| it.name.ends_with("_bucket"))
        .map(|it| it.value)
        .collect();
    assert!(buckets.is_sorted() && buckets.len() > 10, "{buckets:?}");
    assert!((buckets[buckets.len() - 1] - 20.0).abs() < 0.1);
    let labels = [("operation", "get_status")];
    assert!(value(&samples, "surety_http_request_duration_seconds_sum", &labels) > 0.0);
}

#[tokio::test]
async fn no_figure_is_told_apart_by_an_id() {
    let api = TestApi::start().await;
    let before = parse(&api.get("/metrics").await.text).1.len();
    for n in 0..50 {
        api.post(event(&format!("txn_{n}"))).await;
        api.get(&format!("/v1/transactions/txn_{n}")).await;
        api.get(&format!("/unknown/{n}")).await;
    }
    let scrape = api.get("/metrics").await.text;
    assert_eq!(parse(&scrape).1.len(), before, "each request has made a figure of its own");
    assert!(!scrape.contains("txn_"));
}

#[tokio::test]
async fn the_scrape_is_not_limited() {
    let api = api_with("1/d").await;
    for _ in 0..30 {
        assert_eq!(api.get("/metrics").await.status, 200);
    }
}

#[tokio::test]
async fn others_add_gauges_that_are_read_at_the_scrape() {
    let metrics = Metrics::new();
    metrics.gauges_at_scrape("bank_breaker_open", "Whether the bank is left alone.", || async {
        vec![Reading::plain(1.0)]
    });
    metrics.gauges_at_scrape("queue_depth", "Jobs that wait.", || async {
        vec![Reading::of("queue", "default", 7.0), Reading::of("queue", "sl\"ow", 0.5)]
    });
    metrics.gauges_at_scrape("never", "What does not answer.", std::future::pending);

    let scrape = metrics.scrape().await;

    let (kinds, samples) = parse(&scrape);
    assert_eq!(kinds["surety_bank_breaker_open"], "gauge");
    assert!((value(&samples, "surety_bank_breaker_open", &[]) - 1.0).abs() < 0.1);
    assert!((value(&samples, "surety_queue_depth", &[("queue", "default")]) - 7.0).abs() < 0.1);
    assert!((sum_of(&scrape, "surety_queue_depth") - 7.5).abs() < 0.1);
    assert!(scrape.contains("queue=\"sl\\\"ow\""), "{scrape}");
    assert!(!scrape.contains("never"), "what is not known is not shown");
}
