//! A database per test.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};

use super::shared_cluster::{SharedCluster, shared};
use crate::connect;

/// A schema that test databases are made with, once per server and `fingerprint`.
pub struct Template {
    /// Changes whenever the schema does; a short word of letters and digits.
    pub fingerprint: fn() -> String,
    /// Makes the schema in the empty database of this URL.
    pub make: fn(url: String) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// A database that only this test uses; it is dropped with this value.
pub struct TestDatabase {
    /// Connected to the database, with the settings that the application uses.
    pub pool: PgPool,
    /// The database's URL, for child processes.
    pub url: String,
    name: String,
}

impl TestDatabase {
    /// A database with the schema of `template` and whatever rows that made.
    pub async fn of(template: &'static Template) -> Self {
        Self::make(Content::Template(template)).await
    }

    /// A database with nothing in it at all.
    pub async fn empty() -> Self {
        Self::make(Content::Nothing).await
    }

    async fn make(content: Content) -> Self {
        let (reply, made) = oneshot::channel();
        steward()
            .send(Request::Create { content, reply })
            .expect("the steward lives as long as we");
        let name = made.await.expect("the steward answers, or has said why it could not");
        let url = shared().url(&name);
        let pool = connect(&url, 10, "test").await.expect("the database was just made");
        Self { pool, url, name }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Cannot wait here, and need not: the steward drops it while the next test runs.
        let _ = steward().send(Request::Drop { name: std::mem::take(&mut self.name) });
    }
}

#[derive(Clone, Copy)]
enum Content {
    Template(&'static Template),
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
    let mut templates: HashMap<String, String> = HashMap::new();
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Create { content, reply } => {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let nonce = &uuid::Uuid::new_v4().simple().to_string()[..6];
                let name = format!("t_{}_{number}_{nonce}", std::process::id());
                let template = match content {
                    Content::Nothing => "template0".to_owned(),
                    Content::Template(template) => {
                        let key = (template.fingerprint)();
                        if !templates.contains_key(&key) {
                            let made = make_template(shared, &mut conn, template).await;
                            templates.insert(key.clone(), made);
                        }
                        templates[&key].clone()
                    }
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

/// The name of a database with the schema in it, made once per fingerprint.
async fn make_template(
    shared: &SharedCluster,
    conn: &mut PgConnection,
    template: &Template,
) -> String {
    let _lock = shared.lock();
    let name = format!("tpl_{}", (template.fingerprint)());
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
    (template.make)(shared.url(&format!("{name}_new"))).await;
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
