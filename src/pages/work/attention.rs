//! Whatever needs a person, each with the page to look at next.

use crate::operations::overview::{Attention, AttentionSubject, Severity, SubjectKind};
use crate::pages::visit::{Pairs, segment};

/// Something that needs a person.
pub(in crate::pages) struct Todo {
    /// The class of its severity.
    pub(in crate::pages) tone: &'static str,
    /// Its severity in one word.
    pub(in crate::pages) word: &'static str,
    /// The matter, and more about it.
    pub(in crate::pages) attention: Attention,
    /// The page to look at next, and the words for it.
    pub(in crate::pages) next: (String, &'static str),
}

impl From<Attention> for Todo {
    fn from(attention: Attention) -> Self {
        let (tone, word) = match attention.severity {
            Severity::Fail => ("bad", "Failing"),
            Severity::Warn => ("warn", "Look"),
            Severity::Note => ("idle", "Note"),
        };
        Self { tone, word, next: next(&attention.subject), attention }
    }
}

fn next(AttentionSubject { kind, id }: &AttentionSubject) -> (String, &'static str) {
    let jobs = |name: &str, value: &str| Pairs::default().with(name, value).url("/ui/jobs");
    match (kind, id.as_deref()) {
        (SubjectKind::Queue, Some(name)) => {
            (format!("/ui/queues/{}", segment(name)), "See the queue")
        }
        (SubjectKind::Queue, None) => ("/ui/queues".to_owned(), "See queues"),
        (SubjectKind::JobKind, Some(kind)) => (jobs("kind", kind), "See the jobs"),
        (SubjectKind::JobKind, None) => ("/ui/failures".to_owned(), "See failures"),
        (SubjectKind::DeadLetters, _) => (jobs("state", "discarded"), "Decide"),
        (SubjectKind::Workers, _) => ("/ui/workers".to_owned(), "See workers"),
        (SubjectKind::Conflicts, _) => ("/ui/conflicts".to_owned(), "Decide"),
        (SubjectKind::Source, _) => ("/ui/transactions".to_owned(), "See transactions"),
        (SubjectKind::Bank, _) => ("/ui/health".to_owned(), "See health"),
        (SubjectKind::Ledger, _) => ("/ui/ledger".to_owned(), "See the ledger"),
        (SubjectKind::Schedule, Some(name)) => {
            (format!("/ui/schedules/{}", segment(name)), "See the schedule")
        }
        (SubjectKind::Schedule, None) => ("/ui/schedules".to_owned(), "See schedules"),
    }
}
