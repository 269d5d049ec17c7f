//! The scheme that a source signs by, and its secrets.

use std::time::Duration;

use super::Place;
use super::section::{Section, Wrong};
use crate::arguments::{parse_duration, read_value};
use crate::providers::signatures::{
    Encoding, Hash, Part, PlainHmac, Scheme, Secret, SourceVerifier, StandardVerifier,
};
use crate::standard_webhooks::WebhookSecret;

/// The tolerance where none is set, that of most providers' own libraries.
const TOLERANCE: Duration = Duration::from_secs(300);
/// The most: a signature that holds for longer is none that has a time.
const MAX_TOLERANCE: Duration = Duration::from_secs(24 * 3600);
/// The fewest bytes of a secret: shorter ones can be guessed.
const MIN_SECRET_BYTES: usize = 16;
/// The most secrets: two during a rotation.
const MAX_SECRETS: usize = 8;
/// The body within what is signed.
const BODY: &str = "{body}";
/// The timestamp within what is signed.
const TIMESTAMP: &str = "{timestamp}";

/// The scheme of a source, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SchemeName {
    Stripe,
    Adyen,
    GitHub,
    Shopify,
    Hmac,
    Standard,
}

const NAMES: [(&str, SchemeName); 6] = [
    ("stripe", SchemeName::Stripe),
    ("adyen", SchemeName::Adyen),
    ("github", SchemeName::GitHub),
    ("shopify", SchemeName::Shopify),
    ("hmac", SchemeName::Hmac),
    ("standard-webhooks", SchemeName::Standard),
];

/// The form of a secret.
#[derive(Clone, Copy)]
enum SecretForm {
    /// Its characters are the key.
    Text,
    /// It is the key as text.
    Encoded(Encoding),
}

/// Reads the keys about signatures.
pub(super) fn read(
    section: &mut Section,
    place: Place<'_>,
) -> Result<(SchemeName, SourceVerifier), Wrong> {
    let name = section.choice("scheme", &NAMES)?;
    let name = name.ok_or_else(|| section.wrong_key("scheme", "is missing"))?;
    let texts = secrets(section, place)?;
    let hex = SecretForm::Encoded(Encoding::Hex);
    let (scheme, form) = match name {
        SchemeName::Stripe => (Scheme::Stripe, SecretForm::Text),
        SchemeName::Adyen => (Scheme::Adyen, hex),
        SchemeName::GitHub => {
            (preset("x-hub-signature-256", "sha256=", Encoding::Hex), SecretForm::Text)
        }
        SchemeName::Shopify => {
            (preset("x-shopify-hmac-sha256", "", Encoding::Base64), SecretForm::Text)
        }
        SchemeName::Hmac => plain(section)?,
        SchemeName::Standard => {
            let secrets: Result<Vec<WebhookSecret>, _> =
                texts.iter().map(|it| it.parse()).collect();
            let secrets = secrets.map_err(|error| section.wrong(&format!("a secret: {error}")))?;
            let scheme = Scheme::Standard(StandardVerifier::new(secrets));
            let tolerance = tolerance(section, true)?;
            return Ok((name, SourceVerifier::new(scheme, Vec::new(), tolerance)));
        }
    };
    let has_time = match &scheme {
        Scheme::Stripe | Scheme::Standard(_) => true,
        Scheme::Adyen => false,
        Scheme::Plain(plain) => plain.timestamp_header.is_some(),
    };
    let tolerance = tolerance(section, has_time)?;
    let keys: Result<Vec<Secret>, Wrong> =
        texts.iter().map(|text| key(section, text, form)).collect();
    Ok((name, SourceVerifier::new(scheme, keys?, tolerance)))
}

fn preset(header: &str, prefix: &str, encoding: Encoding) -> Scheme {
    Scheme::Plain(PlainHmac {
        header: header.to_owned(),
        prefix: prefix.to_owned(),
        encoding,
        hash: Hash::Sha256,
        timestamp_header: None,
        signed: vec![Part::Body],
    })
}

/// The texts of all secrets, from variables and files, one a line.
fn secrets(section: &mut Section, place: Place<'_>) -> Result<Vec<String>, Wrong> {
    for key in ["secret", "secrets"] {
        if section.has(key) {
            let problem = "secrets do not stand in this file: name variables by secrets_env, or \
                           files by secrets_file";
            return Err(section.wrong_key(key, problem));
        }
    }
    let mut secrets = Vec::new();
    for name in section.texts("secrets_env")? {
        let missing = || section.wrong_key("secrets_env", "a variable that it names is not set");
        let text = (place.variable)(&name).ok_or_else(missing)?;
        secrets.extend(lines("secrets_env", &text, section)?);
    }
    for name in section.texts("secrets_file")? {
        let text = read_value(&place.folder.join(name)).map_err(|error| {
            let problem = format!("a file that it names cannot be read: {}", error.kind());
            section.wrong_key("secrets_file", &problem)
        })?;
        secrets.extend(lines("secrets_file", &text, section)?);
    }
    match secrets.len() {
        0 => Err(section.wrong_key(
            "secrets_env",
            "is missing, and so is secrets_file: nothing that is unsigned is taken",
        )),
        1..=MAX_SECRETS => Ok(secrets),
        _ => Err(section.wrong(&format!("it has more than {MAX_SECRETS} secrets"))),
    }
}

