//! A RabbitMQ of one's own.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;
use std::time::Duration;

use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use surety_postgres::testing::{Process, ScratchDir, Signal, is_root, scratch_dir};

use super::told::Told;

/// The program that stays in the foreground, as Debian's package installs it. The one on the path
/// would change the user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// The unprivileged user of every Debian.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// A broker on a free port of this machine, with an Erlang port mapper of its own. Both end with
/// this value.
pub(crate) struct RabbitMq {
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    process: Process,
    dir: ScratchDir,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RabbitMq {
    pub(crate) async fn start() -> Self {
        let dir = scratch_dir();
        std::fs::write(dir.join("enabled_plugins"), "[].\n").unwrap();
        std::fs::write(dir.join("rabbitmq.conf"), "").unwrap();
        if is_root() {
            chown(&*dir, Some(NOBODY.0), Some(NOBODY.1)).unwrap();
        }
        let [port, dist_port, epmd_port] = [(); 3].map(|()| free_port());
        let process = run(port, dist_port, epmd_port, &dir).await;
        Self { port, dist_port, epmd_port, process, dir }
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// `kill -9` of the broker.
    pub(crate) async fn kill(&mut self) {
        self.process.signal_group(Signal::Kill);
        self.process.wait_for_exit().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = run(self.port, self.dist_port, self.epmd_port, &self.dir).await;
    }

    async fn channel(&self) -> (Connection, Channel) {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.url(), properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Makes a durable queue that gets the messages with these keys.
    pub(crate) async fn bind(&self, queue: &str, keys: &str) {
        let (_connection, channel) = self.channel().await;
        let none = FieldTable::default;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declared =
            channel.exchange_declare("surety".into(), ExchangeKind::Topic, durable, none());
        declared.await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.into(), durable, none()).await.unwrap();
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(queue.into(), "surety".into(), keys.into(), options, none());
        bound.await.unwrap();
    }

    /// All messages of the queue, in its order.
    pub(crate) async fn told(&self, queue: &str) -> Vec<Told> {
        let (_connection, channel) = self.channel().await;
        let mut told = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel.basic_get(queue.into(), options).await.unwrap() {
            let event: serde_json::Value = serde_json::from_slice(&message.data).unwrap();
            let properties = &message.properties;
            let media_type = properties.content_type().as_ref().unwrap().as_str();
            assert_eq!(media_type, "application/cloudevents+json");
            assert_eq!(properties.delivery_mode(), &Some(2));
            assert_eq!(message.routing_key.as_str(), event["type"].as_str().unwrap());
            let id = properties.message_id().as_ref().unwrap().to_string();
            told.push(Told { id, event });
        }
        told
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.process.signal_group(Signal::Kill);
        // Nobody else knows of this port mapper. It refuses while it takes the node for alive.
        let port = self.epmd_port.to_string();
        for _ in 0..50 {
            let killed = Command::new("epmd").args(["-port", &port, "-kill"]).output();
            if killed.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("Killed")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

async fn run(port: u16, dist_port: u16, epmd_port: u16, dir: &ScratchDir) -> Process {
    let file = |name: &str| dir.join(name);
    let mut command = Process::command_of(PROGRAM, [""; 0])
        .dir(dir)
        .env("HOME", &**dir)
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("surety{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
        .env("RABBITMQ_LOG_BASE", file("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", file("pid"))
        .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", file("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2");
    if is_root() && std::fs::metadata(&**dir).unwrap().uid() != 0 {
        command = command.user(NOBODY.0, NOBODY.1);
    }
    let mut process = command.spawn();
    process.wait_for_line("Server startup complete").await;
    process
}
