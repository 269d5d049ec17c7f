//! `app doctor`, as a script reads it.

use serde_json::Value;

use super::{App, Binary as _};

/// What one run of `app doctor` said.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) report: Value,
}

impl Answer {
    pub(crate) async fn of(url: &str, args: &[&str]) -> Self {
        let args = [&["doctor", "-o", "json"], args].concat();
        let (status, output) = App::command(args).env("DATABASE_URL", url).run().await;
        let report = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}"));
        Self { code: status.code(), report }
    }

    /// The findings of one check: level, what was found, the fix.
    pub(crate) fn of_check(&self, check: &str) -> Vec<[&str; 3]> {
        let findings = self.report["findings"].as_array().unwrap();
        findings
            .iter()
            .filter(|finding| finding["check"] == check)
            .map(|finding| ["level", "found", "fix"].map(|key| finding[key].as_str().unwrap_or("")))
            .collect()
    }

    /// The finding of `check` whose words contain `words`.
    pub(crate) fn about(&self, check: &str, words: &str) -> [&str; 3] {
        let all = self.of_check(check);
        let found = all.iter().find(|finding| finding[1].contains(words));
        *found.unwrap_or_else(|| panic!("nothing of {words:?} in {all:?}"))
    }

    /// The levels of one check's findings.
    pub(crate) fn levels(&self, check: &str) -> Vec<&str> {
        self.of_check(check).into_iter().map(|finding| finding[0]).collect()
    }
}
