//! Dashboards and alerts, asked of a real Prometheus that scrapes a running system: every panel has
//! data, and every alert can be evaluated.
//!
//! A test target of its own, because it needs Prometheus, which nothing else does:
//! `cargo test --test prometheus`.

// A test that unwraps wrongly fails, which is what it is for.
#![allow(clippy::unwrap_used)]

#[path = "../it/support/mod.rs"]
mod support;

mod server;
mod system;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use self::server::Prometheus;
use self::system::System;

/// The time for figures to come: rates need some scrapes.
const DATA_WITHIN: Duration = Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The queries of the panels that ask Prometheus, each with where it is.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for name in ["overview", "queue", "money", "postgres", "traces"] {
        let file = root().join(format!("deploy/grafana/{name}.json"));
        let board: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let Some(query) = target["expr"].as_str() else { continue };
                let query = query.replace("$__rate_interval", "15s");
                queries.push((format!("{name}: {title}"), query));
            }
        }
    }
    assert!(queries.len() > 60, "the panels were not found");
    queries
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_has_data_and_every_alert_can_be_evaluated() {
    let system = System::start().await;
    let prometheus = Prometheus::start(&system.scraped()).await;

    let mut missing = queries();
    let looking = async {
        while !missing.is_empty() {
            system.be_used().await;
            let mut still_missing = Vec::new();
            for (panel, query) in std::mem::take(&mut missing) {
                if prometheus.query(&query).await.is_empty() {
                    still_missing.push((panel, query));
                }
            }
            missing = still_missing;
        }
    };
    let _all_or_late = tokio::time::timeout(DATA_WITHIN, looking).await;
    assert!(missing.is_empty(), "panels without data: {missing:#?}");

    let rules = prometheus.rules().await;
    assert!(rules.len() > 20, "{rules:?}");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
    // A system at work is no emergency.
    let firing: Vec<&Value> = rules.iter().filter(|rule| rule["state"] == "firing").collect();
    let pages = firing.iter().filter(|rule| rule["labels"]["severity"] == "page");
    assert_eq!(pages.count(), 0, "{firing:#?}");
    let targets = prometheus.targets().await;
    assert!(targets.iter().all(|target| target["health"] == "up"), "{targets:#?}");
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    for arguments in [
        ["check", "rules", "deploy/prometheus/alerts.yaml"],
        ["test", "rules", "deploy/prometheus/alerts.test.yaml"],
    ] {
        let ran = Command::new("promtool").args(arguments).current_dir(root()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        let complained = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}:\n{said}\n{complained}");
    }
}
