//! The cookies of the pages. None of them can be read by a script, and none comes with a request
//! that another site caused.

use poem::http::{HeaderMap, header};

/// The credential of whoever has signed in: the token of a session, or the secret of an API key.
pub(in crate::pages) const SESSION: &str = "surety_session";
/// The secret that forms prove to be ours by.
pub(in crate::pages) const FORMS: &str = "surety_forms";
/// The theme: light or dark; absent while the system decides.
pub(in crate::pages) const THEME: &str = "surety_theme";
/// A sentence about what was just done, shown once.
pub(in crate::pages) const NOTICE: &str = "surety_notice";
/// Is there for a while after an action: a standby may not have what it did yet.
pub(in crate::pages) const ACTED: &str = "surety_acted";

/// The lifetime of a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pages) enum Lifetime {
    /// Until the browser is closed.
    UntilClosed,
    /// A number of seconds; 0 deletes it.
    Secs(u32),
}

/// The value of a cookie that the browser sent.
pub(in crate::pages) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    cookies.find_map(|cookie| {
        let (found, value) = cookie.trim().split_once('=')?;
        (found == name && !value.is_empty()).then_some(value)
    })
}

/// The value of the header that sets a cookie. The value must need no quoting.
pub(in crate::pages) fn set(name: &str, value: &str, lifetime: Lifetime, is_https: bool) -> String {
    let max_age = match lifetime {
        Lifetime::UntilClosed => String::new(),
        Lifetime::Secs(secs) => format!("; Max-Age={secs}"),
    };
    let secure = if is_https { "; Secure" } else { "" };
    format!("{name}={value}; Path=/ui; HttpOnly; SameSite=Strict{max_age}{secure}")
}

/// Tells if the browser speaks HTTPS, to us or to a proxy. That is claimed and not proven; but
/// whoever claims it falsely only keeps his own cookies from coming back.
pub(in crate::pages) fn is_https(headers: &HeaderMap) -> bool {
    let starts = |name: &str, text: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.starts_with(text))
    };
    starts("x-forwarded-proto", "https") || starts("origin", "https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; surety_theme=dark".parse().expect("a header"));
        headers.append(header::COOKIE, "surety_notice=".parse().expect("a header"));
        assert_eq!(find(&headers, THEME), Some("dark"));
        assert_eq!(find(&headers, NOTICE), None);
        assert_eq!(find(&headers, "theme"), None);
    }

    #[test]
    fn a_cookie_is_for_the_pages_alone() {
        let cookie = set(SESSION, "x", Lifetime::UntilClosed, true);
        assert_eq!(cookie, "surety_session=x; Path=/ui; HttpOnly; SameSite=Strict; Secure");
        let cookie = set(SESSION, "x", Lifetime::Secs(0), false);
        assert_eq!(cookie, "surety_session=x; Path=/ui; HttpOnly; SameSite=Strict; Max-Age=0");
    }
}
