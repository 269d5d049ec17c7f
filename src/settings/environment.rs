//! Settings from `.env` and from files, put into the environment before anything reads it.
//!
//! Nothing here shows a value, or a line that could hold one: whatever is mistyped may be a secret.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::contexts::{self, Context, ContextError};
use crate::arguments::read_value;

/// URLs that may be in a file instead, as they hold a password: the variable with `_FILE` after it
/// names the file.
pub(crate) const URLS: [&str; 5] = [
    "DATABASE_URL",
    "APP_DATABASE_DIRECT_URL",
    "APP_DATABASE_READ_URL",
    "APP_SMTP_URL",
    "APP_RELAY_TO",
];
/// The variables that a context decides alone.
const OF_CONTEXT: [&str; 3] = ["DATABASE_URL", "APP_DATABASE_DIRECT_URL", "APP_DATABASE_READ_URL"];
/// The variable that names the file which is read instead of the nearest `.env`.
pub(crate) const ENV_FILE: &str = "APP_ENV_FILE";

/// The source of each variable that was not there when the process was started.
static ORIGINS: Mutex<BTreeMap<String, Origin>> = Mutex::new(BTreeMap::new());

/// The source of the value of a variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The environment of the process.
    Environment,
    /// A line of this `.env`.
    EnvFile(PathBuf),
    /// The whole of this file.
    ValueFile(PathBuf),
    /// The context of this name.
    Context(String),
}

/// The reason that the environment cannot be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    /// The file is there, and not for us.
    #[error("the file {} cannot be read", shown.display())]
    Unreadable {
        /// The file.
        shown: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The line is no assignment.
    #[error(
        "line {line} of .env{} cannot be read: write NAME=value, and the value in single quotes \
         when it has spaces, quotes, $ or # (it is not shown, as it may be secret)",
        of_variable(variable.as_deref())
    )]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// The variable that it sets, if that can be told.
        variable: Option<String>,
    },
    /// The value cannot be one of a variable.
    #[error("{0} holds a NUL byte")]
    Nul(String),
    /// The file of a URL cannot be read.
    #[error("the file that {by_file} names cannot be read")]
    UrlFile {
        /// The variable.
        by_file: String,
        /// The system's error.
        source: io::Error,
    },
    /// The context cannot be entered.
    #[error(transparent)]
    Context(#[from] ContextError),
}

fn of_variable(name: Option<&str>) -> String {
    name.map(|name| format!(" (of {name})")).unwrap_or_default()
}

/// The context that a process is to act in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted<'a> {
    /// None, whatever the environment says.
    None,
    /// The one that `APP_CONTEXT` names, if it is set.
    OfEnvironment,
    /// The one that a flag names.
    Named(&'a str),
}

/// Sets what `.env`, the context and the files of URLs hold and the environment does not. In a
/// context, the database of the environment counts for nothing. Gives all that is wrong; what could
/// be set is set.
pub(crate) fn complete(context: Wanted<'_>) -> Vec<EnvironmentError> {
    let mut faults = Vec::new();
    match Dotenv::read() {
        Ok(Some(dotenv)) => {
            faults.extend(dotenv.faults);
            for (name, value) in dotenv.values {
                let origin = Origin::EnvFile(dotenv.file.clone());
                faults.extend(set(name, &value, origin).err());
            }
        }
        Ok(None) => {}
        Err(error) => faults.push(error),
    }
    let named = match context {
        Wanted::None => None,
        Wanted::OfEnvironment => contexts::named_by_environment(),
        Wanted::Named(name) => Some(name.to_owned()),
    };
    if let Some(name) = named {
        faults.extend(contexts::open(&name).map_err(Into::into).and_then(enter).err());
    }
    faults.extend(URLS.into_iter().filter_map(|url| read_url_file(url).err()));
    faults
}

/// Makes the database of the context that of this process, and no other.
fn enter(context: Context) -> Result<(), EnvironmentError> {
    for variable in OF_CONTEXT {
        for name in [variable.to_owned(), format!("{variable}_FILE")] {
            // SAFETY: no other thread runs yet that could read the environment.
            unsafe { std::env::remove_var(&name) };
            origins().remove(&name);
        }
    }
    let urls = context.urls()?;
    let origin = Origin::Context(context.name.clone());
    set("DATABASE_URL".to_owned(), &urls.database, origin.clone())?;
    if let Some(direct) = urls.direct {
        set("APP_DATABASE_DIRECT_URL".to_owned(), &direct, origin)?;
    }
    contexts::keep_current(context);
    Ok(())
}

/// The source of this variable; none when it is not set.
pub(crate) fn origin_of(name: &str) -> Option<Origin> {
    std::env::var_os(name)?;
    Some(origins().get(name).cloned().unwrap_or(Origin::Environment))
}

fn origins() -> std::sync::MutexGuard<'static, BTreeMap<String, Origin>> {
    ORIGINS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A `.env`, as far as it can be read.
#[derive(Debug)]
pub(crate) struct Dotenv {
    /// Its path.
    pub(crate) file: PathBuf,
    /// Its variables, in their order.
    pub(crate) values: Vec<(String, String)>,
    /// Its lines that cannot be read.
    pub(crate) faults: Vec<EnvironmentError>,
}

