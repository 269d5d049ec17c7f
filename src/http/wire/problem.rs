//! Problems: the answers to refused requests, RFC 9457 `application/problem+json`, for all routes
//! and for poem's own errors alike.
//!
//! [`Code`] says what is wrong. An operation raises a [`Problem`] by `?`; [`Problems`], which is
//! outside of all operations, turns whatever was raised into the one body. Nothing of our insides
//! is in it: causes go to the log.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use poem::error::{MethodNotAllowedError, ResponseError};
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, PathPattern, Request, Response};
use poem_openapi::Object;
use poem_openapi::error::{ParseParamError, ParsePathError};
use serde::Serialize;

pub use super::codes::Code;
use super::parameter_reason::{Choices, parameter_reason};
use super::request_id::RequestId;
use super::shown_path::shown_path;

/// The media type of every refusal.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Asked of clients after a 503, in seconds: a restart of the database takes about that long.
pub const RETRY_AFTER_SECS: u32 = 2;

/// One field that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Object)]
pub struct FieldError {
    /// The place: a JSON pointer into the body (`#/amount`), or the query parameter (`?limit`).
    pub pointer: String,
    /// The stable name of the error.
    pub code: String,
    /// The error in one sentence.
    pub detail: String,
}

/// A refusal on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_secs: Option<u32>,
    /// Headers that say what would have been right.
    hints: Vec<(HeaderName, &'static str)>,
    /// The error inside, for the log only.
    cause: Option<Arc<anyhow::Error>>,
}

impl Problem {
    /// A refusal with the catalogue's own words.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.meaning()),
            errors: Vec::new(),
            retry_after_secs: code.retry_after_secs(),
            hints: Vec::new(),
            cause: None,
        }
    }

    /// Sets the sentence about this very request. Goes to the client.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Lists the fields that are wrong.
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Sets the seconds after which the same request may be sent again.
    pub fn retry_after(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    /// Adds a header that says what would have been right, in place of the code's own.
    pub fn hint(mut self, name: HeaderName, value: &'static str) -> Self {
        self.hints.push((name, value));
        self
    }

    /// Keeps what happened inside, for the log.
    pub fn cause(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(Arc::new(cause.into()));
        self
    }

    /// The code of the problem.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence about this very request.
    pub fn sentence(&self) -> &str {
        &self.detail
    }

    /// The error inside, for the log; the sentence where there is none.
    pub fn inside(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.detail.to_string(), |cause| format!("{cause:#}"))
    }

    /// The fields that are wrong; none where the problem is not about fields.
    pub fn wrong_fields(&self) -> &[FieldError] {
        &self.errors
    }

    /// The seconds after which the same request may be sent again, if waiting helps.
    pub fn wait_secs(&self) -> Option<u32> {
        self.retry_after_secs
    }

    /// The body, which names `path` as the instance.
    pub fn body(&self, path: &str) -> Vec<u8> {
        let body = ProblemBody {
            kind: self.code.uri(),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone().into_owned(),
            instance: path.to_owned(),
            code: self.code.as_str().to_owned(),
            message: self.code.message().to_owned(),
            request_id: RequestId::current().map(|id| id.as_str().to_owned()),
            errors: (!self.errors.is_empty()).then(|| self.errors.clone()),
        };
        serde_json::to_vec(&body).expect("strings and numbers always serialise")
    }

    /// The response, whose body names `path` as the instance.
    pub fn response(&self, path: &str) -> Response {
        let mut response = Response::builder()
            .status(self.code.status_code())
            .content_type(MEDIA_TYPE)
            .header(header::CACHE_CONTROL, "no-store");
        if let Some(seconds) = self.retry_after_secs {
            response = response.header(header::RETRY_AFTER, seconds);
        }
        let challenge = self.code.authentication_scheme().map(|it| (header::WWW_AUTHENTICATE, it));
        let is_own = |(name, _): &(HeaderName, _)| self.hints.iter().all(|hint| hint.0 != *name);
        for (name, value) in challenge.into_iter().filter(is_own).chain(self.hints.clone()) {
            response = response.header(name, value);
        }
        if self.code == Code::RequestTimeout {
            response = response.header(header::CONNECTION, "close");
        }
        response.body(self.body(path))
    }

    /// Translates an error of poem's.
    pub fn of(error: &poem::Error, choices: fn() -> &'static Choices) -> Self {
        if let Some(problem) = error.downcast_ref::<Problem>() {
            return problem.clone();
        }
        if let Some(bad) = error.downcast_ref::<ParseParamError>() {
            return Self::parameter(bad.name, &parameter_reason(&bad.reason, choices()));
        }
        if error.is::<ParsePathError>() {
            return Self::new(Code::InvalidParameter).detail("The path is not well-formed.");
        }
        match error.status().as_u16() {
            404 => Self::new(Code::NotFound),
            405 => Self::new(Code::MethodNotAllowed),
            408 => Self::new(Code::RequestTimeout),
            413 => Self::new(Code::BodyTooLarge),
            415 => Self::new(Code::UnsupportedMediaType),
            status if status < 500 => Self::new(Code::BadRequest),
            _ => Self::new(Code::InternalError).cause(anyhow::anyhow!("{error:?}")),
        }
    }

    /// A query parameter that is wrong, for this reason.
    pub fn parameter(name: &str, reason: &str) -> Self {
        Self::new(Code::InvalidParameter)
            .detail(format!("The parameter '{name}' is not valid."))
            .errors(vec![FieldError {
                pointer: format!("?{name}"),
                code: "invalid".to_owned(),
                detail: reason.to_owned(),
            }])
    }

    /// Writes it to the log, with its cause.
    pub fn log(&self, path: &str) {
        let path = &*shown_path(path);
        let code = self.code.as_str();
        match &self.cause {
            Some(cause) if self.code.status() == 503 => {
                tracing::warn!(code, path, "request refused, {code}: {cause:#}");
            }
            Some(cause) => tracing::error!(code, path, "request failed, {code}: {cause:#}"),
            None => tracing::debug!(code, path, "request refused, {code}: {}", self.detail),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.code.status_code()
    }

    fn as_response(&self) -> Response {
        self.response("")
    }
}

