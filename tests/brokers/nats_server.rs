//! A NATS server of one's own, with JetStream.

use std::net::TcpListener;

use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt as _;
use surety_postgres::testing::{Process, ScratchDir, scratch_dir};

use super::told::Told;

/// A server on a free port of this machine. It ends with this value.
pub(crate) struct NatsServer {
    port: u16,
    process: Process,
    dir: ScratchDir,
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        let dir = scratch_dir();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = run(port, &dir).await;
        Self { port, process, dir }
    }

    /// The URL, with a user and a password.
    pub(crate) fn url(&self) -> String {
        format!("nats://surety:hunter2@127.0.0.1:{}", self.port)
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = run(self.port, &self.dir).await;
    }

    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        let options = async_nats::ConnectOptions::new()
            .user_and_password("surety".to_owned(), "hunter2".to_owned());
        let server = format!("nats://127.0.0.1:{}", self.port);
        jetstream::new(options.connect(server).await.unwrap())
    }

    /// All messages of the stream, in its order.
    pub(crate) async fn told(&self, stream: &str) -> Vec<Told> {
        let mut stream = self.jetstream().await.get_stream(stream).await.unwrap();
        let count = stream.info().await.unwrap().state.messages as usize;
        let config = consumer::pull::OrderedConfig::default();
        let messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        let messages = messages.take(count).map(|message| {
            let message = message.unwrap();
            let headers = message.headers.as_ref().unwrap();
            let event: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            let id = headers.get("Nats-Msg-Id").unwrap().to_string();
            if id.starts_with("evt_") {
                let event_type = event["type"].as_str().unwrap();
                assert_eq!(message.subject.as_str(), format!("surety.events.{event_type}"));
                let media_type = headers.get("Content-Type").unwrap().as_str();
                assert_eq!(media_type, "application/cloudevents+json");
            }
            Told { id, event }
        });
        messages.collect().await
    }
}

async fn run(port: u16, dir: &ScratchDir) -> Process {
    let port = port.to_string();
    let store = dir.join("jetstream");
    let store = store.to_str().unwrap();
    let args = ["-a", "127.0.0.1", "-p", &port, "-js", "-sd", store];
    let args = args.into_iter().chain(["--user", "surety", "--pass", "hunter2"]);
    let mut process = Process::command_of("nats-server", args).spawn();
    process.wait_for_line("Server is ready").await;
    process
}
