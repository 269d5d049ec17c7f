//! What a service manager such as systemd is told by the processes that run for long.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{App, Binary as _, PATIENCE, ScratchDir, Signal, TestDb, scratch_dir};

/// The end that a service manager listens at.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    _scratch: ScratchDir,
}

impl Manager {
    fn new() -> Self {
        let scratch = scratch_dir();
        let path = scratch.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path, _scratch: scratch }
    }

    fn start(&self, db: &TestDb, args: &[&str]) -> App {
        App::command(args)
            .env("DATABASE_URL", &db.url)
            .env("NOTIFY_SOCKET", self.path.to_str().unwrap())
            .env("WATCHDOG_USEC", "400000")
            .spawn()
    }

    fn next(&self) -> String {
        let mut message = [0; 256];
        let count = self.socket.recv(&mut message).expect("something is told in time");
        String::from_utf8_lossy(&message[..count]).trim().to_owned()
    }

    fn is_told_nothing_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let nothing = self.socket.recv(&mut [0; 256]).is_err();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }
}

async fn assert_all_is_told(args: &[&str]) {
    let (db, manager) = (TestDb::new().await, Manager::new());
    let mut process = manager.start(&db, args);
    assert_eq!(manager.next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    process.signal(Signal::Terminate);
    while manager.next() != "STOPPING=1" {}
    assert!(process.wait_for_exit().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_once_it_listens_and_alive_until_it_stops() {
    assert_all_is_told(&["serve", "--listen", "127.0.0.1:0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_ready_after_its_first_claim_and_alive_until_it_stops() {
    assert_all_is_told(&["work"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_claim_is_not_ready() {
    let (db, manager) = (TestDb::new().await, Manager::new());
    let mut lock = db.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table queue.jobs in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let _process = manager.start(&db, &["work"]);
    assert!(manager.is_told_nothing_for(Duration::from_secs(3)));
    lock.rollback().await.unwrap();
    assert_eq!(manager.next(), "READY=1");
}
