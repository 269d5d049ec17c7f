//! A URL that webhooks may be sent to, and the guard that vets its addresses.
//!
//! The guard against requests to ourselves (server-side request forgery) judges what was parsed,
//! never the text: `http://0x7f.1`, `http://2130706433` and `http://①②⑦.0.0.1` are one address. It
//! judges every address of a name, and refuses all of them for one that is refused. Whoever
//! connects gets addresses and no name, so nothing is looked up a second time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use url::{Host, Position, Url};

use super::address_rules::is_allowed;
use super::names::{Names, SystemNames};

/// The most bytes of a URL.
pub const MAX_URL_BYTES: usize = 2_048;
/// The time for looking up a name; the system's resolver asks again only after it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Ports below it are those of other protocols, but for two: a webhook is no mail.
const FIRST_FREE_PORT: u16 = 1_024;
const WEB_PORTS: [u16; 2] = [80, 443];

/// The networks that webhooks may reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// Addresses of the public Internet, ports 80, 443, and from 1024 on.
    #[default]
    PublicOnly,
    /// Also loopback and private networks, and any port: where owners of endpoints are trusted, as
    /// on a developer's machine, for attempts then tell them which ports are open there.
    PrivateToo,
}

/// A URL of `http` or `https`, with a host, and without a user name, password or fragment; at most
/// [`MAX_URL_BYTES`]. `Debug` and `Display` leave out the path and the query, which may hold keys.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(Url);

/// The reason that webhooks cannot be sent to a URL, for its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// More than [`MAX_URL_BYTES`].
    #[error("the URL has more than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// The text is no URL with a host.
    #[error("the URL is not one; write it as https://example.com/webhooks")]
    Malformed,
    /// Neither `http` nor `https`.
    #[error("the URL is neither of https nor of http")]
    Scheme,
    /// A user name or a password.
    #[error("the URL holds a user name or a password; send them in a header instead")]
    UserInfo,
    /// A port that webhooks are not sent to.
    #[error("the port of the URL is not one of 80, 443, and 1024 to 65535")]
    Port,
    /// An address that webhooks are not sent to. Which one, and what is there, is not said.
    #[error(
        "the host of the URL is an address, or a name with one, that webhooks are not sent to: it \
         must be public"
    )]
    RefusedAddress,
    /// The name has no address, as far as we can tell.
    #[error("the host of the URL cannot be found")]
    NotFound,
    /// The name servers took too long.
    #[error("the host of the URL could not be looked up in time")]
    LookupTimeout,
}

impl FromStr for TargetUrl {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.len() > MAX_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        let mut url = Url::parse(text).map_err(|_| TargetError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        if url.host_str().is_none_or(|host| host.trim_matches('.').is_empty()) {
            return Err(TargetError::Malformed);
        }
        if url.port() == Some(0) {
            return Err(TargetError::Port);
        }
        // It is never sent.
        url.set_fragment(None);
        // Parsing escapes characters, so it may be longer than it was.
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        let target = Self(url);
        // Two parsers of URLs must agree on it before it is stored.
        match target.path_and_query().parse::<PathAndQuery>() {
            Ok(_) => Ok(target),
            Err(_) => Err(TargetError::Malformed),
        }
    }
}

impl TargetUrl {
    /// The URL as it is sent to, with its query: for storing, and for its owner.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(super) fn host(&self) -> Host<&str> {
        self.0.host().expect("it was parsed with a host")
    }

    /// The name or address of the host.
    pub fn host_name(&self) -> String {
        self.host().to_string()
    }

    /// The port, which is that of the scheme where none is named.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().expect("http and https have a port")
    }

    /// The path and the query.
    pub(super) fn path_and_query(&self) -> &str {
        &self.0[Position::BeforePath..Position::AfterQuery]
    }

    /// The host, and the port where it is not that of the scheme.
    pub(super) fn authority(&self) -> &str {
        &self.0[Position::BeforeHost..Position::AfterPort]
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.authority())
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetUrl({self}/..)")
    }
}

/// Vets URLs and addresses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    reach: Reach,
    names: Arc<dyn Names>,
}

impl Guard {
    /// A guard that looks names up as the system does.
    pub fn new(reach: Reach) -> Self {
        Self::with_names(reach, Arc::new(SystemNames::default()))
    }

    /// A guard that looks names up in another way.
    pub fn with_names(reach: Reach, names: Arc<dyn Names>) -> Self {
        Self { reach, names }
    }

    /// The URL of an endpoint that is made or changed, if webhooks can be sent to it now.
    ///
    /// # Errors
    ///
    /// [`TargetError`], with words for the owner.
    pub async fn check(&self, url: &str) -> Result<TargetUrl, TargetError> {
        let target: TargetUrl = url.parse()?;
        self.resolve(&target).await?;
        Ok(target)
    }

    /// The addresses to connect to, vetted, at least one; asked before each sending.
    ///
    /// # Errors
    ///
    /// [`TargetError`], also when only one of several addresses is refused.
    pub async fn resolve(&self, target: &TargetUrl) -> Result<Vec<SocketAddr>, TargetError> {
        let port = target.port();
        let is_web = WEB_PORTS.contains(&port) || port >= FIRST_FREE_PORT;
        if self.reach == Reach::PublicOnly && !is_web {
            return Err(TargetError::Port);
        }
        let addresses = match target.host() {
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
            Host::Domain(name) if is_localhost(name) => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Host::Domain(name) => self.look_up(name).await?,
        };
        self.vet(&addresses)?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, TargetError> {
        let name = match self.reach {
            // With the dot, no search suffix of this machine is tried: `db` is not `db.internal`.
            Reach::PublicOnly => format!("{}.", name.trim_end_matches('.')),
            // The hosts file, where private names often are, has none with a dot.
            Reach::PrivateToo => name.to_owned(),
        };
        let looked_up = tokio::time::timeout(LOOKUP_TIMEOUT, self.names.addresses(&name)).await;
        let addresses = looked_up.map_err(|_| TargetError::LookupTimeout)?;
        addresses.map_err(|_| TargetError::NotFound)
    }

    /// Refuses all for one, as it cannot be known which one others would get.
    fn vet(&self, addresses: &[IpAddr]) -> Result<(), TargetError> {
        if addresses.is_empty() {
            return Err(TargetError::NotFound);
        }
        let are_allowed = addresses.iter().all(|address| is_allowed(*address, self.reach));
        if are_allowed { Ok(()) } else { Err(TargetError::RefusedAddress) }
    }
}

/// Names that mean this machine, whatever a name server says (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}
