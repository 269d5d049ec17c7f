//! Deliveries and `app listen`, without a database: what may be reached, what is sent, and what
//! becomes of it, against receivers of all sorts.

mod hostile_receivers;
mod kept_connections;
mod listen;
mod outgoing_signatures;
mod own_headers;
mod receiver;
mod targets;
mod tls;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::HeaderMap;
use surety::deliveries::names::Names;
use surety::deliveries::{
    Client, Delivery, Guard, Limits, OwnHeaders, Reach, Sent, TargetUrl, Transport,
};
use surety::standard_webhooks::{MessageId, Signer};

use crate::support::{App, Binary as _};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const BODY: &str = r#"{"type":"transfer.completed","timestamp":"2026-11-29T02:00:00Z","data":{}}"#;
/// Long enough for anything that comes at all.
const PATIENT: Duration = Duration::from_secs(20);
/// Short, for what never comes.
const SHORT: Duration = Duration::from_millis(1_500);

/// A client that reaches this machine.
fn client() -> Client {
    client_of(Guard::new(Reach::PrivateToo))
}

fn client_of(guard: Guard) -> Client {
    Client::new(Transport::new(guard, Limits::default()).unwrap())
}

fn signer() -> Signer {
    Signer::new(vec![SECRET.parse().unwrap()])
}

/// What comes of a delivery to this URL.
async fn deliver(client: &Client, url: &str, id: &str, timeout: Duration) -> Sent {
    deliver_with(client, url, id, timeout, &OwnHeaders::default()).await
}

async fn deliver_with(
    client: &Client,
    url: &str,
    id: &str,
    timeout: Duration,
    own_headers: &OwnHeaders,
) -> Sent {
    let target: TargetUrl = url.parse().unwrap();
    let delivery = Delivery {
        target: &target,
        id: &MessageId::parse(id).unwrap(),
        body: &Bytes::from_static(BODY.as_bytes()),
        signer: &signer(),
        own_headers,
        more_headers: &HeaderMap::new(),
        timeout,
    };
    client.deliver(delivery).await
}

/// `app listen` with these flags, and its URL.
async fn listen(flags: &[&str]) -> (App, String) {
    let fixed = ["listen", "--listen", "127.0.0.1:0", "--seed", "1", "-o", "jsonl"];
    let mut app = App::command([&fixed[..], flags].concat()).spawn();
    let url = url_of(&mut app).await;
    (app, url)
}

async fn url_of(app: &mut App) -> String {
    let line = app.wait_for_line("receiving webhooks at http://").await;
    line[line.find("http://").unwrap()..].split(';').next().unwrap().to_owned()
}

/// Name servers that give these answers, one after the other, and the last one for ever; none of
/// them means that they never answer.
#[derive(Debug)]
struct ScriptedNames {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl ScriptedNames {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let addresses = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        let answers = answers.iter().map(addresses).rev().collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Names for ScriptedNames {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop() } else { answers.last().cloned() }
        };
        match answer {
            Some(answer) => Ok(answer),
            None => std::future::pending().await,
        }
    }
}
