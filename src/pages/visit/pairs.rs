//! Names and values of a query or a form, in their order.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

use crate::http::wire::problem::{Code, Problem};

/// The most pairs of one query or form.
const MAX_PAIRS: usize = 300;

/// Names and values, in their order. A name may stand there several times.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::pages) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Reads a query, or the body of a form. Empty values are left out: fields that nobody filled.
    ///
    /// # Errors
    ///
    /// [`Code::BadRequest`] for too many, and for a NUL, which the database would not take.
    pub(in crate::pages) fn parse(text: &str) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if pairs.len() == MAX_PAIRS || name.contains('\0') || value.contains('\0') {
                return Err(Problem::new(Code::BadRequest));
            }
            if !value.trim().is_empty() {
                pairs.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(Self(pairs))
    }

    /// Passes if all names are among these: a misspelt filter must not widen a list.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidParameter`].
    pub(in crate::pages) fn only(&self, known: &[&str]) -> Result<&Self, Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(Problem::parameter(&name, "There is no such parameter."))
            }
        }
    }

    /// The first value of this name, without the space around it.
    pub(in crate::pages) fn one(&self, name: &str) -> Option<&str> {
        self.as_typed(name).map(str::trim)
    }

    /// The same as it was typed: space may be part of a password.
    pub(in crate::pages) fn as_typed(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|pair| pair.0 == name).map(|(_, value)| value.as_str())
    }

    /// Each value of this name, without the space around it.
    pub(in crate::pages) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |pair| pair.0 == name).map(|(_, value)| value.trim())
    }

    /// Each pair.
    pub(in crate::pages) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.trim()))
    }

    /// The first value of this name as something else.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidParameter`].
    pub(in crate::pages) fn parsed<T: std::str::FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let parse = |value: &str| value.parse().map_err(|_| Problem::parameter(name, expected));
        self.one(name).map(parse).transpose()
    }

    /// The same with one pair more, at the end.
    pub(in crate::pages) fn with(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.0.push((name.to_owned(), value.to_owned()));
        more
    }

    /// The same without this pair.
    pub(in crate::pages) fn without(&self, name: &str, value: &str) -> Self {
        let is_other = |pair: &&(String, String)| (&*pair.0, pair.1.trim()) != (name, value);
        Self(self.0.iter().filter(is_other).cloned().collect())
    }

    /// The same without this name.
    pub(in crate::pages) fn without_all(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|pair| pair.0 != name).cloned().collect())
    }

    /// The path with this query.
    pub(in crate::pages) fn url(&self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish();
        format!("{path}?{query}")
    }
}

/// Characters with a meaning in a path, and all that might have one.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A segment of a path, with everything escaped that has a meaning there.
pub(in crate::pages) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Pairs {
        Pairs::parse(text).expect("the tests know queries")
    }

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let query = pairs("state=retryable&state=discarded&error=a+b%26c&key=");
        assert_eq!(query.all("state").collect::<Vec<_>>(), ["retryable", "discarded"]);
        assert_eq!((query.one("error"), query.one("key")), (Some("a b&c"), None));
        let url = "/ui/jobs?state=retryable&state=discarded&error=a+b%26c";
        assert_eq!(query.url("/ui/jobs"), url);
        let fewer = query.without("state", "retryable").without_all("error");
        assert_eq!(fewer.url("/x"), "/x?state=discarded");
        assert_eq!(Pairs::default().with("a", "é").url("/x"), "/x?a=%C3%A9");
    }

    #[test]
    fn what_nobody_sends_in_earnest_is_refused() {
        assert!(Pairs::parse("a=%00").is_err());
        assert!(Pairs::parse(&"a=b&".repeat(MAX_PAIRS + 1)).is_err());
        assert!(pairs("stat=x").only(&["state"]).is_err());
        assert!(pairs("limit=x").parsed::<u16>("limit", "a number").is_err());
    }

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(segment("a/b?c d_e-f"), "a%2Fb%3Fc%20d_e-f");
    }
}
