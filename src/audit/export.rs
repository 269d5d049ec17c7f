//! Export: heads to where who may change the database may not change them.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use url::{Host, Url};

use super::heads::Head;

/// The time that an endpoint may take, from the look-up of its name to its answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The place that heads are exported to: `off`, `file:/path`, or `https://…`.
///
/// A URL may hold a password, so its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum ExportTarget {
    /// None.
    #[default]
    Off,
    /// A file that lines are appended to.
    File(PathBuf),
    /// An endpoint that each line is posted to, as JSON.
    Endpoint(Url),
}

impl fmt::Debug for ExportTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::File(_) => "File(..)",
            Self::Endpoint(_) => "Endpoint(..)",
        })
    }
}

/// The text names no place for heads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected off, file:/path or https://host/path (http:// on a loopback address only)")]
pub struct InvalidTarget;

impl FromStr for ExportTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.is_empty() || text == "off" {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            return path.is_absolute().then(|| Self::File(path.into())).ok_or(InvalidTarget);
        }
        let url = Url::parse(text).map_err(|_| InvalidTarget)?;
        let is_loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match url.scheme() {
            "https" => Ok(Self::Endpoint(url)),
            "http" if is_loopback => Ok(Self::Endpoint(url)),
            _ => Err(InvalidTarget),
        }
    }
}

/// A head that was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be written to.
    #[error("the file of exported heads cannot be written")]
    File(#[from] io::Error),
    /// The endpoint did not answer. Without the library's words, which may repeat the URL.
    #[error("the endpoint for heads did not answer")]
    NoAnswer,
    /// The endpoint refused.
    #[error("the endpoint for heads answered {0}")]
    Refused(u16),
}

impl ExportTarget {
    /// Exports a head; false if there is no place for it. Blocks, for as long as ten seconds. The
    /// same head may come twice, and several processes may export to one file.
    ///
    /// # Errors
    ///
    /// [`ExportError`]: to be tried again with a later head, which tells of all before it.
    pub fn export(&self, head: &Head) -> Result<bool, ExportError> {
        match self {
            Self::Off => Ok(false),
            Self::File(path) => append(path, &head.line()).map(|()| true).map_err(Into::into),
            Self::Endpoint(url) => post(url, &head.line()).map(|()| true),
        }
    }
}

/// Appends a line by one write, and waits until it is on disk.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let mut text = format!("{line}\n");
    // Of a process that was killed while it wrote.
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.insert(0, '\n');
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn post(url: &Url, line: &str) -> Result<(), ExportError> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(HTTP_TIMEOUT))
        // Elsewhere than where it was told to go, a head proves nothing.
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let request = agent.post(url.as_str()).header("content-type", "application/json");
    let answer = request.send(line).map_err(|_| ExportError::NoAnswer)?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        status => Err(ExportError::Refused(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them_and_shown_to_nobody() {
        let parse = |text: &str| text.parse::<ExportTarget>();
        assert_eq!(parse(""), Ok(ExportTarget::Off));
        assert_eq!(parse("off"), Ok(ExportTarget::Off));
        assert_eq!(parse("file:/var/heads"), Ok(ExportTarget::File("/var/heads".into())));
        assert_eq!(parse("file:///var/heads"), Ok(ExportTarget::File("/var/heads".into())));
        let endpoint = parse("https://user:secret@example.com/heads").expect("it is one");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(..)");
        assert!(parse("http://127.0.0.1:9000/").is_ok() && parse("http://[::1]/").is_ok());
        for wrong in ["file:heads", "http://example.com/", "ftp://example.com", "/var/heads", "x"] {
            assert_eq!(parse(wrong), Err(InvalidTarget), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("heads");
        std::fs::write(&path, "{\"at\":").expect("it is written");
        let head = Head { at: String::new(), previous: [0; 32], root: [1; 32], size: 1 };
        for _ in 0..2 {
            ExportTarget::File(path.clone()).export(&head).expect("it is exported");
        }
        let text = std::fs::read_to_string(&path).expect("it is there");
        let line = head.line();
        assert_eq!(text, format!("{{\"at\":\n{line}\n{line}\n"));
    }
}
