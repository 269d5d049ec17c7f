//! Contexts: names for databases, such as `prod`, in a file of the operator's.
//!
//! ```toml
//! [prod]
//! production = true
//! database_url_file = "/etc/surety/secrets/database-url"
//!
//! [staging]
//! database_url = "postgres://me@staging.example/surety"
//! database_direct_url = "postgres://me@staging-db.example/surety"
//! ```
//!
//! The file may hold passwords: one that others may read is then refused, and one that others may
//! change always, as they could make `staging` lead to production.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use toml::{Table, Value};
use url::Url;

use crate::arguments::read_value;

/// The variable that names the context where no flag does.
pub(crate) const VARIABLE: &str = "APP_CONTEXT";
/// The variable that names the file.
pub(crate) const FILE_VARIABLE: &str = "APP_CONTEXTS";
/// Bits of a mode that let the group or others read.
const READ_BY_OTHERS: u32 = 0o044;
/// Bits of a mode that let the group or others write.
const WRITE_BY_OTHERS: u32 = 0o022;
/// The keys of a context.
const KEYS: [&str; 5] = [
    "database_url",
    "database_url_file",
    "database_direct_url",
    "database_direct_url_file",
    "production",
];

/// The context that this process acts in.
static CURRENT: OnceLock<Context> = OnceLock::new();

/// A named database.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Its name.
    pub(crate) name: String,
    /// Commands that destroy something ask first.
    pub(crate) is_production: bool,
    database: Place,
    direct: Option<Place>,
}

/// The URLs of a context.
pub(crate) struct Urls {
    /// The database.
    pub(crate) database: String,
    /// The same past a connection pooler.
    pub(crate) direct: Option<String>,
}

/// The place of a URL.
#[derive(Clone)]
pub(crate) enum Place {
    /// Here, which may hold a password.
    Url(String),
    /// In a file.
    File(PathBuf),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(_) => f.write_str("Url(..)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// The reason that there is no such context. None shows anything but names of keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// Nothing says where the file is.
    #[error("there is no file of contexts: set {FILE_VARIABLE}, or HOME")]
    NoPlace,
    /// The file cannot be read.
    #[error("the file of contexts {file} cannot be read")]
    Unreadable {
        /// Its path.
        file: String,
        /// The system's error.
        source: io::Error,
    },
    /// Others may change the file.
    #[error(
        "others may change the file of contexts {0}, and so the database that a name means: run \
         chmod go-w on it"
    )]
    WrittenByOthers(String),
    /// Others may read the passwords in it.
    #[error(
        "the file of contexts {0} holds a password and others may read it: run chmod 600 on it, or \
         keep the URL in a file of its own by database_url_file"
    )]
    ReadByOthers(String),
    /// The file is no TOML.
    #[error(
        "line {line} of the file of contexts {file} cannot be read: write [name], and below it \
         key = \"value\" (it is not shown, as it may be secret)"
    )]
    Syntax {
        /// Its path.
        file: String,
        /// From 1.
        line: usize,
    },
    /// A key that means nothing, or a value of another kind.
    #[error("the context '{context}' in {file}: {reason}")]
    Entry {
        /// Its name.
        context: String,
        /// The path of the file.
        file: String,
        /// The fault.
        reason: String,
    },
    /// No context has this name, which may be anything where it comes from the environment.
    #[error("there is no context of that name in {file}; {}", names(known))]
    Unknown {
        /// The path of the file.
        file: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The file of a URL cannot be read.
    #[error("the {key} of the context '{context}' cannot be read")]
    UrlFile {
        /// The name of the context.
        context: String,
        /// The key that names it.
        key: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl ContextError {
    /// The path at which a file would be looked for, if that is all that is amiss: nothing names a
    /// file, and there is none.
    pub(crate) fn nobody_made_one(&self) -> Option<&str> {
        let Self::Unreadable { file, source } = self else { return None };
        let is_missing = source.kind() == io::ErrorKind::NotFound;
        (is_missing && variable(FILE_VARIABLE).is_none()).then_some(file)
    }
}

fn names(known: &[String]) -> String {
    match known {
        [] => "it has none".to_owned(),
        some => format!("it has {}", some.join(", ")),
    }
}

/// The context of this process, once it was entered.
pub(crate) fn current() -> Option<&'static Context> {
    CURRENT.get()
}

/// Keeps the context of this process, once.
pub(super) fn keep_current(context: Context) {
    // A second one would be of the same command line.
    let _kept = CURRENT.set(context);
}

/// The name that `APP_CONTEXT` holds.
pub(crate) fn named_by_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

/// A variable that is set; an empty one is not.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The path of the file: that of `APP_CONTEXTS`, or `surety/contexts.toml` in the user's folder of
/// configuration.
pub(crate) fn path() -> Option<PathBuf> {
    variable(FILE_VARIABLE).map(PathBuf::from).or_else(|| {
        let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
        Some(folder?.join("surety/contexts.toml"))
    })
}

/// The context of this name.
///
/// # Errors
///
/// [`ContextError`].
pub(crate) fn open(name: &str) -> Result<Context, ContextError> {
    let (file, contexts) = read()?;
    let known = contexts.iter().map(|context| context.name.clone()).collect();
    let found = contexts.into_iter().find(|context| context.name == name);
    found.ok_or_else(|| ContextError::Unknown { file: shown(&file), known })
}

/// All contexts, by name, and the path of their file.
///
/// # Errors
///
/// [`ContextError`].
pub(crate) fn read() -> Result<(PathBuf, Vec<Context>), ContextError> {
    let file = path().ok_or(ContextError::NoPlace)?;
    let unreadable = |source| ContextError::Unreadable { file: shown(&file), source };
    let text = std::fs::read_to_string(&file).map_err(unreadable)?;
    let mode = std::fs::metadata(&file).map_err(unreadable)?.mode();
    if mode & WRITE_BY_OTHERS != 0 {
        return Err(ContextError::WrittenByOthers(shown(&file)));
    }
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        ContextError::Syntax { file: shown(&file), line }
    })?;
    let contexts = table.into_iter().map(|(name, entry)| {
        Context::of(&name, entry).map_err(|reason| ContextError::Entry {
            context: name,
            file: shown(&file),
            reason,
        })
    });
    let contexts = contexts.collect::<Result<Vec<_>, _>>()?;
    if mode & READ_BY_OTHERS != 0 && contexts.iter().any(Context::has_password) {
        return Err(ContextError::ReadByOthers(shown(&file)));
    }
    Ok((file, contexts))
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

