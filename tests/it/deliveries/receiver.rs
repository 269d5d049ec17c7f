//! A receiver that answers requests byte by byte as a test tells it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The answer of a receiver that is content.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// In place of an answer: the connection ends.
pub(super) const HANG_UP: &str = "";

/// A request: its headers by their names, and its body by the name `body`.
pub(super) type Seen = BTreeMap<String, String>;

/// Answers request after request, over all connections, one connection at a time being no need.
pub(super) struct Receiver {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Receiver {
    pub(super) async fn start(answers: &[&str]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answers)
    }

    pub(super) fn on(listener: TcpListener, answers: &[&str]) -> Self {
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().rev().map(|it| (*it).to_owned()).collect();
        let answers = Arc::new(Mutex::new(answers));
        let (seen, connections) = (Arc::default(), Arc::default());
        let this = Self { url, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                tokio::spawn(serve(stream, Arc::clone(&answers), Arc::clone(&seen)));
            }
        });
        this
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
        let answer = answers.lock().unwrap().pop().expect("no more requests were expected");
        if answer == HANG_UP || stream.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
    }
}

/// `None` at the end.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        // What is not text is no request.
        text.push_str(std::str::from_utf8(&buffer[..read]).ok()?);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lines = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
        let mut request: Seen =
            lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        if body.len() >= request["content-length"].parse().unwrap() {
            request.insert("line".to_owned(), head.lines().next().unwrap().to_owned());
            request.insert("body".to_owned(), body.to_owned());
            return Some(request);
        }
    }
}
