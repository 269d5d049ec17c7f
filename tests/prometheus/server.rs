//! A Prometheus of one's own.

use std::net::TcpListener;

use serde_json::Value;
use surety_postgres::testing::{Process, ScratchDir, scratch_dir};

/// A server on a free port of this machine, which scrapes every second. It ends with this value.
pub(crate) struct Prometheus {
    url: String,
    _process: Process,
    _dir: ScratchDir,
}

impl Prometheus {
    /// A server that scrapes these addresses, with our alerts.
    pub(crate) async fn start(scraped: &[String]) -> Self {
        let dir = scratch_dir();
        let targets = serde_json::to_string(scraped).unwrap();
        let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yaml");
        let config = dir.join("prometheus.yaml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{alerts}']\n\
             scrape_configs:\n  - job_name: app\n    static_configs: [{{targets: {targets}}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let mut process = Process::command_of("prometheus", arguments).spawn();
        process.wait_for_line("Server is ready to receive web requests").await;
        Self { url: format!("http://127.0.0.1:{port}/api/v1"), _process: process, _dir: dir }
    }

    /// The series that an expression gives now.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let asked = reqwest::Client::new()
            .get(format!("{}/query", self.url))
            .query(&[("query", expression)])
            .send();
        let answer: Value = asked.await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap().clone();
        // A quotient of nothing is there, and is no number.
        series.into_iter().filter(|it| it["value"][1] != "NaN").collect()
    }

    /// The rules as they were last evaluated.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let groups = self.get("rules").await["data"]["groups"].take();
        let groups = groups.as_array().unwrap().iter();
        groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// What is scraped.
    pub(crate) async fn targets(&self) -> Vec<Value> {
        self.get("targets").await["data"]["activeTargets"].as_array().unwrap().clone()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}/{path}", self.url)).await.unwrap();
        answer.json().await.unwrap()
    }
}
