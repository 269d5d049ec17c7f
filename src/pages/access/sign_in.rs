//! The page that asks who one is, and signing out.

use askama::Template;
use poem::http::{StatusCode, header};
use poem::{IntoResponse as _, Request, Response};

use super::forms::Forms;
use super::{Entry, Right, came_by_foreign_link};
use crate::http::edge::caller::{Caller, Principal};
use crate::http::edge::client_address::ClientAddress;
use crate::http::edge::rate_limits::LimitClass;
use crate::http::wire::problem::{Code, Problem};
use crate::identity::api_keys::ApiKeySecret;
use crate::identity::passwords::{MAX_CHARS, Password};
use crate::pages::frame::Frame;
use crate::pages::refusals::Refusal;
use crate::pages::site::Site;
use crate::pages::visit::answer::page_response;
use crate::pages::visit::cookies::{self, Lifetime};
use crate::pages::visit::receiving::read_form;
use crate::pages::visit::{Pairs, is_page};

/// Where one signs in.
pub(in crate::pages) const PATH: &str = "/ui/sign-in";

const NOT_FOR_USERS: &str =
    "You may not see these pages: they are for viewers, operators and admins.";

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/pages/askama.toml")]
struct SignInPage<'a> {
    frame: Frame,
    next: &'a str,
    email: &'a str,
    refusal: Option<String>,
}

/// A page that only leads on to itself: see [`came_by_foreign_link`].
#[derive(Template)]
#[template(path = "again.html", config = "src/pages/askama.toml")]
struct AgainPage<'a> {
    path: &'a str,
}

/// Leads a stranger to the sign-in, and from there to where he wanted to go.
pub(in crate::pages) fn lead_there(request: &Request) -> Result<Response, Refusal> {
    let here = request.uri().path_and_query().map_or("/ui", |it| it.as_str());
    if came_by_foreign_link(request.headers()) {
        let html = AgainPage { path: here }.render();
        let html = html.map_err(|error| Problem::new(Code::InternalError).cause(error))?;
        return Ok(page_response(Response::builder(), html, request.headers()));
    }
    let next = Pairs::default().with("next", here).url(PATH);
    Ok(StatusCode::SEE_OTHER.with_header(header::LOCATION, next).into_response())
}

/// The page, empty.
pub(in crate::pages) fn ask(site: &Site, request: Request) -> Result<Response, Refusal> {
    if site.entry == Entry::Open {
        return Ok(StatusCode::SEE_OTHER.with_header(header::LOCATION, "/ui").into_response());
    }
    let query = Pairs::parse(request.uri().query().unwrap_or_default())?;
    show(&request, StatusCode::OK, next_of(&query), "", None)
}

/// Signs in who proves who he is, and shows the page again to everybody else.
pub(in crate::pages) async fn sign_in(
    site: &Site,
    mut request: Request,
) -> Result<Response, Refusal> {
    let form = read_form(&mut request).await?;
    Forms::of(request.headers()).require_own(request.headers(), &form)?;
    let next = next_of(&form);
    match credential(site, &request, &form).await {
        Ok(credential) => {
            let is_https = cookies::is_https(request.headers());
            let set = cookies::set(cookies::SESSION, &credential, Lifetime::UntilClosed, is_https);
            Ok(StatusCode::SEE_OTHER
                .with_header(header::LOCATION, next)
                .with_header(header::SET_COOKIE, set)
                .into_response())
        }
        Err(problem) if is_of_the_visitor(problem.code()) => {
            let status = StatusCode::from_u16(problem.code().status()).unwrap_or_default();
            let email = form.one("email").unwrap_or_default();
            show(&request, status, next, email, Some(problem.sentence().to_owned()))
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Ends the session, if it is one, and forgets the credential.
pub(in crate::pages) async fn sign_out(
    site: &Site,
    mut request: Request,
) -> Result<Response, Refusal> {
    let form = read_form(&mut request).await?;
    Forms::of(request.headers()).require_own(request.headers(), &form)?;
    if let Ok(caller) = of_cookie(site, &request).await
        && let Principal::User { session, .. } = caller.principal
    {
        site.passwords.end(session).await?;
    }
    let is_https = cookies::is_https(request.headers());
    let forgotten = cookies::set(cookies::SESSION, "", Lifetime::Secs(0), is_https);
    Ok(StatusCode::SEE_OTHER
        .with_header(header::LOCATION, PATH)
        .with_header(header::SET_COOKIE, forgotten)
        .into_response())
}

async fn of_cookie(site: &Site, request: &Request) -> Result<Caller, Problem> {
    let credential = cookies::find(request.headers(), cookies::SESSION);
    let credential = credential.ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    Caller::of_credential(&site.sign_ins, credential, address_of(request)).await
}

/// The token of a new session, or the API key that was given, if it may see the pages.
async fn credential(site: &Site, request: &Request, form: &Pairs) -> Result<String, Problem> {
    let address = address_of(request);
    if let Some(key) = form.one("key") {
        site.rate_limits.admit(LimitClass::LoginByAddress, &address.subject()).await?;
        let wrong = || Problem::new(Code::InvalidCredentials).detail("No such API key holds.");
        let key = ApiKeySecret::parse(key).ok_or_else(wrong)?;
        let caller = match Caller::of_credential(&site.sign_ins, key.reveal(), address).await {
            Err(problem) if problem.code() == Code::Unauthenticated => return Err(wrong()),
            answer => answer?,
        };
        caller.require(Right::Read).map_err(|problem| problem.detail(NOT_FOR_USERS))?;
        return Ok(key.reveal().to_owned());
    }
    let wrong = || Problem::new(Code::InvalidCredentials);
    let email = form.one("email").and_then(|email| email.parse().ok()).ok_or_else(wrong)?;
    let password = form.as_typed("password").ok_or_else(wrong)?;
    let password = Password::attempt(password.chars().take(MAX_CHARS + 1).collect());
    let signed_in = site.passwords.start(&address, &email, password).await?;
    let caller = Caller::of_credential(&site.sign_ins, &signed_in.token, address).await?;
    if let Err(problem) = caller.require(Right::Read) {
        site.passwords.end(signed_in.session.id).await?;
        return Err(problem.detail(NOT_FOR_USERS));
    }
    Ok(signed_in.token)
}

fn address_of(request: &Request) -> ClientAddress {
    *request.data::<ClientAddress>().expect("the endpoint has one")
}

/// Told on the page itself, beside the fields.
fn is_of_the_visitor(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidCredentials | Code::Unauthenticated | Code::Forbidden | Code::RateLimited
    )
}

fn next_of(pairs: &Pairs) -> &str {
    pairs.one("next").filter(|path| is_page(path)).unwrap_or("/ui")
}

fn show(
    request: &Request,
    status: StatusCode,
    next: &str,
    email: &str,
    refusal: Option<String>,
) -> Result<Response, Refusal> {
    let forms = Forms::of(request.headers());
    let frame = Frame::bare("Sign in", request.headers(), forms.token());
    let html = SignInPage { frame, next, email, refusal }.render();
    let html = html.map_err(|error| Problem::new(Code::InternalError).cause(error))?;
    let mut response = Response::builder().status(status);
    if let Some(secret) = forms.new_cookie() {
        let is_https = cookies::is_https(request.headers());
        let set = cookies::set(cookies::FORMS, &secret, Lifetime::UntilClosed, is_https);
        response = response.header(header::SET_COOKIE, set);
    }
    Ok(page_response(response, html, request.headers()))
}
