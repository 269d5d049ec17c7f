//! A database per test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use surety::db;
use surety::queue::testing::mark_as_test_database;
use tokio::sync::{mpsc, oneshot};

use super::shared_cluster::{SharedCluster, shared};

/// A database that only this test uses; it is dropped with this value.
pub(crate) struct TestDb {
    /// Connected to the database, with the settings that the application uses.
    pub(crate) pool: PgPool,
    /// The database's URL, for child processes.
    pub(crate) url: String,
    name: String,
}

impl TestDb {
    /// A database with the current schema and no rows.
    pub(crate) async fn new() -> Self {
        Self::make(Content::Schema).await
    }

    /// A database with nothing in it at all.
    pub(crate) async fn without_schema() -> Self {
        Self::make(Content::Nothing).await
    }

    async fn make(content: Content) -> Self {
        let (reply, made) = oneshot::channel();
        steward()
            .send(Request::Create { content, reply })
            .expect("the steward lives as long as we");
        let name = made.await.expect("the steward answers, or has said why it could not");
        let url = shared().url(&name);
        let pool = db::connect(&url, 10, "test").await.expect("the database was just made");
        Self { pool, url, name }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        // Cannot wait here, and need not: the steward drops it while the next test runs.
        let _ = steward().send(Request::Drop { name: std::mem::take(&mut self.name) });
    }
}

#[derive(Clone, Copy)]
enum Content {
    Schema,
    Nothing,
}

enum Request {
    Create { content: Content, reply: oneshot::Sender<String> },
    Drop { name: String },
}

/// The thread that makes and drops databases. Tests cannot share a connection, as each has its own
/// runtime; this thread has one for all of them.
fn steward() -> &'static mpsc::UnboundedSender<Request> {
    static STEWARD: OnceLock<mpsc::UnboundedSender<Request>> = OnceLock::new();
    STEWARD.get_or_init(|| {
        let (requests, inbox) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("steward".to_owned())
            .spawn(move || {
                let shared = shared();
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(serve(shared, inbox));
            })
            .unwrap();
        requests
    })
}

async fn serve(shared: &SharedCluster, mut inbox: mpsc::UnboundedReceiver<Request>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut conn = PgConnection::connect(&shared.url("postgres")).await.unwrap();
    let template = make_template(shared, &mut conn).await;
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Create { content, reply } => {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let nonce = &uuid::Uuid::new_v4().simple().to_string()[..6];
                let name = format!("t_{}_{number}_{nonce}", std::process::id());
                let template = match content {
                    Content::Schema => template.as_str(),
                    Content::Nothing => "template0",
                };
                execute(
                    &mut conn,
                    format!("create database {name} template {template} strategy file_copy"),
                )
                .await;
                let _ = reply.send(name);
            }
            Request::Drop { name } => {
                execute(&mut conn, format!("drop database if exists {name} with (force)")).await;
            }
        }
    }
}

/// The name of a database with the schema in it, made once per state of the migrations.
async fn make_template(shared: &SharedCluster, conn: &mut PgConnection) -> String {
    let _lock = shared.lock();
    let mut hash = Sha256::new();
    for migration in db::MIGRATOR.iter() {
        hash.update(migration.version.to_be_bytes());
        hash.update(&migration.checksum);
    }
    let name = format!("tpl_{}", hex::encode(&hash.finalize()[..8]));
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    if exists {
        return name;
    }
    execute(conn, format!("drop database if exists {name}_new with (force)")).await;
    execute(conn, format!("create database {name}_new template template0")).await;
    let mut inside = PgConnection::connect(&shared.url(&format!("{name}_new"))).await.unwrap();
    db::MIGRATOR.run(&mut inside).await.expect("the migrations apply");
    inside.close().await.unwrap();
    let pool = PgPool::connect(&shared.url(&format!("{name}_new"))).await.unwrap();
    mark_as_test_database(&pool).await.expect("there are no jobs yet");
    pool.close().await;
    execute(
        conn,
        format!("alter database {name}_new with is_template true allow_connections false"),
    )
    .await;
    execute(conn, format!("alter database {name}_new rename to {name}")).await;
    name
}

async fn execute(conn: &mut PgConnection, statement: String) {
    let result = sqlx::query(AssertSqlSafe(statement.clone())).execute(conn).await;
    result.unwrap_or_else(|error| panic!("{statement}: {error}"));
}
