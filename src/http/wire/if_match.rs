//! `ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1).

use std::fmt::Display;

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::problem::{Code, Problem};

/// The most characters of a version that is a text.
const MAX_CHARS: usize = 100;

/// A strong validator of what has this version.
pub fn etag(version: impl Display) -> String {
    format!("\"{version}\"")
}

/// A version as ETags have it.
pub trait Version: Sized {
    /// The pattern of the header, for the document.
    const PATTERN: &'static str;

    /// The version that we write like this; none if there is no such.
    fn read(text: &str) -> Option<Self>;
}

/// A number, and not `+7` or `007`: an ETag is compared as a text.
impl Version for i64 {
    const PATTERN: &'static str = r#"^(\*|"(0|[1-9][0-9]{0,18})")$"#;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|version: &Self| *version >= 0 && version.to_string() == text)
    }
}

/// An opaque text.
impl Version for String {
    const PATTERN: &'static str = r#"^(\*|"[0-9a-z-]{1,100}")$"#;

    fn read(text: &str) -> Option<Self> {
        let is_ours = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || c == '-';
        let is_version = (1..=MAX_CHARS).contains(&text.len()) && text.chars().all(is_ours);
        is_version.then(|| text.to_owned())
    }
}

/// The version that a thing must still have, if the request says so: one ETag, or `*`, which every
/// version matches.
///
/// A list of ETags is refused: whoever holds several versions cannot say what he decided by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IfMatch<V>(pub Option<V>);

impl<'a, V: Version> ApiExtractor<'a> for IfMatch<V> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            pattern: Some(V::PATTERN.to_owned()),
            ..MetaSchema::new("string")
        })))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let version = version_of(request.headers());
        Ok(Self(version.map_err(|NotOurs| Problem::new(Code::InvalidIfMatch))?))
    }
}

/// The header is no ETag of ours.
#[derive(PartialEq, Eq, Debug)]
struct NotOurs;

fn version_of<V: Version>(headers: &HeaderMap) -> Result<Option<V>, NotOurs> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| NotOurs)?.trim(),
        (Some(_), Some(_)) => return Err(NotOurs),
    };
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).ok_or(NotOurs)?;
    V::read(version).map(Some).ok_or(NotOurs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version<V: Version>(values: &[&str]) -> Result<Option<V>, NotOurs> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().expect("a header's value"));
        }
        version_of(&headers)
    }

    #[test]
    fn one_etag_or_a_star_is_understood_and_nothing_else() {
        let version = version::<String>;
        assert_eq!(version(&[]), Ok(None));
        assert_eq!(version(&["*"]), Ok(None));
        assert_eq!(version(&[" \"3-0-1\" "]), Ok(Some("3-0-1".to_owned())));
        for value in ["", "3-0-1", "\"\"", "W/\"3\"", "\"3\", \"4\"", "\"A\"", "\"a b\""] {
            assert_eq!(version(&[value]), Err(NotOurs), "{value:?}");
        }
        assert_eq!(version(&["\"3\"", "\"3\""]), Err(NotOurs));
    }

    #[test]
    fn one_number_as_we_write_it_or_a_star_is_understood() {
        let version = version::<i64>;
        assert_eq!(version(&[]), Ok(None));
        assert_eq!(version(&["*"]), Ok(None));
        assert_eq!(version(&["\"0\""]), Ok(Some(0)));
        assert_eq!(version(&[" \"17\" "]), Ok(Some(17)));
    }

    #[test]
    fn everything_else_is_no_number_as_we_write_it() {
        let version = version::<i64>;
        for value in [
            "",
            "17",
            "\"\"",
            "\"+7\"",
            "\"-7\"",
            "\"007\"",
            "\"7",
            "W/\"7\"",
            "\"x\"",
            "\"7\", \"8\"",
            "\"9223372036854775808\"",
            "**",
        ] {
            assert_eq!(version(&[value]), Err(NotOurs), "{value:?}");
        }
        assert_eq!(version(&["\"7\"", "\"7\""]), Err(NotOurs));
    }
}
