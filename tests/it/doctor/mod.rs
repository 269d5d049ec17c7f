//! `app doctor`: each thing that can be amiss is brought about for real, and is found, named and
//! given its fix.

mod backlog;
mod exit_codes;
mod horizon;
mod server;
mod storage;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::support::{App, Binary as _, TestDb};

/// What one run of `app doctor` said.
struct Answer {
    code: Option<i32>,
    report: Value,
}

impl Answer {
    async fn of(url: &str, args: &[&str]) -> Self {
        let args = [&["doctor", "-o", "json"], args].concat();
        let (status, output) = App::command(args).env("DATABASE_URL", url).run().await;
        let report = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}"));
        Self { code: status.code(), report }
    }

    /// The findings of one check: level, what was found, the fix.
    fn of_check(&self, check: &str) -> Vec<[&str; 3]> {
        let findings = self.report["findings"].as_array().unwrap();
        findings
            .iter()
            .filter(|finding| finding["check"] == check)
            .map(|finding| ["level", "found", "fix"].map(|key| finding[key].as_str().unwrap_or("")))
            .collect()
    }

    /// The finding of `check` whose words contain `words`.
    fn about(&self, check: &str, words: &str) -> [&str; 3] {
        let all = self.of_check(check);
        let found = all.iter().find(|finding| finding[1].contains(words));
        *found.unwrap_or_else(|| panic!("nothing of {words:?} in {all:?}"))
    }

    /// The levels of one check's findings.
    fn levels(&self, check: &str) -> Vec<&str> {
        self.of_check(check).into_iter().map(|finding| finding[0]).collect()
    }
}

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
