//! The errors of operations on jobs, as problems.

use crate::http::wire::problem::{Code, FieldError, Problem, is_about_the_data};
use crate::operations::jobs::edit::EditError;
use crate::operations::jobs::enqueue::EnqueueError;
use crate::operations::jobs::{JobRefusal, JobsError, RefusalClass};
use crate::queue::QueueError;

/// JSON that PostgreSQL does not take in a filter is the caller's mistake.
pub(super) fn about_a_filter(error: JobsError) -> Problem {
    match &error {
        JobsError::Queue(QueueError::Database(source)) if is_about_the_data(source) => {
            Problem::parameter("where", "No arguments of a job can have such a value.")
        }
        _ => error.into(),
    }
}

impl From<JobsError> for Problem {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Queue(error) => error.into(),
            JobsError::Money(error) => error.into(),
        }
    }
}

impl From<JobRefusal> for Problem {
    fn from(refusal: JobRefusal) -> Self {
        if refusal.class() == RefusalClass::NotFound {
            return Self::new(Code::JobNotFound);
        }
        let detail = refusal.to_string();
        Self::new(Code::JobUnsuitable)
            .detail(format!("The job cannot undergo this: {detail}."))
            .errors(vec![FieldError {
                pointer: "job".to_owned(),
                code: refusal.code().to_owned(),
                detail,
            }])
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Args { source, .. } => unacceptable("args", &source.to_string()),
            EditError::TooLong(error) => unacceptable("args", &error.to_string()),
            EditError::Invalid(problem) => unacceptable("args", &problem.to_string()),
            EditError::Stale => Self::new(Code::PreconditionFailed),
            EditError::Jobs(error) => about_the_job(error),
        }
    }
}

impl From<EnqueueError> for Problem {
    fn from(error: EnqueueError) -> Self {
        let field = match &error {
            EnqueueError::UnknownKind { .. } | EnqueueError::FollowUpOnly { .. } => "kind",
            EnqueueError::Args { .. }
            | EnqueueError::TooLong(_)
            | EnqueueError::Sealed(_)
            | EnqueueError::SealedElsewhere { .. } => "args",
            EnqueueError::Priority => "priority",
            EnqueueError::MaxAttempts => "max_attempts",
            EnqueueError::Invalid(_) | EnqueueError::Jobs(_) => "",
        };
        match error {
            EnqueueError::Jobs(error) => about_the_job(error),
            EnqueueError::Args { kind, source } => {
                unacceptable(field, &format!("arguments of kind {kind} cannot be these: {source}"))
            }
            other => unacceptable(field, &other.to_string()),
        }
    }
}

/// JSON that PostgreSQL does not take, or a name that no queue can have, is the caller's mistake.
fn about_the_job(error: JobsError) -> Problem {
    match &error {
        JobsError::Queue(QueueError::Database(source)) if is_about_the_data(source) => {
            let refusal = source.as_database_error().map(|it| it.message()).unwrap_or_default();
            unacceptable("", &format!("the database does not take it: {refusal}"))
        }
        _ => error.into(),
    }
}

fn unacceptable(field: &str, detail: &str) -> Problem {
    // The detail may repeat what was sent, and of a problem's own detail there is a log.
    Problem::new(Code::UnacceptableValues).errors(vec![FieldError {
        pointer: if field.is_empty() { "#".to_owned() } else { format!("#/{field}") },
        code: "unacceptable".to_owned(),
        detail: detail.to_owned(),
    }])
}
