//! The steps around each handler: let the visitor in, read what is asked, answer within a limit of
//! time, and make a page of a refusal.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use poem::http::{HeaderMap, StatusCode, header};
use poem::{Endpoint, Request, Response};
use tokio::time::timeout;

use super::cookies::{self, Lifetime};
use super::{Answer, Pairs, Reading, Visit};
use crate::http::wire::problem::{Code, Problem};
use crate::pages::access::forms::Forms;
use crate::pages::access::{Right, Visitor, sign_in};
use crate::pages::frame::Frame;
use crate::pages::refusals::{self, Refusal};
use crate::pages::site::Site;
use crate::pages::visit::answer::page_response;

/// A person has better things to do than to wait, and the page something better to say.
const WITHIN: Duration = Duration::from_secs(8);
/// The time for which a notice waits to be shown.
const NOTICE_SECS: u32 = 60;
/// The most characters of a notice: a cookie has at most 4 kB.
const MAX_NOTICE_CHARS: usize = 300;

/// A page: shown to whoever has the right.
pub(in crate::pages) fn page<H, A>(
    site: &Arc<Site>,
    right: Right,
    handler: H,
) -> impl Endpoint<Output = Response> + use<H, A>
where
    H: Fn(Arc<Visit>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Answer, Refusal>> + Send + 'static,
{
    Receiver { site: Arc::clone(site), right, is_action: false, handler }
}

/// An action: done for whoever has the right and sends one of our forms.
pub(in crate::pages) fn action<H, A>(
    site: &Arc<Site>,
    right: Right,
    handler: H,
) -> impl Endpoint<Output = Response> + use<H, A>
where
    H: Fn(Arc<Visit>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Answer, Refusal>> + Send + 'static,
{
    Receiver { site: Arc::clone(site), right, is_action: true, handler }
}

struct Receiver<H> {
    site: Arc<Site>,
    right: Right,
    is_action: bool,
    handler: H,
}

impl<H, A> Endpoint for Receiver<H>
where
    H: Fn(Arc<Visit>) -> A + Send + Sync,
    A: Future<Output = Result<Answer, Refusal>> + Send,
{
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let forms = Forms::of(request.headers());
        let visit = match self.receive(&mut request, &forms).await {
            Ok(visit) => Arc::new(visit),
            Err(refusal) => return Ok(self.turn_away(&request, refusal)),
        };
        let (begun, may_be_behind) = (Instant::now(), visit.may_be_behind());
        let limit = if may_be_behind { WITHIN / 2 } else { WITHIN };
        let mut answer = self.answer(&visit, limit).await;
        if let Err(Refusal(problem)) = &answer
            && may_be_behind
            && (visit.age().is_some() || problem.code() == Code::Unavailable)
        {
            // It may give up a read that is in the way of what it replays, or not have it yet.
            if visit.age().is_some() {
                visit.site.reads.failed_at_replica(problem);
            }
            visit.read_primary();
            answer = self.answer(&visit, WITHIN.saturating_sub(begun.elapsed())).await;
        }
        Ok(respond(&visit, &forms, answer))
    }
}

impl<H> Receiver<H> {
    async fn answer<A>(&self, visit: &Arc<Visit>, limit: Duration) -> Result<Answer, Refusal>
    where
        H: Fn(Arc<Visit>) -> A,
        A: Future<Output = Result<Answer, Refusal>>,
    {
        let late = |_| Err(Problem::new(Code::Unavailable).into());
        timeout(limit, (self.handler)(Arc::clone(visit))).await.unwrap_or_else(late)
    }

    async fn receive(&self, request: &mut Request, forms: &Forms) -> Result<Visit, Refusal> {
        let visitor = Visitor::admit(&self.site, request).await?;
        let query = Pairs::parse(request.uri().query().unwrap_or_default())?;
        let form = match self.is_action {
            true => read_form(request).await?,
            false => Pairs::default(),
        };
        if self.is_action {
            forms.require_own(request.headers(), &form)?;
        }
        visitor.require(self.right)?;
        let pulse = self.site.pulses.read(&self.site.pool).await;
        let name = match &pulse {
            Some(_) => visitor.name(&mut *self.site.pool.acquire().await?).await?,
            None => String::new(),
        };
        let path = request.uri().path();
        let acted = self.is_action || cookies::find(request.headers(), cookies::ACTED).is_some();
        let reading = if acted { Reading::Primary } else { Reading::Either };
        Ok(Visit {
            site: Arc::clone(&self.site),
            visitor,
            name,
            query,
            form,
            path: path.strip_suffix('/').unwrap_or(path).to_owned(),
            parameters: parameters(request),
            headers: request.headers().clone(),
            forms_token: forms.token(),
            pulse,
            reading: Mutex::new(reading),
        })
    }

    /// A stranger is led to the sign-in, unless he sent a form, which would be lost on the way.
    fn turn_away(&self, request: &Request, Refusal(problem): Refusal) -> Response {
        if problem.code() == Code::Unauthenticated && !self.is_action {
            return sign_in::lead_there(request)
                .unwrap_or_else(|refusal| refusals::bare(refusal, request.headers()));
        }
        refusals::bare(problem.into(), request.headers())
    }
}

/// The names of the parameters that paths have.
const PARAMETERS: [&str; 2] = ["id", "name"];

fn parameters(request: &Request) -> Vec<(&'static str, String)> {
    let find = |name| {
        let value = percent_encoding::percent_decode_str(request.raw_path_param(name)?);
        Some((name, value.decode_utf8_lossy().replace('\0', "\u{fffd}")))
    };
    PARAMETERS.into_iter().filter_map(find).collect()
}

/// The fields of a form that was sent as browsers send it.
///
/// # Errors
///
/// [`Code::UnsupportedMediaType`], [`Code::BadRequest`].
pub(in crate::pages) async fn read_form(request: &mut Request) -> Result<Pairs, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::new(Code::UnsupportedMediaType).detail("This takes a form."));
    }
    let unreadable = || Problem::new(Code::BadRequest);
    let body = request.take_body().into_bytes().await.map_err(|_| unreadable())?;
    Pairs::parse(std::str::from_utf8(&body).map_err(|_| unreadable())?)
}

