//! Refusals: a problem as a page, which says what is wrong, why, and what to do next.

use askama::Template;
use poem::Response;
use poem::http::{HeaderMap, StatusCode, header};

use super::access::forms::Forms;
use super::frame::Frame;
use super::visit::answer::page_response;
use crate::http::wire::problem::{Code, FieldError, Problem, is_about_the_data};
use crate::http::wire::request_id::RequestId;
use crate::operations::activity::ActivityError;
use crate::operations::bulk::BulkError;
use crate::operations::jobs::JobsError;
use crate::operations::queues::QueuesError;
use crate::operations::schedules::SchedulesError;
use crate::queue::QueueError;

/// The reason why a visit was not answered as it was asked.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        match is_about_the_data(&error) {
            // Names and texts go to the database as they were typed, and it says what it takes.
            true => Problem::new(Code::UnacceptableValues).into(),
            false => Self(error.into()),
        }
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Database(source) => source.into(),
            QueueError::Settings(words) => {
                let words = format!("These settings cannot work: {words}.");
                Problem::new(Code::UnacceptableValues).detail(words).into()
            }
            lost @ QueueError::CommitLost => Problem::new(Code::Unavailable).cause(lost).into(),
            other => Problem::new(Code::InternalError).cause(other).into(),
        }
    }
}

impl From<JobsError> for Refusal {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Queue(error) => error.into(),
            JobsError::Money(error) => Self(error.into()),
        }
    }
}

impl From<BulkError> for Refusal {
    fn from(error: BulkError) -> Self {
        let refused = match error {
            BulkError::Failed(error) => return error.into(),
            BulkError::NotFound => return not_found("such operation"),
            BulkError::NothingEligible(_) => "No job would be changed".to_owned(),
            other => other.to_string(),
        };
        Problem::new(Code::UnacceptableValues)
            .detail(format!("Nothing was done: {refused}."))
            .into()
    }
}

impl From<ActivityError> for Refusal {
    fn from(error: ActivityError) -> Self {
        match error {
            ActivityError::Queue(error) => error.into(),
            ActivityError::Database(error) => error.into(),
        }
    }
}

impl From<QueuesError> for Refusal {
    fn from(error: QueuesError) -> Self {
        match error {
            QueuesError::Queue(error) => error.into(),
            QueuesError::TwoPeriods(..) | QueuesError::Stale => {
                Problem::new(Code::UnacceptableValues).detail(format!("{error}.")).into()
            }
        }
    }
}

impl From<SchedulesError> for Refusal {
    fn from(error: SchedulesError) -> Self {
        match error {
            SchedulesError::Queue(error) => error.into(),
            SchedulesError::NotFound => Problem::new(Code::NotFound).into(),
            SchedulesError::NameTaken
            | SchedulesError::AlreadyPaused(_)
            | SchedulesError::NotPaused => Problem::new(Code::UnacceptableValues)
                .detail(format!("Nothing was done: {error}."))
                .into(),
        }
    }
}

/// A refusal that is about something with a name.
pub(super) fn not_found(what: &str) -> Refusal {
    Problem::new(Code::NotFound).detail(format!("There is no {what}.")).into()
}

#[derive(Template)]
#[template(path = "refusal.html", config = "src/pages/askama.toml")]
struct RefusalPage<'a> {
    frame: Frame,
    title: &'static str,
    sentence: &'a str,
    fields: &'a [FieldError],
    next_step: &'static str,
    code: &'static str,
    status: u16,
    request_id: String,
}

/// The page of a refusal, within the frame of the page that was asked for.
pub(super) fn page(Refusal(problem): Refusal, frame: Frame, headers: &HeaderMap) -> Response {
    problem.log(&frame.here);
    let code = problem.code();
    let page = RefusalPage {
        frame: Frame { title: code.title().to_owned(), ..frame },
        title: code.title(),
        sentence: problem.sentence(),
        fields: problem.wrong_fields(),
        next_step: next_step(code),
        code: code.as_str(),
        status: code.status(),
        request_id: RequestId::current().map(|id| id.to_string()).unwrap_or_default(),
    };
    // The template knows nothing that could fail; if it does, the words are there all the same.
    let html = page.render().unwrap_or_else(|_| code.title().to_owned());
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(status);
    if let Some(secs) = problem.wait_secs() {
        response = response.header(header::RETRY_AFTER, secs);
    }
    page_response(response, html, headers)
}

/// The page of a refusal for somebody who was not let in.
pub(super) fn bare(refusal: Refusal, headers: &HeaderMap) -> Response {
    let frame = Frame::bare("", headers, Forms::of(headers).token());
    page(refusal, frame, headers)
}

/// Words about what helps.
fn next_step(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "Sign in again, and repeat what you did: nothing has changed.",
        Code::Forbidden => "Ask an admin, who may do it or give you the role.",
        Code::OriginNotAllowed => "Open the page by its own address, and do it there.",
        Code::NotLocal => {
            "Open the pages as http://localhost or http://127.0.0.1 on the machine itself; to \
             reach them from elsewhere, run 'app serve' with a webhook secret and sign in."
        }
        Code::NotFound | Code::MethodNotAllowed => {
            "Check the address. What is long finished may have been deleted by retention."
        }
        Code::InvalidParameter | Code::InvalidCursor | Code::BadRequest => {
            "Go back and change the filter."
        }
        Code::RateLimited => "Wait a moment, then reload.",
        Code::Unavailable | Code::Overloaded => {
            "Reload in a few seconds. If it stays so, 'app doctor' says what is wrong."
        }
        Code::InternalError => "Reload. If it stays so, look for the request id in the log.",
        _ => "Go back, and change what was refused.",
    }
}
