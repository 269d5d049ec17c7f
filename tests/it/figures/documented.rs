//! `docs/metrics.md` lists every figure.

use std::fmt::Write as _;

use surety::metrics::Kind;
use surety::metrics::instruments::{ALL, Source};

/// The table, as it must stand in the document.
fn table() -> String {
    let mut table = "| name | kind | labels | of | meaning |\n|---|---|---|---|---|\n".to_owned();
    for instrument in ALL {
        let kind = match instrument.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let source = match instrument.source {
            Source::Process => "process",
            Source::Database => "system",
        };
        let labels: Vec<String> = instrument
            .labels
            .iter()
            .map(|label| format!("`{}`", label.replace('.', "_")))
            .collect();
        let _ = writeln!(
            table,
            "| `{}` | {kind} | {} | {source} | {} |",
            instrument.prometheus_name(),
            labels.join(", "),
            instrument.help
        );
    }
    table
}

#[test]
fn every_figure_is_in_the_document_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let table = table();
    assert!(document.contains(&table), "{path} should have this table:\n{table}");
}

fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_no_other_has_one() {
    let alerts: serde_yaml::Value =
        serde_yaml::from_str(&read("deploy/prometheus/alerts.yaml")).unwrap();
    let groups = alerts["groups"].as_sequence().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
    let mut names = Vec::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let link = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"].as_str(), Some(link.as_str()), "{name}");
        names.push(name.to_owned());
    }
    let runbook = read("docs/runbook.md");
    let sections: Vec<&str> = runbook.lines().filter_map(|it| it.strip_prefix("## ")).collect();
    assert_eq!(sections, names, "in one order");
    for section in runbook.split("\n## ").skip(1) {
        for part in ["**Means**", "**First look**", "**Mend**"] {
            assert!(section.contains(part), "{part} is missing in {section}");
        }
    }
}

#[test]
fn dashboards_and_alerts_ask_for_figures_that_there_are() {
    let known: Vec<String> = ALL.iter().map(|instrument| instrument.prometheus_name()).collect();
    let boards = ["overview", "queue", "money", "postgres", "traces"];
    let files = boards.map(|board| format!("deploy/grafana/{board}.json"));
    for file in files.iter().map(String::as_str).chain(["deploy/prometheus/alerts.yaml"]) {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = ["app_", "http_server_", "db_client_connection_", "process_"];
        let labels = ALL.iter().flat_map(|it| it.labels).map(|label| label.replace('.', "_"));
        let labels: Vec<String> = labels.collect();
        for word in words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))) {
            let suffixes = ["_bucket", "_sum", "_count", ""];
            let is_known = suffixes.iter().any(|suffix| {
                word.strip_suffix(suffix).is_some_and(|name| known.iter().any(|it| it == name))
            });
            assert!(is_known || labels.iter().any(|label| label == word), "{file}: {word}");
        }
    }
}
