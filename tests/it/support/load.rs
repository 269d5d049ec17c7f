//! A provider that posts webhooks without pause and remembers which were acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{App, Binary as _, eventually_async};

/// A running `app serve`.
pub(crate) struct Server {
    pub(crate) app: App,
    pub(crate) address: SocketAddr,
}

/// Starts `app serve`, on the same address as before if there was one.
pub(crate) async fn serve(database_url: &str, address: Option<SocketAddr>) -> Server {
    let listen = address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
    let mut app =
        App::command(["serve", "--listen", &listen]).env("DATABASE_URL", database_url).spawn();
    let line = app.wait_for_line("serving http://").await;
    let after = line.split("serving http://").nth(1).unwrap();
    let address = after.split([',', '"', ' ', '/']).next().unwrap().parse().unwrap();
    Server { app, address }
}

/// The body of a webhook.
pub(crate) fn webhook(transaction_id: &str) -> String {
    format!(
        r#"{{"transaction_id":"{transaction_id}","source_account":"acc_1",
            "destination_account":"acc_2","amount":"1.25","currency":"USD"}}"#
    )
}

/// Posts a webhook: the status, and whether the answer says when to come back.
pub(crate) async fn post(address: SocketAddr, body: &str) -> (u16, bool) {
    let response = reqwest::Client::new()
        .post(format!("http://{address}/v1/webhooks/transactions"))
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.headers().contains_key("retry-after"))
}

/// Sends so many tenths of a request, and hangs up; with 0, all of it, and hangs up without reading
/// the answer.
pub(crate) async fn hang_up_after_share(address: SocketAddr, body: &str, tenths: usize) {
    let request = format!(
        "POST /v1/webhooks/transactions HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = if tenths == 0 { request.len() } else { request.len() * tenths / 10 };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request.as_bytes()[..sent]).await.unwrap();
    if tenths == 5 {
        // Some wait a little for an answer that cannot come.
        let mut nothing = [0; 1];
        let read = stream.read(&mut nothing);
        let _ = tokio::time::timeout(Duration::from_millis(2), read).await;
    }
}

/// A webhook that was answered 202.
pub(crate) struct Accepted {
    pub(crate) transaction_id: String,
    amount: Decimal,
}

/// The sum of their amounts.
pub(crate) fn total_of(accepted: &[Accepted]) -> Decimal {
    accepted.iter().map(|accepted| accepted.amount).sum()
}

/// Concurrent clients, posting.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    clients: JoinSet<()>,
}

impl Load {
    /// Posts from `clients` at once, each to the next when answered: `total` webhooks, or until
    /// stopped. What is not answered 202 is sent again, as providers do.
    pub(crate) fn start(address: SocketAddr, clients: usize, total: Option<usize>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let next = Arc::new(AtomicUsize::new(0));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let clients = (0..clients)
            .map(|_| {
                let (stop, accepted, next, http) =
                    (Arc::clone(&stop), Arc::clone(&accepted), Arc::clone(&next), http.clone());
                async move {
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if total.is_some_and(|total| number >= total) {
                            return;
                        }
                        let sent = send_until_accepted(&http, address, number, &stop).await;
                        accepted.lock().unwrap().extend(sent);
                    }
                }
            })
            .collect();
        Self { stop, accepted, clients }
    }

    /// Waits until so many more were accepted than now.
    pub(crate) async fn wait_for_more_accepted(&self, more: usize) {
        let wanted = self.accepted.lock().unwrap().len() + more;
        crate::support::eventually("webhooks are accepted again", || {
            self.accepted.lock().unwrap().len() >= wanted
        })
        .await;
    }

    /// Waits until all have been sent.
    pub(crate) async fn finish(self) -> Vec<Accepted> {
        self.clients.join_all().await;
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }

    /// Stops sending.
    pub(crate) async fn stop(self) -> Vec<Accepted> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }
}

async fn send_until_accepted(
    http: &reqwest::Client,
    address: SocketAddr,
    number: usize,
    stop: &AtomicBool,
) -> Option<Accepted> {
    let transaction_id = format!("txn_{number}");
    let cents = 100 + (number % 900) as i64;
    // Few destinations, so that batches meet at the same accounts.
    let body = format!(
        r#"{{"transaction_id":"{transaction_id}","source_account":"payer",
            "destination_account":"shop_{}","amount":"{}.{:02}","currency":"EUR"}}"#,
        number % 7,
        cents / 100,
        cents % 100
    );
    while !stop.load(Ordering::Relaxed) {
        let response = http
            .post(format!("http://{address}/v1/webhooks/transactions"))
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
            .await;
        match response.map(|response| response.status().as_u16()) {
            Ok(202) => return Some(Accepted { transaction_id, amount: Decimal::new(cents, 2) }),
            Ok(503) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(status) => panic!("answered {status}"),
        }
    }
    None
}

/// `app verify` finds nothing wrong.
pub(crate) async fn assert_verified(database_url: &str) {
    let (status, output) = App::command(["verify"]).env("DATABASE_URL", database_url).run().await;
    assert!(status.success(), "{output}");
}

/// The only number that this query gives.
pub(crate) async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// The sessions that workers listen by. The last statement of one is the `LISTEN` or, after two
/// seconds without a word, the question whether it is still there.
const LISTENERS: &str = "from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
      and (query ilike 'listen %' or query like '%surety.listener%')";

/// The number of sessions that workers listen by.
pub(crate) async fn listeners(pool: &PgPool) -> i64 {
    let listeners = format!("select count(*) {LISTENERS}");
    sqlx::query_scalar(AssertSqlSafe(listeners)).fetch_one(pool).await.unwrap()
}

/// Ends the sessions that workers listen by.
pub(crate) async fn end_listeners(pool: &PgPool) {
    let end = format!("select pg_terminate_backend(pid) {LISTENERS}");
    sqlx::query(AssertSqlSafe(end)).execute(pool).await.unwrap();
}

/// Waits until one worker listens.
pub(crate) async fn wait_until_listening(pool: &PgPool) {
    eventually_async("the worker listens", async || listeners(pool).await == 1).await;
}

/// Waits until so many transactions are completed.
pub(crate) async fn wait_until_settled(pool: &PgPool, transactions: i64) {
    let settled = "select count(*) from payments.transactions where status = 'COMPLETED'";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let done = count(pool, settled).await;
        if done == transactions {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{done} of {transactions} after 90 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Each acknowledged webhook is in the database.
pub(crate) async fn assert_all_stored(pool: &PgPool, accepted: &[Accepted]) {
    let ids: Vec<&str> = accepted.iter().map(|accepted| accepted.transaction_id.as_str()).collect();
    let stored: i64 = sqlx::query_scalar(
        "select count(*) from payments.transactions where transaction_id = any ($1)",
    )
    .bind(&ids)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(stored as usize, ids.len(), "acknowledged, but not in the database");
}