impl Context {
    fn of(name: &str, entry: Value) -> Result<Self, String> {
        let Value::Table(mut entry) = entry else {
            return Err(format!("it is no table; write [{name}] and its keys below"));
        };
        if let Some(unknown) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("{unknown} is no key; there are {}", KEYS.join(", ")));
        }
        let is_production = match entry.remove("production") {
            None => false,
            Some(Value::Boolean(is_production)) => is_production,
            Some(_) => return Err("production is neither true nor false".to_owned()),
        };
        let database = place(&mut entry, "database_url", "database_url_file")?;
        let database = database.ok_or("it has neither database_url nor database_url_file")?;
        let direct = place(&mut entry, "database_direct_url", "database_direct_url_file")?;
        Ok(Self { name: name.to_owned(), is_production, database, direct })
    }

    /// The place of the database.
    pub(crate) fn database(&self) -> &Place {
        &self.database
    }

    /// Its URLs, from wherever they are.
    ///
    /// # Errors
    ///
    /// [`ContextError::UrlFile`].
    pub(crate) fn urls(&self) -> Result<Urls, ContextError> {
        let read = |place: &Place, key| match place {
            Place::Url(url) => Ok(url.clone()),
            Place::File(file) => read_value(file).map_err(|source| {
                let context = self.name.clone();
                ContextError::UrlFile { context, key, source }
            }),
        };
        let database = read(&self.database, "database_url_file")?;
        let direct = self.direct.as_ref().map(|it| read(it, "database_direct_url_file"));
        Ok(Urls { database, direct: direct.transpose()? })
    }

    fn has_password(&self) -> bool {
        let places = [Some(&self.database), self.direct.as_ref()];
        places.into_iter().flatten().any(|place| match place {
            Place::Url(url) => may_hold_password(url),
            Place::File(_) => false,
        })
    }
}

/// One of the two keys, of which the second names a file.
fn place(entry: &mut Table, url: &str, file: &str) -> Result<Option<Place>, String> {
    let mut text = |key: &str| match entry.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
        Some(_) => Err(format!("{key} is no text in quotes, or an empty one")),
    };
    match (text(url)?, text(file)?) {
        (Some(_), Some(_)) => Err(format!("it has {url} and {file}: leave one out")),
        (Some(url), None) => Ok(Some(Place::Url(url))),
        (None, Some(file)) => Ok(Some(Place::File(file.into()))),
        (None, None) => Ok(None),
    }
}

/// Also when it cannot be read: a mistyped URL may hold one anywhere.
fn may_hold_password(url: &str) -> bool {
    Url::parse(url).map_or(true, |url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    })
}
