//! The published binaries: what releases there are, and their archives.
//!
//! Everything here blocks. Proxies are those of the environment, certificates those of the system.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// Where they are published, for people.
pub(super) const HOME: &str = "https://github.com/theseus-rs/postgresql-binaries";
const API: &str = "https://api.github.com/repos/theseus-rs/postgresql-binaries";

/// An archive has some 12 MB.
const MAX_BYTES: u64 = 200 << 20;
/// A request that failed in a way that may pass is sent again, after these pauses.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The site that publishes the binaries.
pub(super) struct Publisher {
    api: String,
    agent: Agent,
    deadline: Instant,
}

/// A release that has binaries for this platform.
#[derive(Debug)]
pub(super) struct Release {
    /// As PostgreSQL counts them, with a zero behind: 17.6.0.
    pub(super) version: Version,
    archive_url: String,
    checksum_url: String,
}

/// A version; the greater one is newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Version([u32; 3]);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Version {
    fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.trim_start_matches('v').split('.').map(|part| part.parse().ok());
        let version = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self(version))
    }
}

impl Publisher {
    /// The publisher, asked until this moment at the latest.
    pub(super) fn until(deadline: Instant) -> Self {
        Self::at(API, deadline)
    }

    fn at(api: &str, deadline: Instant) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("surety/", env!("CARGO_PKG_VERSION")));
        Self { api: api.to_owned(), agent: config.build().new_agent(), deadline }
    }

    /// The newest release of this major version. Pages are in the order of publication, so the
    /// first that has one has the newest.
    pub(super) fn newest(&self, major: u32) -> Result<Release, String> {
        for page in 1.. {
            let url = format!("{}/releases?per_page=100&page={page}", self.api);
            let published: Vec<Published> = self.json(&url)?;
            if published.is_empty() {
                break;
            }
            let releases = published.iter().filter_map(Published::usable);
            let of_major = releases.filter(|release| release.version.0[0] == major);
            if let Some(newest) = of_major.max_by_key(|release| release.version) {
                return Ok(newest);
            }
        }
        let target = target_tuple::TARGET;
        Err(format!("no release of version {major} has binaries for {target}"))
    }

    /// The archive of a release, compared with its published checksum.
    pub(super) fn archive(&self, release: &Release) -> Result<Vec<u8>, String> {
        let archive = self.get(&release.archive_url)?;
        let published = self.get(&release.checksum_url)?;
        let published = String::from_utf8_lossy(&published);
        let published = published.split_whitespace().next().unwrap_or_default();
        let computed = hex::encode(Sha256::digest(&archive));
        if !computed.eq_ignore_ascii_case(published) {
            return Err(format!(
                "the archive is damaged: its SHA-256 is {computed}, published is '{published}'"
            ));
        }
        Ok(archive)
    }

    fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        serde_json::from_slice(&self.get(url)?)
            .map_err(|error| format!("{url} has an unexpected form: {error}"))
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let failed = match self.get_once(url) {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            match pauses.next() {
                Some(pause) if may_pass(&failed) && Instant::now() + pause < self.deadline => {
                    std::thread::sleep(pause);
                }
                _ => return Err(format!("{url}: {failed}")),
            }
        }
    }

    fn get_once(&self, url: &str) -> Result<Vec<u8>, ureq::Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut request = self.agent.get(url).config().timeout_global(Some(left)).build();
        // Who has one may ask more often.
        if let (true, Ok(token)) = (url.starts_with(&self.api), std::env::var("GITHUB_TOKEN")) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.call()?;
        response.into_body().into_with_config().limit(MAX_BYTES).read_to_vec()
    }
}

fn may_pass(error: &ureq::Error) -> bool {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, StatusCode, Timeout};
    match error {
        StatusCode(status) => *status == 429 || *status >= 500,
        Io(_) | Timeout(_) | HostNotFound | ConnectionFailed => true,
        _ => false,
    }
}

