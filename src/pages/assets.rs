//! The stylesheet, the script and the icon: compiled in, and served under names that change with
//! their content, so that browsers may keep them for good.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{IntoResponse as _, Response};
use sha2::{Digest, Sha256};

/// The folder of their paths.
const FOLDER: &str = "/ui/assets/";
/// A name that says what is behind it never says anything else.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// While nodes of two versions serve, one may be asked for what the other has named.
const FOR_ONCE: &str = "no-cache";

const FILES: [(&str, &str, &[u8]); 3] = [
    ("app.css", "text/css; charset=utf-8", include_bytes!("assets/app.css")),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("assets/app.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

static ASSETS: LazyLock<[Asset; FILES.len()]> = LazyLock::new(|| FILES.map(Asset::new));

struct Asset {
    name: &'static str,
    path: String,
    content_type: &'static str,
    content: Bytes,
    compressed: Bytes,
}

impl Asset {
    fn new((name, content_type, content): (&'static str, &'static str, &'static [u8])) -> Self {
        let hash = hex::encode(&Sha256::digest(content)[..6]);
        let (stem, extension) = name.split_once('.').expect("a file has an extension");
        let path = format!("{FOLDER}{stem}.{hash}.{extension}");
        let compressed = gzip(content, Compression::best());
        Self { name, path, content_type, content: Bytes::from_static(content), compressed }
    }
}

/// The path of an asset of this version.
pub(super) fn path(name: &str) -> &'static str {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    &asset.expect("templates name assets that exist, which tests see").path
}

/// Answers a request for an asset, of this version or another one.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == path || is_of(asset, path)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let cache = if asset.path == path { FOR_GOOD } else { FOR_ONCE };
    let response = Response::builder()
        .content_type(asset.content_type)
        .header(header::CACHE_CONTROL, cache)
        .header(header::VARY, "accept-encoding");
    match accepts_gzip(headers) {
        true => response.header(header::CONTENT_ENCODING, "gzip").body(asset.compressed.clone()),
        false => response.body(asset.content.clone()),
    }
}

/// Tells if the path names another version of the asset.
fn is_of(asset: &Asset, path: &str) -> bool {
    let name = path.strip_prefix(FOLDER).unwrap_or_default();
    let mut parts = name.split('.');
    let stem_and_extension = (parts.next(), parts.next_back());
    asset.name.split_once('.') == stem_and_extension.0.zip(stem_and_extension.1)
}

/// Tells if the browser takes compressed answers.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let mut codings = accepted.unwrap_or_default().split(',').map(str::trim);
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.unwrap_or(1.0_f32) > 0.0
    })
}

/// Compresses a text.
pub(super) fn gzip(content: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 3), level);
    encoder.write_all(content).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_kept_for_good_by_its_own_name_only() {
        let path = path("app.css");
        let cached = |path: &str| {
            let response = answer(path, &HeaderMap::new());
            let cache = response.headers().get(header::CACHE_CONTROL).cloned();
            (response.status().as_u16(), cache.map(|it| it.to_str().unwrap_or_default().to_owned()))
        };
        assert_eq!(cached(path), (200, Some(FOR_GOOD.to_owned())));
        assert_eq!(cached("/ui/assets/app.0000.css"), (200, Some(FOR_ONCE.to_owned())));
        assert_eq!(cached("/ui/assets/app.0000.png"), (404, None));
        assert_eq!(cached("/ui/assets/../app.css"), (404, None));
    }

    #[test]
    fn only_who_takes_gzip_gets_it() {
        let accepts = |value: &str| {
            let value = value.parse().expect("the tests know headers");
            accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
        };
        assert!(accepts("gzip") && accepts("br, GZIP;q=0.5"));
        assert!(!accepts("br") && !accepts("gzip;q=0") && !accepts(""));
    }
}
