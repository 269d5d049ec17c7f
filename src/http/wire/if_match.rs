//! `If-Match` with an ETag whose text is opaque (RFC 9110, 13.1.1).

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::problem::{Code, Problem};

/// The most characters of a version.
const MAX_CHARS: usize = 100;

/// A version as a strong validator.
pub fn etag(version: &str) -> String {
    format!("\"{version}\"")
}

/// The version that a thing must still have, if the request says so: one ETag, or `*`, which every
/// version matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IfVersion(pub Option<String>);

impl<'a> ApiExtractor<'a> for IfVersion {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            pattern: Some(r#"^(\*|"[0-9a-z-]{1,100}")$"#.to_owned()),
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

fn version_of(headers: &HeaderMap) -> Result<Option<String>, NotOurs> {
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
    let is_ours = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || c == '-';
    match (1..=MAX_CHARS).contains(&version.len()) && version.chars().all(is_ours) {
        true => Ok(Some(version.to_owned())),
        false => Err(NotOurs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(values: &[&str]) -> Result<Option<String>, NotOurs> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().expect("a header's value"));
        }
        version_of(&headers)
    }

    #[test]
    fn one_etag_or_a_star_is_understood_and_nothing_else() {
        assert_eq!(version(&[]), Ok(None));
        assert_eq!(version(&["*"]), Ok(None));
        assert_eq!(version(&[" \"3-0-1\" "]), Ok(Some("3-0-1".to_owned())));
        for value in ["", "3-0-1", "\"\"", "W/\"3\"", "\"3\", \"4\"", "\"A\"", "\"a b\""] {
            assert_eq!(version(&[value]), Err(NotOurs), "{value:?}");
        }
        assert_eq!(version(&["\"3\"", "\"3\""]), Err(NotOurs));
    }
}