/// A release as the site describes it.
#[derive(Deserialize)]
struct Published {
    tag_name: String,
    draft: bool,
    prerelease: bool,
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Asset {
    name: String,
    browser_download_url: String,
}

impl Published {
    /// The release, if it is a final one that has an archive for this platform and its checksum.
    fn usable(&self) -> Option<Release> {
        if self.draft || self.prerelease {
            return None;
        }
        let version = Version::parse(&self.tag_name)?;
        let archive = format!("postgresql-{version}-{}.tar.gz", target_tuple::TARGET);
        let url_of = |name: &str| {
            let asset = self.assets.iter().find(|asset| asset.name == name)?;
            Some(asset.browser_download_url.clone())
        };
        Some(Release {
            version,
            archive_url: url_of(&archive)?,
            checksum_url: url_of(&format!("{archive}.sha256"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};

    use super::*;

    const ARCHIVE: &[u8] = b"an archive";

    /// A site that answers these paths, and anything else with 404. The first answers are 503.
    struct Site {
        url: String,
        asked: Arc<AtomicUsize>,
    }

    impl Site {
        fn start(unavailable: usize, files: impl FnOnce(&str) -> Vec<(String, Vec<u8>)>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let files: BTreeMap<String, Vec<u8>> = files(&url).into_iter().collect();
            let asked = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&asked);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let first = lines.next().unwrap().unwrap();
                    let path = first.split(' ').nth(1).unwrap().to_owned();
                    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                    let turn = counter.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = match files.get(&path) {
                        _ if turn < unavailable => ("503 Service Unavailable", &[][..]),
                        Some(body) => ("200 OK", body.as_slice()),
                        None => ("404 Not Found", &[][..]),
                    };
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    stream.write_all(body).unwrap();
                }
            });
            Self { url, asked }
        }

        /// With pages of releases, and the archive and this checksum of each.
        fn with(pages: &[Vec<Value>], checksum: &str) -> Self {
            Self::start(0, |url| {
                let mut files = vec![
                    ("/archive".to_owned(), ARCHIVE.to_vec()),
                    ("/checksum".to_owned(), checksum.as_bytes().to_vec()),
                ];
                for number in 1..=pages.len() + 1 {
                    let page = json!(pages.get(number - 1).unwrap_or(&Vec::new()));
                    let page = page.to_string().replace("SITE", url);
                    let path = format!("/releases?per_page=100&page={number}");
                    files.push((path, page.into_bytes()));
                }
                files
            })
        }

        fn publisher(&self) -> Publisher {
            Publisher::at(&self.url, Instant::now() + Duration::from_secs(20))
        }
    }

    fn release(version: &str, target: &str) -> Value {
        let archive = format!("postgresql-{version}-{target}.tar.gz");
        json!({
            "tag_name": version,
            "draft": false,
            "prerelease": false,
            "assets": [
                { "name": format!("{archive}.sha256"), "browser_download_url": "SITE/checksum" },
                { "name": archive, "browser_download_url": "SITE/archive" },
            ],
        })
    }

    fn here(version: &str) -> Value {
        release(version, target_tuple::TARGET)
    }

    fn sha256() -> String {
        hex::encode(Sha256::digest(ARCHIVE))
    }

    #[test]
    fn the_newest_of_a_major_version_is_fetched_and_compared() {
        let pages = [
            vec![here("18.1.0"), here("17.9.0"), here("17.10.0"), here("16.99.0")],
            vec![here("15.3.0"), here("17.11.0")],
        ];
        let site = Site::with(&pages, &format!("{}  postgresql.tar.gz\n", sha256()));
        let newest = site.publisher().newest(17).unwrap();
        assert_eq!(newest.version.to_string(), "17.10.0");
        assert_eq!(site.publisher().archive(&newest).unwrap(), ARCHIVE);
        let older = site.publisher().newest(15).unwrap();
        assert_eq!(older.version.to_string(), "15.3.0");
    }

    #[test]
    fn only_final_releases_with_binaries_for_this_platform_count() {
        let mut draft = here("17.4.0");
        draft["draft"] = json!(true);
        let mut candidate = here("17.5.0");
        candidate["prerelease"] = json!(true);
        let mut unchecked = here("17.6.0");
        unchecked["assets"].as_array_mut().unwrap().remove(0);
        let others = [draft, candidate, unchecked, release("17.3.0", "vax"), here("nightly")];

        let site = Site::with(&[others.to_vec()], "");
        let refused = site.publisher().newest(17).unwrap_err();
        assert!(refused.starts_with("no release of version 17 has binaries for "), "{refused}");

        let site = Site::with(&[[&others[..], &[here("17.2.0")]].concat()], "");
        assert_eq!(site.publisher().newest(17).unwrap().version.to_string(), "17.2.0");
    }

    #[test]
    fn an_archive_without_its_own_checksum_is_refused() {
        for checksum in ["", "\n", "0000", &sha256()[1..], &"0".repeat(64)] {
            let site = Site::with(&[vec![here("17.2.0")]], checksum);
            let newest = site.publisher().newest(17).unwrap();
            let refused = site.publisher().archive(&newest).unwrap_err();
            assert!(refused.starts_with("the archive is damaged"), "{refused}");
        }
    }

    #[test]
    fn a_site_that_is_unavailable_for_a_moment_is_asked_again() {
        let site = Site::start(2, |_| vec![("/archive".to_owned(), ARCHIVE.to_vec())]);
        let publisher = site.publisher();
        assert_eq!(publisher.get(&format!("{}/archive", site.url)).unwrap(), ARCHIVE);
        assert_eq!(site.asked.load(Ordering::SeqCst), 3);

        let url = format!("{}/missing", site.url);
        let refused = publisher.get(&url).unwrap_err();
        assert!(refused.starts_with(&url) && refused.contains("404"), "{refused}");
        assert_eq!(site.asked.load(Ordering::SeqCst), 4);
    }
}
