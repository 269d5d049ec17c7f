//! The refusals of an operation, as a type: the codes that it raises and those that the document
//! names stand in one place.

use std::marker::PhantomData;

use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;

use super::problem::{Code, MEDIA_TYPE, Problem, ProblemBody};

/// The codes that one operation can answer.
pub trait Refusals: Send + Sync + 'static {
    /// The codes that come with being an operation; fewer for what is answered to anybody.
    const GENERAL: &'static [Code] = &[Code::NotLocal, Code::InternalError];
    /// The codes: those that come with what it takes, such as a caller or a body, and its own.
    const CODES: &'static [&'static [Code]];
}

/// The refusals of an operation that has none but the general ones.
#[derive(Debug)]
pub struct NoRefusals;

impl Refusals for NoRefusals {
    const CODES: &'static [&'static [Code]] = &[];
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
            codes::<R>().any(|code| code == problem.code()),
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
        for status in statuses::<R>() {
            responses.push(MetaResponse {
                description: description::<R>(status).leak(),
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

/// The general codes and those of the operation, in the order of the catalogue.
fn codes<R: Refusals>() -> impl Iterator<Item = Code> {
    let is_among = |code: &Code| R::CODES.iter().any(|group| group.contains(code));
    Code::ALL.iter().copied().filter(move |code| R::GENERAL.contains(code) || is_among(code))
}

fn statuses<R: Refusals>() -> Vec<u16> {
    let mut statuses: Vec<u16> = codes::<R>().map(Code::status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// `code`: meaning. The document's finishing touch finds the codes again by their backticks, to add
/// an example each.
fn description<R: Refusals>(status: u16) -> String {
    let lines: Vec<String> = codes::<R>()
        .filter(|code| code.status() == status)
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
