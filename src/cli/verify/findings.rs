//! What was found, for people and for scripts.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::invariants::{Finding, Invariant, Weight};

/// What was found.
#[derive(Debug)]
pub struct Report {
    pub(super) database: String,
    pub(super) checked_at: OffsetDateTime,
    pub(super) findings: Vec<Finding>,
    pub(super) took: Duration,
}

impl Report {
    /// Whether every guarantee holds.
    pub fn holds(&self) -> bool {
        !self.findings.iter().any(Finding::is_failure)
    }

    /// What each check found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let Invariant { claim, protects, hint, .. } = finding.invariant;
            let found = rows(finding);
            text += &match status(finding) {
                Status::Ok => format!("ok    {claim}\n"),
                Status::Note => format!("note  {claim}: {found}\n      {hint}\n"),
                Status::Fail => {
                    format!("FAIL  {claim}: {found}\n      protects {protects}; {hint}\n")
                }
            };
        }
        let failures = self.findings.iter().filter(|finding| finding.is_failure()).count();
        let verdict = match failures {
            0 => "every guarantee holds".to_owned(),
            1 => "1 invariant is broken".to_owned(),
            many => format!("{many} invariants are broken"),
        };
        text += &format!(
            "{verdict}: {} checks of database {} as of {}, in {:.1} s\n",
            self.findings.len(),
            self.database,
            rfc3339(self.checked_at),
            self.took.as_secs_f64()
        );
        text
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let invariant = |finding: &Finding| {
            json!({
                "name": finding.invariant.name,
                "claim": finding.invariant.claim,
                "protects": finding.invariant.protects,
                "status": status(finding),
                "violations": finding.violations,
                "samples": finding.samples,
                "hint": finding.invariant.hint,
                "duration_ms": finding.took.as_millis() as u64,
            })
        };
        json!({
            "holds": self.holds(),
            "database": self.database,
            "checked_at": rfc3339(self.checked_at),
            "duration_ms": self.took.as_millis() as u64,
            "invariants": self.findings.iter().map(invariant).collect::<Vec<_>>(),
        })
    }
}

/// What is said of a finding, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Note,
    Fail,
}

fn status(finding: &Finding) -> Status {
    match (finding.violations, finding.invariant.weight) {
        (0, _) => Status::Ok,
        (_, Weight::Notice) => Status::Note,
        (_, Weight::Guarantee) => Status::Fail,
    }
}

/// `3 rows (job 1, job 2, …)`.
fn rows(finding: &Finding) -> String {
    let samples = finding.samples.join(", ");
    let more = if finding.violations > finding.samples.len() as i64 { ", …" } else { "" };
    match finding.violations {
        1 => format!("1 row ({samples})"),
        many => format!("{many} rows ({samples}{more})"),
    }
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
