//! `app doctor`: each thing that can be amiss is brought about for real, and is found, named and
//! given its fix.

mod backlog;
mod exit_codes;
mod horizon;
mod server;
mod storage;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::support::TestDb;
use crate::support::doctor::Answer;

impl TestDb {
    async fn doctor(&self, args: &[&str]) -> Answer {
        Answer::of(&self.url, args).await
    }

    fn name_of_database(&self) -> String {
        self.pool.connect_options().get_database().unwrap().to_owned()
    }
}

/// A session that keeps its transactions open for as long as it likes, unlike ours.
async fn patient_session(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn execute(pool: &PgPool, statements: impl Into<String>) {
    let statements = statements.into();
    let done = sqlx::raw_sql(AssertSqlSafe(statements.clone())).execute(pool).await;
    done.unwrap_or_else(|error| panic!("{statements}: {error}"));
}
