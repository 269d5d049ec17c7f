//! The choice of a theme, kept in a cookie: the page has the right one from the start, with a
//! script or without.

use poem::http::{StatusCode, header};
use poem::{IntoResponse as _, Request, Response};

use super::access::forms::Forms;
use super::refusals::Refusal;
use super::visit::cookies::{self, Lifetime};
use super::visit::is_page;
use super::visit::receiving::read_form;

const A_YEAR_SECS: u32 = 365 * 86_400;

/// Keeps the choice, and goes back to where it was made. Anybody may choose.
pub(super) async fn choose(mut request: Request) -> Result<Response, Refusal> {
    let form = read_form(&mut request).await?;
    Forms::of(request.headers()).require_own(request.headers(), &form)?;
    let is_https = cookies::is_https(request.headers());
    let (value, lifetime) = match form.one("theme") {
        Some("light") => ("light", Lifetime::Secs(A_YEAR_SECS)),
        Some("dark") => ("dark", Lifetime::Secs(A_YEAR_SECS)),
        _ => ("", Lifetime::Secs(0)),
    };
    let back = form.one("back").filter(|path| is_page(path)).unwrap_or("/ui");
    Ok(StatusCode::SEE_OTHER
        .with_header(header::LOCATION, back)
        .with_header(header::SET_COOKIE, cookies::set(cookies::THEME, value, lifetime, is_https))
        .into_response())
}
