//! The URL of a database as libpq reads it, brought into the form that the driver reads.

use std::time::Duration;

use url::Url;

/// The reason that a text is no URL of a database. None shows any of it: whatever is mistyped may
/// be a part of the password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// It is a URL of something else, or none.
    #[error("it begins with neither postgres:// nor postgresql://")]
    Scheme,
    /// It is libpq's other form.
    #[error("it is a list of name=value, which is not read here")]
    KeywordsAndValues,
    /// It names several servers.
    #[error(
        "it names several hosts, and one is taken: give an address that leads to the server which \
         accepts writes"
    )]
    SeveralHosts,
    /// The password ended the host's part of the URL.
    #[error(
        "there is an @ behind the host: in user and password, write @ as %40, / as %2F, ? as %3F, \
         # as %23, : as %3A and % as %25"
    )]
    Unescaped,
    /// A fragment means nothing in it.
    #[error("there is a # in it: write it as %23")]
    Fragment,
    /// Host, port or the value of a parameter cannot be right.
    #[error(
        "its host, port or the value of a parameter cannot be right; in user and password, write @ \
         as %40, / as %2F, ? as %3F, # as %23, : as %3A and % as %25"
    )]
    Malformed,
}

/// The parameters of a URL that the driver reads.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Parameters of libpq that are not read here, and may be named to people.
const NOT_READ: [&str; 14] = [
    "channel_binding",
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "service",
    "sslcrl",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// The variable and the parameter that bound the time of a connection, in seconds.
const CONNECT_TIMEOUT: (&str, &str) = ("PGCONNECT_TIMEOUT", "connect_timeout");

/// A URL with the parameters that the driver reads, and what else it asks for.
#[derive(Debug)]
pub(crate) struct DatabaseUrl {
    /// The URL for the driver, which would log the values of all other parameters.
    pub(crate) url: Url,
    /// The time that a connection may take; none where it is not said, or without end.
    pub(crate) connect_timeout: Option<Duration>,
}

impl DatabaseUrl {
    /// Reads a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(&with_a_place(text)?).map_err(|_| UrlError::Malformed)?;
        let given: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        if given.iter().any(|(name, value)| name.starts_with("host") && value.contains(',')) {
            return Err(UrlError::SeveralHosts);
        }
        let of_url = given.iter().rfind(|(name, _)| name == CONNECT_TIMEOUT.1);
        let of_environment = std::env::var(CONNECT_TIMEOUT.0).ok().filter(|it| !it.is_empty());
        let secs = of_url.map(|(_, value)| value.clone()).or(of_environment);
        let connect_timeout = secs.map(|secs| read_secs(&secs)).transpose()?.flatten();
        Ok(Self { url: read_by_the_driver(url, &given), connect_timeout })
    }
}

/// Zero and less mean without end, and one second means two, as for libpq.
fn read_secs(text: &str) -> Result<Option<Duration>, UrlError> {
    let secs: i32 = text.trim().parse().map_err(|_| UrlError::Malformed)?;
    Ok(u64::try_from(secs)
        .ok()
        .filter(|secs| *secs > 0)
        .map(|secs| Duration::from_secs(secs.max(2))))
}

fn read_by_the_driver(mut url: Url, given: &[(String, String)]) -> Url {
    let is_read = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
    let (read, others): (Vec<_>, Vec<_>) = given.iter().partition(|(name, _)| is_read(name));
    let mut ignored = others.iter().filter(|(name, _)| name != CONNECT_TIMEOUT.1).peekable();
    if ignored.peek().is_some() {
        // Other names may be a part of the password.
        let names: Vec<&str> = ignored.map(|(name, _)| name.as_str()).collect();
        let named: Vec<&str> = names.into_iter().filter(|name| NOT_READ.contains(name)).collect();
        tracing::warn!(
            "the database URL has parameters that are not known here and are ignored: {}",
            if named.is_empty() {
                "others than those of libpq".to_owned()
            } else {
                named.join(", ")
            }
        );
    }
    if !others.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(read);
    }
    url
}

/// The URL as one that names a host, or none and no user either: what else stands before the path
/// becomes parameters, as in `postgres://user:password@/database?host=/run/postgresql`.
fn with_a_place(text: &str) -> Result<String, UrlError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    // The driver would take any scheme and speak PostgreSQL to whoever is there.
    let schemes = ["postgres://", "postgresql://"];
    let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        let is_list = ["host=", "hostaddr=", "dbname=", "user=", "port=", "service="];
        let is_list = is_list.iter().any(|name| text.split(' ').any(|it| it.starts_with(name)));
        return Err(if is_list { UrlError::KeywordsAndValues } else { UrlError::Scheme });
    };
    let (authority, after_host) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // What comes before the @ of a URL is user and password, and ends where these do.
    if after_host.contains('@') {
        return Err(UrlError::Unescaped);
    }
    if after_host.contains('#') {
        return Err(UrlError::Fragment);
    }
    let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    if place.contains(',') {
        return Err(UrlError::SeveralHosts);
    }
    let (is_empty, port) = (place.is_empty(), place.strip_prefix(':'));
    if !is_empty && port.is_none() || authority.is_empty() {
        return Ok(text.to_owned());
    }
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let given = [("user", user), ("password", password), ("port", port.unwrap_or_default())];
    let given = given.iter().filter(|(_, value)| !value.is_empty());
    let moved = given.map(|(name, value)| {
        // In a query, these would say something else.
        let value = value.replace('+', "%2B").replace('&', "%26").replace('#', "%23");
        format!("{name}={value}")
    });
    let (path, query) = after_host.split_once('?').unwrap_or((after_host, ""));
    let all: Vec<String> = moved.chain((!query.is_empty()).then(|| query.to_owned())).collect();
    let path = if path.is_empty() { "/" } else { path };
    Ok(format!("postgres://{path}?{}", all.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_path_without_a_host_becomes_parameters() {
        for (text, expected) in [
            ("postgres://u:p@/d?host=/run", "postgres:///d?user=u&password=p&host=/run"),
            ("postgres://u:a+b%40&@/d", "postgres:///d?user=u&password=a%2Bb%40%26"),
            ("postgres://u@:5433/d", "postgres:///d?user=u&port=5433"),
            ("postgres://:5433", "postgres:///?port=5433"),
            ("\u{feff}postgres://u:p@h/d\r\n", "postgres://u:p@h/d"),
            ("postgres:///d", "postgres:///d"),
            ("postgres://", "postgres://"),
            ("postgresql://[::1]:1/d", "postgresql://[::1]:1/d"),
        ] {
            assert_eq!(with_a_place(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_time_of_a_connection_is_read_as_libpq_does() {
        let timeout = |value: &str| {
            let url = DatabaseUrl::parse(&format!("postgres://h/d?connect_timeout={value}"))?;
            assert_eq!(url.url.query().unwrap_or_default(), "");
            Ok(url.connect_timeout.map(|timeout| timeout.as_secs()))
        };
        assert_eq!(timeout("30"), Ok(Some(30)));
        assert_eq!(timeout("1"), Ok(Some(2)));
        assert_eq!(timeout("0"), Ok(None));
        assert_eq!(timeout("-1"), Ok(None));
        assert_eq!(timeout("soon"), Err(UrlError::Malformed));
    }
}
