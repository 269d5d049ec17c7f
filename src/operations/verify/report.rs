//! The findings of a verification.

use std::time::Duration;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::{Finding, Invariant, Scope, Weight};

/// The findings of a verification.
#[derive(Debug)]
pub struct Report {
    /// The name of the database.
    pub database: String,
    /// The moment as of which all was checked.
    pub checked_at: OffsetDateTime,
    /// The rows that were looked at.
    pub scope: Scope,
    /// The finding of each check.
    pub findings: Vec<Finding>,
    /// The invariants that only a check of everything can tell of.
    pub left_out: Vec<Invariant>,
    /// The time that it took.
    pub took: Duration,
}

impl Report {
    /// True if every guarantee holds.
    pub fn holds(&self) -> bool {
        !self.findings.iter().any(Finding::is_failure)
    }

    /// The number of rows that break a guarantee.
    pub fn violations(&self) -> i64 {
        let failures = self.findings.iter().filter(|finding| finding.is_failure());
        failures.map(|finding| finding.violations).sum()
    }

    /// The finding of each check.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// A finding in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingStatus {
    /// The invariant holds.
    Ok,
    /// No guarantee is broken, but somebody should look.
    Note,
    /// A guarantee is broken.
    Fail,
}

impl FindingStatus {
    /// The status of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        match (finding.violations, finding.invariant.weight) {
            (0, _) => Self::Ok,
            (_, Weight::Notice) => Self::Note,
            (_, Weight::Guarantee) => Self::Fail,
        }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct CheckedInvariant<'a> {
            name: &'a str,
            claim: &'a str,
            protects: &'a str,
            status: FindingStatus,
            violations: i64,
            samples: &'a [String],
            hint: &'a str,
            duration_ms: u64,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            holds: bool,
            database: &'a str,
            #[serde(with = "time::serde::rfc3339")]
            checked_at: OffsetDateTime,
            /// Null when everything was checked.
            #[serde(with = "time::serde::rfc3339::option")]
            since: Option<OffsetDateTime>,
            duration_ms: u64,
            left_out: Vec<&'a str>,
            invariants: Vec<CheckedInvariant<'a>>,
        }
        fn checked(finding: &Finding) -> CheckedInvariant<'_> {
            CheckedInvariant {
                name: finding.invariant.name,
                claim: finding.invariant.claim,
                protects: finding.invariant.protects,
                status: FindingStatus::of(finding),
                violations: finding.violations,
                samples: &finding.samples,
                hint: finding.invariant.hint,
                duration_ms: finding.took.as_millis() as u64,
            }
        }
        let json = Json {
            holds: self.holds(),
            database: &self.database,
            checked_at: self.checked_at,
            since: match self.scope {
                Scope::Everything => None,
                Scope::Since(since) => Some(since),
            },
            left_out: self.left_out.iter().map(|invariant| invariant.name).collect(),
            duration_ms: self.took.as_millis() as u64,
            invariants: self.findings.iter().map(checked).collect(),
        };
        json.serialize(serializer)
    }
}
