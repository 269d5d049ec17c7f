//! Mail: what users get, who gets none, and what a mail server can do to us.
//!
//! Against a mail server whose protocol is others' (`mailin`), read by a parser of others'
//! (`mail-parser`).

mod content;
mod dev;
mod outcomes;
mod preferences;
mod server;
mod tls;

use mail_parser::{Message, MessageParser};
use sqlx::PgPool;
use surety::ids::{EventId, OrderId, UserId};
use surety::jobs::mail_delivery::Recipient;
use surety::jobs::{self, SendTransactionEmail, Services};
use surety::notices::templates::Outcome;
use surety::notices::{MailArgs, MailRecord, Mailer, Subject, SubjectKind, of_subject};
use surety::queue::enqueue::enqueue;
use surety::queue::{JobId, NewJob, Worker, WorkerSettings};
use uuid::Uuid;

use self::server::{MailServer, Taken};
use crate::support::TestDb;
use crate::support::ledger::money;

const FROM: &str = "Surety <no-reply@surety.example>";

/// A database, a mail server, and the way from one to the other.
struct Post {
    db: TestDb,
    server: MailServer,
    args: MailArgs,
}

impl Post {
    async fn new() -> Self {
        let server = MailServer::start();
        let args = args(&format!("smtp://{}?tls=none", server.address));
        Self { db: TestDb::new().await, server, args }
    }

    fn pool(&self) -> &PgPool {
        &self.db.pool
    }

    /// Enqueues a job.
    async fn enqueue(&self, job: &SendTransactionEmail) -> JobId {
        enqueue_in(self.pool(), NewJob::new(job).unwrap()).await
    }

    /// Runs the jobs that are due, with a mailer of its own, as another worker would.
    async fn run(&self) {
        run(self.pool(), self.args.mailer().unwrap()).await;
    }

    async fn let_time_pass(&self) {
        let due = "update queue.jobs set run_at = clock_timestamp() where not running";
        sqlx::query(due).execute(self.pool()).await.unwrap();
    }

    /// State and attempt of a job, and the errors of its attempts.
    async fn job(&self, id: JobId) -> (String, i16, Vec<String>) {
        let (state, attempt) =
            sqlx::query_as("select state, attempt from queue.all_jobs where id = $1")
                .bind(id.0)
                .fetch_one(self.pool())
                .await
                .unwrap();
        let errors = sqlx::query_scalar(
            "select error from queue.attempts where job_id = $1 and error is not null
             order by attempt",
        );
        (state, attempt, errors.bind(id.0).fetch_all(self.pool()).await.unwrap())
    }

    async fn records(&self, job: &SendTransactionEmail) -> Vec<MailRecord> {
        let mut conn = self.pool().acquire().await.unwrap();
        of_subject(&mut conn, &job.about, 10).await.unwrap()
    }

    /// Status, reason and attempts of the one record of a mail.
    async fn record(&self, job: &SendTransactionEmail) -> (&'static str, Option<String>, i16) {
        let records = self.records(job).await;
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.event, record.user), (job.event, job.user));
        (record.status.as_str(), record.reason.clone(), record.attempts)
    }

    /// The one mail that was taken.
    fn only_mail(&self) -> Taken {
        let mut taken = self.server.taken();
        assert_eq!(taken.len(), 1, "{taken:?}");
        taken.remove(0)
    }
}

fn args(url: &str) -> MailArgs {
    MailArgs {
        smtp_url: Some(url.parse().unwrap()),
        mail_from: Some(FROM.to_owned()),
        ..MailArgs::default()
    }
}

async fn run(pool: &PgPool, mailer: Option<Mailer>) {
    let registry = jobs::registry(Services { mailer, ..Services::of_database(pool.clone()) });
    let worker = Worker::new(pool.clone(), registry, WorkerSettings::default()).unwrap();
    worker.run_until_idle().await.unwrap();
}

async fn enqueue_in(pool: &PgPool, job: NewJob) -> JobId {
    let mut conn = pool.acquire().await.unwrap();
    enqueue(&mut conn, job).await.unwrap().id()
}

fn ada() -> Recipient {
    Recipient { user: UserId(Uuid::now_v7()), email: "ada@example.com".to_owned() }
}

fn subject(kind: SubjectKind) -> Subject {
    Subject { kind, id: OrderId(Uuid::now_v7()).to_string() }
}

/// The job of a deposit of 15 euros that is completed.
fn deposit(to: Recipient) -> SendTransactionEmail {
    let event = EventId(Uuid::now_v7());
    let about = subject(SubjectKind::Deposit);
    SendTransactionEmail::new(event, to, about, money("15 EUR"), Outcome::Completed)
}

/// The `Message-ID` that a job's mails must have.
fn message_id(job: &SendTransactionEmail) -> String {
    format!("{}.{}@surety.example", job.event.0.simple(), job.user.0.simple())
}

fn parse(data: &[u8]) -> Message<'_> {
    MessageParser::default().parse(data).expect("it is a mail")
}
