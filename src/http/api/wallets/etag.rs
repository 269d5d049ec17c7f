//! The version of a wallet, as HTTP has it: `ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1).

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::http::wire::problem::{Code, Problem};
use crate::payments::wallets::Wallet;

/// A strong validator of what is shown of a wallet.
pub(super) fn etag(wallet: &Wallet) -> String {
    format!("\"{}\"", wallet.version)
}

/// The version that a wallet must still have, if the request says so: one ETag of a wallet, or `*`,
/// which every wallet matches.
///
/// A list of ETags is refused: whoever holds several versions cannot say what he decided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IfMatch(pub Option<i64>);

impl<'a> ApiExtractor<'a> for IfMatch {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            pattern: Some(r#"^(\*|"(0|[1-9][0-9]{0,18})")$"#.to_owned()),
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

/// The header is no ETag that a wallet could have.
#[derive(PartialEq, Eq, Debug)]
struct NotOurs;

fn version_of(headers: &HeaderMap) -> Result<Option<i64>, NotOurs> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().map_err(|_| NotOurs)?.trim(),
        (Some(_), Some(_)) => return Err(NotOurs),
    };
    if text == "*" {
        return Ok(None);
    }
    let digits = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).ok_or(NotOurs)?;
    let version: i64 = digits.parse().map_err(|_| NotOurs)?;
    // As we write it, and not `+7` or `007`: an ETag is compared as a text.
    match version >= 0 && version.to_string() == digits {
        true => Ok(Some(version)),
        false => Err(NotOurs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(values: &[&str]) -> Result<Option<i64>, NotOurs> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().expect("a header's value"));
        }
        version_of(&headers)
    }

    #[test]
    fn one_etag_as_we_write_it_or_a_star_is_understood() {
        assert_eq!(version(&[]), Ok(None));
        assert_eq!(version(&["*"]), Ok(None));
        assert_eq!(version(&["\"0\""]), Ok(Some(0)));
        assert_eq!(version(&[" \"17\" "]), Ok(Some(17)));
    }

    #[test]
    fn everything_else_is_not() {
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