fn respond(visit: &Visit, forms: &Forms, answer: Result<Answer, Refusal>) -> Response {
    let is_https = cookies::is_https(&visit.headers);
    let cookie = |name, value: &str, lifetime| cookies::set(name, value, lifetime, is_https);
    match answer {
        Ok(Answer::Page { status, html }) => {
            let mut response = Response::builder().status(status);
            if let Some(secret) = forms.new_cookie() {
                let set = cookie(cookies::FORMS, &secret, Lifetime::UntilClosed);
                response = response.header(header::SET_COOKIE, set);
            }
            if cookies::find(&visit.headers, cookies::NOTICE).is_some() {
                let shown = cookie(cookies::NOTICE, "", Lifetime::Secs(0));
                response = response.header(header::SET_COOKIE, shown);
            }
            page_response(response, html, &visit.headers)
        }
        Ok(Answer::Elsewhere { path, notice }) => {
            let mut response =
                Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, path);
            if let Some(notice) = notice {
                let notice: String = notice.chars().take(MAX_NOTICE_CHARS).collect();
                let notice = super::segment(&notice);
                let set = cookie(cookies::NOTICE, &notice, Lifetime::Secs(NOTICE_SECS));
                response = response.header(header::SET_COOKIE, set);
            }
            if let Some(behind) = visit.site.reads.caught_up_after() {
                let secs = u32::try_from(behind.as_secs()).unwrap_or(u32::MAX);
                let set = cookie(cookies::ACTED, "1", Lifetime::Secs(secs.saturating_add(1)));
                response = response.header(header::SET_COOKIE, set);
            }
            response.finish()
        }
        Ok(Answer::File(response)) => response,
        Err(refusal) => refusals::page(refusal, visit.frame("Refused"), &visit.headers),
    }
}

/// A notice that the browser brings back.
pub(in crate::pages) fn notice(headers: &HeaderMap) -> Option<String> {
    let encoded = cookies::find(headers, cookies::NOTICE)?;
    let text = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
    Some(text.chars().take(MAX_NOTICE_CHARS).collect())
}

impl Visit {
    /// The frame around a page, which has the links, the visitor and the theme.
    pub(in crate::pages) fn frame(&self, title: impl Into<String>) -> Frame {
        Frame {
            title: title.into(),
            place: crate::pages::navigation::place_of(&self.path),
            here: self.query.url(&self.path),
            visitor: Some((self.name.clone(), self.visitor.clone())),
            notice: notice(&self.headers),
            pulse: self.pulse.clone(),
            age: self.age(),
            ..Frame::bare("", &self.headers, self.forms_token.clone())
        }
    }
}
