//! Heads leave the database for a file or an endpoint.

use surety::audit::Head;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{app, findings, write};
use crate::support::{App, Binary as _, TestDb, eventually_async, scratch_dir};

fn worker(db: &TestDb, target: &str) -> App {
    let command = App::command(["work", "--audit-export-interval", "100ms"]);
    command.env("DATABASE_URL", &db.url).env("APP_AUDIT_EXPORT", target).spawn()
}

#[tokio::test]
async fn workers_export_heads_to_a_file_that_verifies_the_log() {
    let db = TestDb::new().await;
    let folder = scratch_dir();
    let file = folder.join("heads.jsonl");
    let target = format!("file:{}", file.display());
    let mut workers = [worker(&db, &target), worker(&db, &target)];
    let exported = || -> Vec<Head> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().map(|line| Head::parse(line).unwrap()).collect()
    };
    for round in 0..2 {
        write(&db.pool, round * 10, 10).await;
        let size = (round as u64 + 1) * 10;
        eventually_async("the head is exported", async || {
            exported().last().is_some_and(|head| head.size == size)
        })
        .await;
    }
    for worker in &mut workers {
        worker.kill().await;
    }
    let heads = exported();
    assert_eq!(findings(&db, &heads).await, []);
    let (code, output) = app(&db, &["audit", "verify", "--head", file.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("20 entries are sealed"), "{output}");
}

#[tokio::test]
async fn workers_post_heads_to_an_endpoint_and_try_again_when_it_refuses() {
    let db = TestDb::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut worker = worker(&db, &format!("http://user:marker@{address}/heads"));
    write(&db.pool, 0, 3).await;
    let mut bodies = Vec::new();
    for status in ["503 Service Unavailable", "204 No Content"] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "the request was cut short");
            request.extend_from_slice(&piece[..count]);
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("POST /heads HTTP/1.1\r\n"), "{request}");
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        bodies.push(Head::parse(body).unwrap());
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(findings(&db, &bodies).await, []);
    worker.kill().await;
    let output = worker.output();
    assert!(output.contains("was not exported") && output.contains("answered 503"), "{output}");
    assert!(!output.contains("marker"), "{output}");
}
