//! Whatever needs a person, on the wire.

use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::operations::overview::{Attention, Severity, SubjectKind};

/// Something that needs a person.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Attention")]
pub(super) struct AttentionOut {
    /// The severity.
    severity: SeverityName,
    /// The matter in a few words.
    title: String,
    /// More about it, in a sentence or two.
    detail: String,
    /// The sort of thing that it is about.
    subject_kind: SubjectKindName,
    /// The name of the thing; null for all of its sort.
    #[oai(nullable)]
    subject_id: Option<String>,
}

impl From<Attention> for AttentionOut {
    fn from(attention: Attention) -> Self {
        Self {
            severity: match attention.severity {
                Severity::Fail => SeverityName::Fail,
                Severity::Warn => SeverityName::Warn,
                Severity::Note => SeverityName::Note,
            },
            title: attention.title,
            detail: attention.detail,
            subject_kind: attention.subject.kind.into(),
            subject_id: attention.subject.id,
        }
    }
}

/// The severity of what needs a person.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "Severity", rename_all = "snake_case")]
enum SeverityName {
    /// Something is lost, stands still, or soon will.
    Fail,
    /// It works, but somebody should look.
    Warn,
    /// Worth to know, and nothing is wrong.
    Note,
}

/// A sort of things that can need a person.
#[derive(Clone, Copy, Debug, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "AttentionSubjectKind", rename_all = "snake_case")]
enum SubjectKindName {
    /// A queue, or all of them.
    Queue,
    /// A kind of job.
    JobKind,
    /// The dead letters.
    DeadLetters,
    /// The workers.
    Workers,
    /// The transactions that came again with other content.
    Conflicts,
    /// A source of webhooks.
    Source,
    /// The bank.
    Bank,
    /// The ledger.
    Ledger,
    /// A schedule.
    Schedule,
}

impl From<SubjectKind> for SubjectKindName {
    fn from(kind: SubjectKind) -> Self {
        match kind {
            SubjectKind::Queue => Self::Queue,
            SubjectKind::JobKind => Self::JobKind,
            SubjectKind::DeadLetters => Self::DeadLetters,
            SubjectKind::Workers => Self::Workers,
            SubjectKind::Conflicts => Self::Conflicts,
            SubjectKind::Source => Self::Source,
            SubjectKind::Bank => Self::Bank,
            SubjectKind::Ledger => Self::Ledger,
            SubjectKind::Schedule => Self::Schedule,
        }
    }
}