/// The lines of a variable or file. What is set and empty was meant to hold a secret.
fn lines(key: &str, text: &str, section: &Section) -> Result<Vec<String>, Wrong> {
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(section.wrong_key(key, "a variable or file that it names holds no secret"));
    }
    Ok(lines)
}

fn key(section: &Section, text: &str, form: SecretForm) -> Result<Secret, Wrong> {
    let bytes = match form {
        SecretForm::Text => Some(text.as_bytes().to_vec()),
        SecretForm::Encoded(encoding) => encoding.decode(text),
    };
    let bytes = bytes.ok_or_else(|| {
        section.wrong("a secret is not of the form that its scheme or secret_encoding asks for")
    })?;
    if bytes.len() < MIN_SECRET_BYTES {
        return Err(section.wrong(&format!("a secret has fewer than {MIN_SECRET_BYTES} bytes")));
    }
    Ok(Secret(bytes))
}

fn tolerance(section: &mut Section, has_time: bool) -> Result<i64, Wrong> {
    let given = section.parsed("tolerance", parse_duration)?;
    if given.is_some() && !has_time {
        let problem = "this scheme signs no time, so there is nothing to tolerate";
        return Err(section.wrong_key("tolerance", problem));
    }
    let tolerance = given.unwrap_or(TOLERANCE);
    if tolerance < Duration::from_secs(1) || tolerance > MAX_TOLERANCE {
        return Err(section.wrong_key("tolerance", "expected from 1s to 24h"));
    }
    Ok(i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX))
}

/// An HMAC that the file describes.
fn plain(section: &mut Section) -> Result<(Scheme, SecretForm), Wrong> {
    let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
    let header = header_name(section, "header")?;
    let header = header.ok_or_else(|| section.wrong_key("header", "is missing"))?;
    let encoding = section.choice("encoding", &encodings)?;
    let encoding = encoding.ok_or_else(|| section.wrong_key("encoding", "is missing"))?;
    let hashes = [("sha256", Hash::Sha256), ("sha512", Hash::Sha512)];
    let hash = section.choice("hash", &hashes)?.unwrap_or(Hash::Sha256);
    let forms = [
        ("text", SecretForm::Text),
        ("hex", SecretForm::Encoded(Encoding::Hex)),
        ("base64", SecretForm::Encoded(Encoding::Base64)),
    ];
    let form = section.choice("secret_encoding", &forms)?.unwrap_or(SecretForm::Text);
    let prefix = section.text("prefix")?.unwrap_or_default();
    let timestamp_header = header_name(section, "timestamp_header")?;
    let signed = section.text("signed")?.unwrap_or_else(|| BODY.to_owned());
    let signed = parts(&signed);
    let count = |part: &Part| signed.iter().filter(|it| *it == part).count();
    if count(&Part::Body) != 1 {
        return Err(section.wrong_key("signed", "must have {body} once"));
    }
    // A time that is not signed is whatever a replay says.
    if count(&Part::Timestamp) != usize::from(timestamp_header.is_some()) {
        let problem = "must have {timestamp} once if there is a timestamp_header, and else not";
        return Err(section.wrong_key("signed", problem));
    }
    let plain = PlainHmac { header, prefix, encoding, hash, timestamp_header, signed };
    Ok((Scheme::Plain(plain), form))
}

fn header_name(section: &mut Section, key: &str) -> Result<Option<String>, Wrong> {
    let Some(name) = section.text(key)? else { return Ok(None) };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(section.wrong_key(key, "expected the name of a header"));
    }
    Ok(Some(name.to_ascii_lowercase()))
}

/// The parts of what is signed.
fn parts(mut rest: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let places = [(BODY, Part::Body), (TIMESTAMP, Part::Timestamp)];
        let next =
            places.into_iter().filter_map(|(name, part)| Some((rest.find(name)?, name, part)));
        let Some((at, name, part)) = next.min_by_key(|(at, _, _)| *at) else {
            parts.push(Part::Text(rest.to_owned()));
            break;
        };
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        parts.push(part);
        rest = &rest[at + name.len()..];
    }
    parts
}
