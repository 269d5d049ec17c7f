//! The API, served in the test's own process, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use surety::deliveries::{Guard, Reach};
use surety::http::edge::audience::Audience;
use surety::http::edge::rate_limits::Limit;
use surety::metrics::Metrics;
use surety::operations::endpoints::{EndpointSecrets, Safeguards};
use surety::serve::{self, ApiArgs, Entry, OpenSources, Reads, ServeSettings, ServeSummary};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::TestDb;

/// The path of inbound webhooks.
pub(crate) const WEBHOOKS: &str = "/v1/webhooks/transactions";

/// An API that only this test uses.
pub(crate) struct TestApi {
    /// The database behind it, unless it was given one.
    pub(crate) db: Option<TestDb>,
    /// The pool that it was given.
    pub(crate) pool: PgPool,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    /// Follows no redirects.
    still: reqwest::Client,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<anyhow::Result<ServeSummary>>>,
}

/// What an API answered.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        self.json()["code"].as_str().unwrap().to_owned()
    }

    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestApi {
    /// An API on a new database, with the settings that hold when nothing is set.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// An API on a new database, with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut ApiArgs)) -> Self {
        let db = TestDb::new().await;
        let mut this = Self::start_on(db.pool.clone(), change).await;
        this.db = Some(db);
        this
    }

    /// An API on a new database that answers everybody, also without a secret.
    pub(crate) async fn start_for_everybody(change: impl FnOnce(&mut ApiArgs)) -> Self {
        let db = TestDb::new().await;
        let mut this = Self::start_for(Audience::Everybody, db.pool.clone(), change).await;
        this.db = Some(db);
        this
    }

    /// An API on a new database that seals the secrets of endpoints with these keys.
    pub(crate) async fn start_sealing(keys: &str) -> Self {
        let db = TestDb::new().await;
        let secrets = EndpointSecrets::new(Some(keys.parse().unwrap()));
        let settings = (Audience::ThisMachine, Entry::SignIn, secrets);
        let mut this = Self::start_as(settings, Reads::of_primary(db.pool.clone()), |_| {}).await;
        this.db = Some(db);
        this
    }

    /// An API on this database.
    pub(crate) async fn start_on(pool: PgPool, change: impl FnOnce(&mut ApiArgs)) -> Self {
        Self::start_for(Audience::ThisMachine, pool, change).await
    }

    /// An API on a new database, with pages that ask for no sign-in.
    pub(crate) async fn start_with_open_pages() -> Self {
        let db = TestDb::new().await;
        let settings = (Audience::ThisMachine, Entry::Open, EndpointSecrets::default());
        let mut this = Self::start_as(settings, Reads::of_primary(db.pool.clone()), |_| {}).await;
        this.db = Some(db);
        this
    }

    /// An API whose database is not there, with pages that ask for no sign-in.
    pub(crate) async fn start_with_pages_on(url: &str) -> Self {
        let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(500));
        let pool = options.connect_lazy(url).unwrap();
        let settings = (Audience::ThisMachine, Entry::Open, EndpointSecrets::default());
        Self::start_as(settings, Reads::of_primary(pool), |_| {}).await
    }

    /// An API that reads where it is told, with pages that ask for no sign-in.
    pub(crate) async fn start_reading(reads: Reads) -> Self {
        let settings = (Audience::ThisMachine, Entry::Open, EndpointSecrets::default());
        Self::start_as(settings, reads, |_| {}).await
    }

    async fn start_for(
        unsigned: Audience,
        pool: PgPool,
        change: impl FnOnce(&mut ApiArgs),
    ) -> Self {
        let settings = (unsigned, Entry::SignIn, EndpointSecrets::default());
        Self::start_as(settings, Reads::of_primary(pool), change).await
    }

    async fn start_as(
        (unsigned, entry, secrets): (Audience, Entry, EndpointSecrets),
        reads: Reads,
        change: impl FnOnce(&mut ApiArgs),
    ) -> Self {
        let mut api = ApiArgs::default();
        // All tests come from one address and sign in often; those of the limits set them.
        api.limits.limit_login_account = Limit::Off;
        api.limits.limit_login_address = Limit::Off;
        change(&mut api);
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        api.sample_interval = Duration::from_millis(200);
        let pool = reads.primary().clone();
        let settings = ServeSettings {
            listener,
            reads,
            webhook_secrets: api.secrets().unwrap(),
            sources: OpenSources::read(&api).unwrap(),
            api,
            unsigned,
            safeguards: Safeguards { guard: Guard::new(Reach::PrivateToo), secrets },
            entry,
            metrics: Metrics::new(),
            metrics_elsewhere: false,
            traces: None,
            hangups: None,
        };
        let serving = Some(tokio::spawn(serve::run(settings, shutdown.clone())));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let still = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { db: None, pool, address, client, still, shutdown, serving }
    }

    /// Stops it and says what it served. The database stays.
    pub(crate) async fn stop(&mut self) -> ServeSummary {
        self.shutdown.cancel();
        self.serving.take().expect("it serves").await.unwrap().unwrap()
    }

    /// Tells it to stop, and does not wait.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request of one's own making.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    /// The same, whose answer may be a redirect.
    pub(crate) fn request_as_it_is(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.still.request(method.parse().unwrap(), self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    /// Posts a body as JSON to the inbound webhooks.
    pub(crate) async fn post(&self, body: impl Into<Vec<u8>>) -> Answer {
        send(self.webhook(body)).await
    }

    /// The same, not sent yet.
    pub(crate) fn webhook(&self, body: impl Into<Vec<u8>>) -> reqwest::RequestBuilder {
        let request = self.request("POST", WEBHOOKS);
        request.header("content-type", "application/json").body(body.into())
    }

    /// A connection to write bytes to.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The only number that this query gives.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// How many transactions, jobs and conflicts are stored.
    pub(crate) async fn rows(&self) -> (i64, i64, i64) {
        let transactions = self.count("select count(*) from payments.transactions").await;
        let jobs = self.count("select count(*) from queue.all_jobs").await;
        let conflicts = self.count("select count(*) from payments.transaction_conflicts").await;
        (transactions, jobs, conflicts)
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// A webhook's body with this id, and otherwise always the same content.
pub(crate) fn event(transaction_id: &str) -> String {
    event_of(transaction_id, "1500.00")
}

/// A webhook's body with this id and amount.
pub(crate) fn event_of(transaction_id: &str, amount: &str) -> String {
    json!({
        "transaction_id": transaction_id,
        "source_account": "acc_user_789",
        "destination_account": "acc_merchant_456",
        "amount": amount,
        "currency": "USD",
    })
    .to_string()
}

/// The bytes of a whole request.
pub(crate) fn raw_post(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {WEBHOOKS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// All that comes until the other side closes; what came before a reset counts.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        all.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(all).unwrap()
}

/// Writes, whether the other side still wants it or not; says whether it did.
pub(crate) async fn try_write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok()
}
