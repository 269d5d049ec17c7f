//! What was found, for people and for programs.

use std::io::Write as _;

use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::cli::output::{Output, moment};
use crate::queue::health::{Finding, Level};

/// All findings, in the order in which they were made.
pub(super) struct Report {
    database: String,
    role: String,
    server_version: String,
    checked_at: OffsetDateTime,
    findings: Vec<Finding>,
}

impl Report {
    /// A report of no finding yet, which says of what it is.
    pub(super) async fn begin(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let about = sqlx::query!(
            r#"
            select
              current_database() as "database!",
              current_user::text as "role!",
              current_setting('server_version') as "server_version!",
              clock_timestamp() as "checked_at!"
            "#
        )
        .fetch_one(conn)
        .await?;
        Ok(Self {
            database: about.database,
            role: about.role,
            server_version: about.server_version,
            checked_at: about.checked_at,
            findings: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// The worst of all findings.
    pub(super) fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    pub(super) fn print(&self, output: Output) {
        let text = match output {
            Output::Table => self.to_text(),
            Output::Json => format!("{:#}\n", self.to_json()),
            Output::Jsonl => {
                let lines = self.findings.iter().map(|finding| format!("{}\n", json!(finding)));
                lines.collect()
            }
        };
        // A reader that has seen enough, such as `head`, does not change what was found.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    fn to_text(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { check, level, found, fix } in &self.findings {
            let word = match level {
                Level::Ok => "ok",
                Level::Unseen => "?",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            text += &format!("{word:<4}  {check:width$}  {found}\n");
            if let Some(fix) = fix {
                text += &format!("{:width$}        fix: {fix}\n", "");
            }
        }
        let number = |level| self.findings.iter().filter(|it| it.level == level).count();
        text += &format!(
            "database {} as role {}, PostgreSQL {}: {} fail, {} warn, {} unseen, {} ok\n",
            self.database,
            self.role,
            self.server_version,
            number(Level::Fail),
            number(Level::Warn),
            number(Level::Unseen),
            number(Level::Ok),
        );
        text
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "level": self.worst(),
            "database": self.database,
            "role": self.role,
            "server_version": self.server_version,
            "checked_at": moment(Some(self.checked_at)),
            "findings": self.findings,
        })
    }
}
