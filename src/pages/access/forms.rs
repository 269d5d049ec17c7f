//! Forms that are sent to us are ours: another site could make a browser send one, too, with the
//! visitor's cookies.
//!
//! Three things stand against that, each enough by itself: our cookies do not come along with what
//! another site causes, browsers say where a request is from, and each form carries a token that
//! only a page of ours could have been given. The token proves that whoever made the form knows the
//! secret in a cookie; it is another one on each page, so that it cannot be guessed from the length
//! of compressed pages.

use poem::http::uri::Authority;
use poem::http::{HeaderMap, Uri, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::http::wire::problem::{Code, Problem};
use crate::pages::visit::{Pairs, cookies};

/// The field of the token.
pub(in crate::pages) const TOKEN: &str = "token";

/// The bytes of a secret, of its hash, and of each half of a token.
const BYTES: usize = 32;

/// The secret by which a browser's forms are known.
pub(in crate::pages) struct Forms {
    secret: [u8; BYTES],
    is_new: bool,
}

impl Forms {
    /// The secret that the browser has, or a new one for it.
    pub(in crate::pages) fn of(headers: &HeaderMap) -> Self {
        let known = cookies::find(headers, cookies::FORMS);
        let known = known.and_then(|text| hex::decode(text).ok()?.try_into().ok());
        match known {
            Some(secret) => Self { secret, is_new: false },
            None => Self { secret: random(), is_new: true },
        }
    }

    /// The value of the cookie, if the browser has none yet.
    pub(in crate::pages) fn new_cookie(&self) -> Option<String> {
        self.is_new.then(|| hex::encode(self.secret))
    }

    /// A token for the forms of a page.
    pub(in crate::pages) fn token(&self) -> String {
        let pad = random();
        format!("{}{}", hex::encode(pad), hex::encode(xor(pad, self.proof())))
    }

    /// Passes forms of our own.
    ///
    /// # Errors
    ///
    /// [`Code::OriginNotAllowed`].
    pub(in crate::pages) fn require_own(
        &self,
        headers: &HeaderMap,
        form: &Pairs,
    ) -> Result<(), Problem> {
        let is_own = is_from_here(headers) && !self.is_new && self.is_proven(form);
        is_own.then_some(()).ok_or_else(|| {
            Problem::new(Code::OriginNotAllowed).detail(
                "The form is not one of a page that this browser was given lately. Open the page \
                 again, and send it from there.",
            )
        })
    }

    fn proof(&self) -> [u8; BYTES] {
        Sha256::new().chain_update(b"surety forms").chain_update(self.secret).finalize().into()
    }

    fn is_proven(&self, form: &Pairs) -> bool {
        let token = form.one(TOKEN).and_then(|token| hex::decode(token).ok()).unwrap_or_default();
        let halves = token.split_first_chunk::<BYTES>();
        let proof = halves.and_then(|(pad, rest)| Some(xor(*pad, rest.try_into().ok()?)));
        proof.is_some_and(|proof| proof.ct_eq(&self.proof()).into())
    }
}

/// Browsers that do not say which site a request is from do say its origin.
fn is_from_here(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = |text: &str| text.parse::<Authority>().ok();
    let origin = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    let origin = origin.and_then(|uri| uri.into_parts().authority);
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).and_then(authority);
    origin.is_some() && origin == host
}

fn xor(mut one: [u8; BYTES], other: [u8; BYTES]) -> [u8; BYTES] {
    one.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
    one
}

fn random() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the system's random numbers never run out");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&str, &str)| {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        pairs.iter().map(header).collect::<HeaderMap<_>>()
    }

    fn form(token: &str) -> Pairs {
        Pairs::default().with(TOKEN, token)
    }

    #[test]
    fn a_form_of_the_browser_s_own_pages_passes_and_no_other() {
        let new = Forms::of(&HeaderMap::new());
        let cookie = format!("surety_forms={}", new.new_cookie().expect("it is new"));
        let here = headers(&[("cookie", &cookie), ("sec-fetch-site", "same-origin")]);
        let forms = Forms::of(&here);
        assert!(forms.new_cookie().is_none());
        let tokens = [forms.token(), forms.token()];
        assert_ne!(tokens[0], tokens[1]);
        for token in &tokens {
            assert!(forms.require_own(&here, &form(token)).is_ok());
        }
        let others = Forms::of(&HeaderMap::new()).token();
        for token in ["", "00", &"0".repeat(128), &others, &tokens[0][..126]] {
            assert!(forms.require_own(&here, &form(token)).is_err(), "{token}");
        }
        // Without the cookie there is nothing to prove.
        assert!(new.require_own(&HeaderMap::new(), &form(&new.token())).is_err());
    }

    #[test]
    fn what_another_site_sends_is_refused_whatever_it_carries() {
        for (name, value, passes) in [
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "none", false),
            ("origin", "http://localhost:8000", true),
            ("origin", "http://localhost:3000", false),
            ("origin", "https://evil.example", false),
            ("origin", "null", false),
        ] {
            let headers = headers(&[("host", "localhost:8000"), (name, value)]);
            assert_eq!(is_from_here(&headers), passes, "{name}: {value}");
        }
        assert!(is_from_here(&headers(&[("host", "localhost:8000")])));
    }
}