/// Tells database errors about the data, as opposed to a database that is away, overloaded or about
/// to stop, by the class of the SQLSTATE (data exception, integrity violation, raised by a
/// function). Such data should have been refused before: it is a mistake of ours.
pub fn is_about_the_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|it| it.code());
    code.is_some_and(|code| ["22", "23", "P0"].iter().any(|class| code.starts_with(class)))
}

/// An error that is answered the same way by every route (RFC 9457).
#[derive(Clone, Debug, Serialize, Object)]
#[oai(rename = "Problem")]
pub struct ProblemBody {
    /// A URI that names the kind of problem: `urn:surety:problem:` and the code.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: String,
    /// The problem in a few words, the same at every occurrence.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The problem in this very request, in one or two sentences.
    detail: String,
    /// The path of the request.
    instance: String,
    /// The stable name of the problem, for programs.
    code: String,
    /// One sentence for people.
    message: String,
    /// The id of the request, as in `X-Request-Id`: what to quote to support.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Every field that is wrong; absent where the problem is not about fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldError>>,
}

/// The catch-all: answers whatever the inner endpoint raises, or panics with, as a [`Problem`].
pub struct Problems<E> {
    inner: E,
    /// The methods of each path, by path pattern, for `Allow`.
    allow: HashMap<String, HeaderValue>,
    /// Tells the values that parameters may have.
    choices: fn() -> &'static Choices,
    on_refusal: OnRefusal,
}

/// Called with the path and the code of each refusal.
pub type OnRefusal = Box<dyn Fn(&str, Code) + Send + Sync>;

