//! The file that describes the sources of webhooks, in TOML.
//!
//! - Here: the file, and a source's own keys.
//! - `scheme`: how a source signs, and with which secrets.
//! - `transaction`: what its events mean.
//! - `section`: a table of the file, read key by key.
//!
//! Refused as a whole, with a sentence that names the file, the source and the key; never with a
//! value, which may be a secret in the wrong place.

mod scheme;
mod section;
mod transaction;

use std::path::{Path, PathBuf};

use self::section::{Section, Wrong};
use super::Source;
use crate::arguments::parse_duration;

/// The most sources: each has figures of its own.
const MAX_SOURCES: usize = 64;
/// The most characters of a name.
const MAX_NAME_CHARS: usize = 32;
/// The name of our own route in figures, which no source may have.
const TAKEN_NAME: &str = "transactions";

/// Gives the value of a variable, if it is set.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The sources of a file, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Source>);

/// The file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the sources of webhooks in {}: {wrong}", file.display())]
pub struct SourcesError {
    file: PathBuf,
    wrong: Wrong,
}

impl Sources {
    /// Reads a file, and the variables and files that it names for secrets: the environment, or
    /// what is to be taken for it. Ids and names may have `max_chars` characters.
    ///
    /// # Errors
    ///
    /// [`SourcesError`].
    pub fn read(
        file: &Path,
        variable: Variable<'_>,
        max_chars: usize,
    ) -> Result<Self, SourcesError> {
        let read = read(file, variable, max_chars);
        read.map_err(|wrong| SourcesError { file: file.to_owned(), wrong })
    }

    /// The sources.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The error of a key of a source that somebody else reads.
    #[must_use]
    pub fn error(file: &Path, source: &Source, key: &str, problem: &str) -> SourcesError {
        let wrong = Wrong::at(&format!("sources.{}.{key}", source.name), problem);
        SourcesError { file: file.to_owned(), wrong }
    }
}

impl IntoIterator for Sources {
    type Item = Source;
    type IntoIter = std::vec::IntoIter<Source>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The place that a source's secrets are looked for in.
#[derive(Clone, Copy)]
struct Place<'a> {
    variable: Variable<'a>,
    /// The folder of the file.
    folder: &'a Path,
}

fn read(file: &Path, variable: Variable<'_>, max_chars: usize) -> Result<Sources, Wrong> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Wrong::at("", &format!("it cannot be read: {}", error.kind())))?;
    let table = text.parse().map_err(|error: toml::de::Error| {
        // Its own words may repeat what stands there; the line is enough.
        let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
        Wrong::at("", &format!("it is not TOML at line {}", before.matches('\n').count() + 1))
    })?;
    let mut top = Section::new("", table);
    let mut named = top.required_section("sources")?;
    top.end()?;
    let place = Place { variable, folder: file.parent().unwrap_or(Path::new("")) };
    let mut sources = Vec::new();
    for name in named.names() {
        let section = named.required_section(&name)?;
        if !is_source_name(&name) {
            let problem = format!(
                "the name of a source has 1 to {MAX_NAME_CHARS} of a-z, 0-9 and -, and is not \
                 {TAKEN_NAME}"
            );
            return Err(section.wrong(&problem));
        }
        sources.push(source(&name, section, place, max_chars)?);
    }
    match sources.len() {
        0 => Err(Wrong::at("sources", "there is no source")),
        1..=MAX_SOURCES => Ok(Sources(sources)),
        _ => Err(Wrong::at("sources", &format!("there are more than {MAX_SOURCES}"))),
    }
}

/// True if a source can have this name.
#[must_use]
pub fn is_source_name(name: &str) -> bool {
    let is_sane = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(is_sane) && name != TAKEN_NAME
}

fn source(
    name: &str,
    mut section: Section,
    place: Place<'_>,
    max_chars: usize,
) -> Result<Source, Wrong> {
    let (scheme, verifier) = scheme::read(&mut section, place)?;
    let mut transaction = section.required_section("transaction")?;
    let mapping = transaction::read(&mut transaction, name, scheme, max_chars)?;
    transaction.end()?;
    let limit = section.text("limit")?;
    let silent_after = section.parsed("silent_after", parse_duration)?;
    if silent_after.is_some_and(|time| time.as_secs() == 0) {
        return Err(section.wrong_key("silent_after", "expected at least a second"));
    }
    let accepts_conflicts =
        section.choice("on_conflict", &[("refuse", false), ("accept", true)])?;
    section.end()?;
    let name = name.to_owned();
    Ok(Source { name, verifier, mapping, limit, silent_after, accepts_conflicts })
}
