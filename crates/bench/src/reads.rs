//! Reads: every list, detail and page, as an operator asks for them, one at a time.

use std::time::Instant;

use anyhow::{Context, ensure};
use http_body_util::Full;
use serde::Serialize;
use sqlx::PgPool;

use super::figures::Percentiles;
use super::http::HttpConnection;
use surety::identity::api_keys::ActsAs;
use surety::operations::{Identity, api_keys};

/// The cookie in which pages look for the key of whoever signed in with one.
const COOKIE: &str = "surety_session";

/// Paths with the names of what is looked at in them, which [`Things`] has.
const PATHS: [&str; 68] = [
    "/v1/transactions",
    "/v1/transactions?status=FAILED",
    "/v1/transactions?status=COMPLETED&currency=EUR",
    "/v1/transactions?currency=JPY",
    "/v1/transactions?account={account}",
    "/v1/transactions?account={account}&currency=JPY",
    "/v1/transactions?created_from={from}",
    "/v1/transactions?created_from={from}&created_before={until}",
    "/v1/transactions?created_before={until}",
    "/v1/transactions?created_before={until}&status=COMPLETED",
    "/v1/transactions/{transaction}",
    "/v1/transactions/{transaction}/timeline",
    "/v1/transactions/{transaction}/proof",
    "/v1/users",
    "/v1/users?email=nobody@example.com",
    "/v1/users/{user}",
    "/v1/users/{user}/balance",
    "/v1/users/{user}/transactions",
    "/v1/conflicts",
    "/v1/dead-letters",
    "/v1/failures",
    "/v1/audit",
    "/v1/audit?subject_kind=transaction&subject_id={number}",
    "/v1/activity?span=24h",
    "/v1/activity?span=7d",
    "/v1/jobs",
    "/v1/jobs?state=completed",
    "/v1/jobs?state=discarded",
    "/v1/jobs?kind=settle_transaction",
    "/v1/jobs?kind=settle_transaction&state=completed",
    "/v1/jobs?queue=webhooks",
    "/v1/jobs?tag=nobody",
    "/v1/jobs?tag=nobody&state=completed",
    "/v1/jobs?error=nobody",
    "/v1/jobs?key=nobody",
    "/v1/jobs?since={from}",
    "/v1/jobs?until={until}",
    "/v1/jobs?failed_since={from}",
    "/v1/jobs?attempt_gte=5",
    "/v1/jobs/{job}",
    "/v1/queues",
    "/v1/queues/bank",
    "/v1/schedules",
    "/v1/workers",
    "/v1/overview",
    "/v1/webhook-endpoints",
    "/v1/operations",
    "/v1/verifications",
    "/metrics",
    "/ui",
    "/ui/jobs",
    "/ui/jobs?state=completed",
    "/ui/jobs/{job}",
    "/ui/queues",
    "/ui/queues/bank",
    "/ui/failures",
    "/ui/schedules",
    "/ui/workers",
    "/ui/transactions",
    "/ui/transactions?status=COMPLETED&currency=EUR",
    "/ui/transactions/{transaction}",
    "/ui/orders",
    "/ui/ledger",
    "/ui/ledger/{holder}",
    "/ui/deliveries",
    "/ui/operations",
    "/ui/audit",
    "/ui/health",
];

/// The things that are looked at: from the middle of what there is.
#[derive(sqlx::FromRow)]
struct Things {
    transaction: String,
    number: String,
    account: String,
    /// The account with the most entries.
    holder: String,
    user: String,
    job: String,
    from: String,
    until: String,
}

/// The latency of one of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Read {
    pub(crate) path: &'static str,
    #[serde(flatten)]
    pub(crate) latency_ms: Percentiles,
}

/// Looks at everything so many times, after once that does not count; slowest first, by the 95th of
/// a hundred.
pub(crate) async fn measure(
    pool: &PgPool,
    address: &str,
    samples: u32,
) -> anyhow::Result<Vec<Read>> {
    let things = Things::find(pool).await?;
    let by = Identity::command_line("surety-bench");
    let mut conn = pool.acquire().await?;
    let issued = api_keys::create(&mut conn, "surety-bench", ActsAs::Admin, None, &by).await?;
    let key = issued.secret.reveal();
    let mut connection = HttpConnection::open(address).await?;
    let mut reads = Vec::new();
    for path in PATHS {
        let uri = things.fill_in(path);
        let mut latencies = Vec::new();
        for sample in 0..=samples {
            let begun = Instant::now();
            look(&mut connection, &uri, key).await?;
            if sample > 0 {
                latencies.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let latency_ms = Percentiles::of(latencies).context("no samples")?;
        reads.push(Read { path, latency_ms });
    }
    reads.sort_by(|a, b| b.latency_ms.p95.total_cmp(&a.latency_ms.p95));
    Ok(reads)
}

async fn look(connection: &mut HttpConnection, uri: &str, key: &str) -> anyhow::Result<()> {
    let request = connection.request().uri(uri);
    let request = match uri.starts_with("/ui") {
        true => request.header("cookie", format!("{COOKIE}={key}")),
        false => request.header("authorization", format!("Bearer {key}")),
    };
    let (status, body) = connection.send(request.body(Full::default())?).await?;
    ensure!(status.is_success(), "{uri}: {status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

impl Things {
    async fn find(pool: &PgPool) -> anyhow::Result<Self> {
        let found = sqlx::query_as(
            r#"
            with middle as (
              select * from payments.transactions
              where id >= (select max(id) / 2 from payments.transactions) order by id limit 1
            )
            select
              transaction_id as transaction, id::text as number, source_account as account,
              (select id::text from payments.accounts order by version desc limit 1) as holder,
              (select id::text from identity.users limit 1) as "user",
              (select id::text from queue.finished_jobs
               where id >= (select max(id) / 2 from queue.finished_jobs)
               order by id limit 1) as job,
              to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as from,
              to_char(
                created_at at time zone 'UTC' + interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
              ) as until
            from middle
            "#,
        );
        found.fetch_one(pool).await.context("there is nothing to look at yet")
    }

    fn fill_in(&self, path: &str) -> String {
        let things = [
            ("{transaction}", &self.transaction),
            ("{number}", &self.number),
            ("{account}", &self.account),
            ("{holder}", &self.holder),
            ("{user}", &self.user),
            ("{job}", &self.job),
            ("{from}", &self.from),
            ("{until}", &self.until),
        ];
        things.iter().fold(path.to_owned(), |path, (name, thing)| path.replace(name, thing))
    }
}