impl Dotenv {
    /// The file that `APP_ENV_FILE` names, else the `.env` of this folder or the nearest one above
    /// it; none where there is none.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Unreadable`].
    pub(crate) fn read() -> Result<Option<Self>, EnvironmentError> {
        let named = std::env::var_os(ENV_FILE).filter(|file| !file.is_empty()).map(PathBuf::from);
        let file = match &named {
            Some(file) => Some(file.clone()),
            None => nearest_dotenv()?,
        };
        let Some(file) = file else { return Ok(None) };
        let text = std::fs::read_to_string(&file).map_err(|source| {
            // A variable may hold anything.
            let shown = named.map_or_else(|| ".env".into(), |_| format!("of {ENV_FILE}").into());
            EnvironmentError::Unreadable { shown, source }
        })?;
        let (values, faults) = parse(&text);
        Ok(Some(Self { file, values, faults }))
    }
}

fn nearest_dotenv() -> Result<Option<PathBuf>, EnvironmentError> {
    let here = std::env::current_dir()
        .map_err(|source| EnvironmentError::Unreadable { shown: ".env".into(), source })?;
    let mut files = here.ancestors().map(|folder| folder.join(".env"));
    Ok(files.find(|file| file.is_file()))
}

/// The variables, and the lines that set none.
fn parse(text: &str) -> (Vec<(String, String)>, Vec<EnvironmentError>) {
    let text = text.trim_start_matches('\u{feff}');
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok(value) => values.push(value),
            Err(error) => {
                let is_about_a_line = matches!(error, dotenvy::Error::LineParse(..));
                faults.push(locate(&error, text));
                // The rest is not read either.
                if !is_about_a_line {
                    break;
                }
            }
        }
    }
    (values, faults)
}

/// Where the error is, without what is there.
fn locate(error: &dotenvy::Error, text: &str) -> EnvironmentError {
    let bad = match error {
        dotenvy::Error::LineParse(bad, _) => bad.lines().next().unwrap_or_default(),
        _ => {
            let source = io::ErrorKind::InvalidData.into();
            return EnvironmentError::Unreadable { shown: ".env".into(), source };
        }
    };
    // The reader tells the line, or what stands behind the sign.
    let is_bad = |line: &str| line.trim_end().ends_with(bad.trim()) && !line.starts_with('#');
    let index = text.lines().position(is_bad).unwrap_or_default();
    let variable = text.lines().nth(index).and_then(variable_of);
    EnvironmentError::Line { line: index + 1, variable }
}

/// The name before the sign, if it is surely a name: a line may be the rest of a secret.
fn variable_of(line: &str) -> Option<String> {
    let line = line.trim().trim_start_matches("export ").trim();
    let name = line.split_once('=')?.0.trim();
    let is_ours = ["APP_", "OTEL_"].iter().any(|it| name.starts_with(it)) || URLS.contains(&name);
    let is_name = name.bytes().all(|it| it.is_ascii_uppercase() || b"_0123456789".contains(&it));
    (is_ours && is_name).then(|| name.to_owned())
}

fn read_url_file(variable: &str) -> Result<(), EnvironmentError> {
    let by_file = format!("{variable}_FILE");
    let (None, Some(file)) = (std::env::var_os(variable), std::env::var_os(&by_file)) else {
        return Ok(());
    };
    let url = read_value(Path::new(&file))
        .map_err(|source| EnvironmentError::UrlFile { by_file, source })?;
    set(variable.to_owned(), &url, Origin::ValueFile(file.into()))
}

/// Sets a variable, unless the environment has it already.
fn set(name: String, value: &str, origin: Origin) -> Result<(), EnvironmentError> {
    if value.contains('\0') {
        return Err(EnvironmentError::Nul(name));
    }
    if std::env::var_os(&name).is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(&name, value) };
        origins().insert(name, origin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_is_told_by_number_and_name_only() {
        let fine = "# first\n\nAPP_LISTEN=127.0.0.1:1\n";
        for (bad, variable) in [
            ("APP_WEBHOOK_SECRETS=whsec_mar ker", Some("APP_WEBHOOK_SECRETS")),
            ("export APP_JOB_KEYS='mar ker", Some("APP_JOB_KEYS")),
            ("DATABASE_URL=\"postgres://u:marker@h/d", Some("DATABASE_URL")),
            ("APP_WEBHOOK_SECRETS whsec_marker", None),
            ("marker= a b", None),
            ("APP_marker =x y", None),
            ("  marker  ", None),
        ] {
            let (values, faults) = parse(&format!("{fine}{bad}\n"));
            assert_eq!(values.len(), 1, "{bad}");
            let [refused] = faults.as_slice() else { panic!("{bad}: {faults:?}") };
            let refused = refused.to_string();
            assert!(refused.starts_with("line 4 of .env"), "{bad}: {refused}");
            assert!(!refused.contains("marker") && !refused.contains("ker"), "{refused}");
            let named = variable.is_none_or(|name| refused.contains(&format!("(of {name})")));
            assert!(named, "{bad}: {refused}");
        }
    }

    #[test]
    fn every_line_that_cannot_be_read_is_told() {
        let (values, faults) = parse("APP_A=b c\nAPP_LISTEN=1\nAPP_D=e f\n");
        assert_eq!(values, [("APP_LISTEN".to_owned(), "1".to_owned())]);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
