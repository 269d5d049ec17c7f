//! Values, as far as they may be shown.

use url::{Position, Url};

/// Stands for a value that is not shown.
pub(crate) const HIDDEN: &str = "(hidden)";
/// Schemes of URLs that are settings of ours. What has another one may be anything.
const SCHEMES: [&str; 11] = [
    "amqp",
    "amqps",
    "file",
    "http",
    "https",
    "nats",
    "postgres",
    "postgresql",
    "smtp",
    "smtps",
    "tls",
];

/// The part of a value that may be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// As it is.
    Whole,
    /// As a URL, without what may be a password or a key: scheme, host and port, and of a database
    /// its name.
    Place,
    /// Not at all.
    Nothing,
}

impl Shown {
    /// The value, as far as it may be seen.
    pub(crate) fn mask(self, value: &str) -> String {
        match self {
            Self::Whole => value.to_owned(),
            Self::Place if ["", "off", "none"].contains(&value) => value.to_owned(),
            Self::Place => place(value).unwrap_or_else(|| HIDDEN.to_owned()),
            Self::Nothing => HIDDEN.to_owned(),
        }
    }
}

/// None where the text is no such URL, or does not end its host where it should: then a part of the
/// password may stand where the host is.
fn place(text: &str) -> Option<String> {
    let url = Url::parse(text.trim()).ok()?;
    if !SCHEMES.contains(&url.scheme()) || url[Position::AfterPort..].contains('@') {
        return None;
    }
    let (scheme, host) = (url.scheme(), &url[Position::BeforeHost..Position::AfterPort]);
    let is_database = ["postgres", "postgresql"].contains(&scheme);
    let name = url.path().trim_start_matches('/');
    Some(match scheme {
        "file" => format!("file:{}", url.path()),
        _ if is_database && !name.is_empty() => format!("{scheme}://{host}/{name}"),
        _ => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_its_place_is_shown_and_nothing_else() {
        for (url, shown) in [
            ("postgres://app:hunter2@db:5432/surety?sslmode=require", "postgres://db:5432/surety"),
            ("postgres://app@db/surety?password=hunter2", "postgres://db/surety"),
            ("smtps://me:hunter2@mail.example", "smtps://mail.example"),
            ("https://collector.example/hunter2?k=hunter2", "https://collector.example"),
            ("off", "off"),
            ("postgres://app:12/hunter2@db:1/none", HIDDEN),
            ("hunter2", HIDDEN),
            ("hunter2:465", HIDDEN),
        ] {
            assert_eq!(Shown::Place.mask(url), shown, "{url}");
        }
    }
}