impl<E> Problems<E> {
    /// `allow` holds, by poem's path pattern, the value of the `Allow` header; `choices` tells the
    /// values that a parameter may have where it has another one.
    pub fn new(
        inner: E,
        (allow, choices): (HashMap<String, HeaderValue>, fn() -> &'static Choices),
        on_refusal: OnRefusal,
    ) -> Self {
        Self { inner, allow, choices, on_refusal }
    }

    fn answer(&self, error: poem::Error, path: &str) -> Response {
        let problem = Problem::of(&error, self.choices);
        problem.log(path);
        (self.on_refusal)(path, problem.code);
        let mut response = problem.response(path);
        if error.is::<MethodNotAllowedError>() {
            let allow = error.data::<PathPattern>().and_then(|it| self.allow.get(&*it.0));
            let allow = allow.cloned().unwrap_or(HeaderValue::from_static("GET, HEAD"));
            response.headers_mut().insert(header::ALLOW, allow);
        }
        // What poem attached, such as the path's pattern and the operation's id, is what traces are
        // named by.
        *response.extensions_mut() = std::mem::take(error.into_response().extensions_mut());
        response
    }
}

impl<E: Endpoint> Endpoint for Problems<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let uri = request.uri().clone();
        match AssertUnwindSafe(self.inner.call(request)).catch_unwind().await {
            Ok(Ok(output)) => Ok(output.into_response()),
            Ok(Err(error)) => Ok(self.answer(error, uri.path())),
            // The panic's own message and place went to the log through the panic hook.
            Err(_) => {
                let problem = Problem::new(Code::InternalError)
                    .cause(anyhow::anyhow!("the handler panicked"));
                problem.log(uri.path());
                Ok(problem.response(uri.path()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use poem::endpoint;

    use super::*;

    fn no_choices() -> &'static Choices {
        static NONE: LazyLock<Choices> = LazyLock::new(Choices::new);
        &NONE
    }

    async fn answer_of(inner: impl Endpoint) -> (StatusCode, serde_json::Value) {
        let problems = Problems::new(inner, (HashMap::new(), no_choices), Box::new(|_, _| {}));
        let request = Request::builder().uri_str("/somewhere?a=b").finish();
        let response = problems.call(request).await.expect("it answers everything");
        let status = response.status();
        let body = response.into_body().into_bytes().await.expect("it is in memory");
        (status, serde_json::from_slice(&body).expect("a problem is JSON"))
    }

    #[tokio::test]
    async fn a_panic_is_answered_500_without_a_word_of_it() {
        let panicking = endpoint::make(|_| async {
            assert_eq!(1, 2, "the inside");
        });
        let (status, body) = answer_of(panicking).await;

        assert_eq!((status.as_u16(), &body["code"]), (500, &"internal-error".into()));
        assert!(!body.to_string().contains("inside"), "{body}");
    }

    #[tokio::test]
    async fn an_error_that_nobody_foresaw_is_answered_500_without_a_word_of_it() {
        let failing = endpoint::make(|_| async {
            Err::<(), _>(poem::error::InternalServerError(std::io::Error::other("the inside")))
        });
        let (status, body) = answer_of(failing).await;

        assert_eq!((status.as_u16(), &body["code"]), (500, &"internal-error".into()));
        assert!(!body.to_string().contains("inside"), "{body}");
    }

    #[tokio::test]
    async fn the_instance_is_the_path_without_the_query() {
        let refusing = endpoint::make(|_| async {
            Err::<(), poem::Error>(Problem::new(Code::NotFound).into())
        });
        let (_, body) = answer_of(refusing).await;

        assert_eq!(body["instance"], "/somewhere");
    }

    #[test]
    fn codes_are_unique_and_missing_fields_keep_their_words() {
        let codes: std::collections::HashSet<&str> =
            Code::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        assert_eq!(Code::MissingFields.message(), "Missing required fields");
    }
}
