//! The refusals of an operation, as a type: what the code raises and what the document says stand
//! in one place.

use std::marker::PhantomData;

use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;

use super::problem::{Code, MEDIA_TYPE, Problem, ProblemBody};

/// The codes that one operation can answer, besides [`Code::InternalError`], which any can.
pub trait Refusals: Send + Sync + 'static {
    /// The codes, in order of their status.
    const CODES: &'static [Code];
}

/// The error side of an operation's result: a [`Problem`] whose code is one of `R`'s.
#[derive(Debug)]
pub struct Refused<R> {
    problem: Problem,
    operation: PhantomData<R>,
}

impl<R: Refusals> From<Problem> for Refused<R> {
    fn from(problem: Problem) -> Self {
        debug_assert!(
            problem.code() == Code::InternalError || R::CODES.contains(&problem.code()),
            "{} is not documented for this operation",
            problem.code().as_str()
        );
        Self { problem, operation: PhantomData }
    }
}

impl<R: Refusals> From<Refused<R>> for poem::Error {
    fn from(refused: Refused<R>) -> Self {
        refused.problem.into()
    }
}

impl<R: Refusals> ApiResponse for Refused<R> {
    fn meta() -> MetaResponses {
        let mut responses: Vec<MetaResponse> = Vec::new();
        for status in statuses(R::CODES) {
            responses.push(MetaResponse {
                description: description(R::CODES, status).leak(),
                status: Some(status),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: MEDIA_TYPE,
                    schema: ProblemBody::schema_ref(),
                }],
                headers: headers(status),
            });
        }
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

/// The codes with this status, of these and [`Code::InternalError`].
fn with_status(codes: &'static [Code], status: u16) -> impl Iterator<Item = Code> {
    let all = codes.iter().copied().chain([Code::InternalError]);
    all.filter(move |code| code.status() == status)
}

fn statuses(codes: &'static [Code]) -> Vec<u16> {
    let all = codes.iter().copied().chain([Code::InternalError]);
    let mut statuses: Vec<u16> = all.map(Code::status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// `code`: meaning. The document's finishing touch finds the codes again by their backticks, to add
/// an example each.
fn description(codes: &'static [Code], status: u16) -> String {
    let lines: Vec<String> = with_status(codes, status)
        .map(|code| format!("`{}`: {}", code.as_str(), code.meaning()))
        .collect();
    lines.join("\n\n")
}

fn headers(status: u16) -> Vec<MetaHeader> {
    let header = |name: &str, description: &str, ty| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new(ty))),
    };
    match status {
        401 => {
            vec![header("WWW-Authenticate", "How requests are to show who sends them.", "string")]
        }
        429 | 503 => {
            vec![header("Retry-After", "Seconds to wait before sending again.", "integer")]
        }
        _ => Vec::new(),
    }
}
