//! Settings from `.env` and from files, put into the environment before anything reads it.
//!
//! Nothing here shows a value, or a line that could hold one: whatever is mistyped may be a secret.

use std::io;
use std::path::{Path, PathBuf};

use crate::arguments::read_value;

/// URLs that may be in a file instead, as they hold a password: the variable with `_FILE` after it
/// names the file.
pub(super) const URLS: [&str; 4] =
    ["DATABASE_URL", "APP_DATABASE_DIRECT_URL", "APP_SMTP_URL", "APP_RELAY_TO"];

/// The reason that the environment cannot be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    /// The file is there, and not for us.
    #[error("the file .env cannot be read")]
    Unreadable(#[source] io::Error),
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
}

fn of_variable(name: Option<&str>) -> String {
    name.map(|name| format!(" (of {name})")).unwrap_or_default()
}

/// Sets what `.env` and the files of URLs hold and the environment does not.
pub(crate) fn complete() -> Result<(), EnvironmentError> {
    if let Some(text) = read_dotenv()? {
        let variables = parse(&text)?;
        variables.into_iter().try_for_each(|(name, value)| set(name, &value))?;
    }
    URLS.into_iter().try_for_each(read_url_file)
}

/// The `.env` of this folder or the nearest one above it.
fn read_dotenv() -> Result<Option<String>, EnvironmentError> {
    let here = std::env::current_dir().map_err(EnvironmentError::Unreadable)?;
    let mut files = here.ancestors().map(|folder| folder.join(".env"));
    let file: Option<PathBuf> = files.find(|file| file.is_file());
    file.map(std::fs::read_to_string).transpose().map_err(EnvironmentError::Unreadable)
}

fn parse(text: &str) -> Result<Vec<(String, String)>, EnvironmentError> {
    let text = text.trim_start_matches('\u{feff}');
    dotenvy::from_read_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| locate(&error, text))
}

/// Where the error is, without what is there.
fn locate(error: &dotenvy::Error, text: &str) -> EnvironmentError {
    let bad = match error {
        dotenvy::Error::LineParse(bad, _) => bad.lines().next().unwrap_or_default(),
        _ => return EnvironmentError::Unreadable(io::ErrorKind::InvalidData.into()),
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
    set(variable.to_owned(), &url)
}

/// Sets a variable, unless the environment has it already.
fn set(name: String, value: &str) -> Result<(), EnvironmentError> {
    if value.contains('\0') {
        return Err(EnvironmentError::Nul(name));
    }
    if std::env::var_os(&name).is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(name, value) };
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
            let refused = parse(&format!("{fine}{bad}\n")).expect_err(bad).to_string();
            assert!(refused.starts_with("line 4 of .env"), "{bad}: {refused}");
            assert!(!refused.contains("marker") && !refused.contains("ker"), "{refused}");
            let named = variable.is_none_or(|name| refused.contains(&format!("(of {name})")));
            assert!(named, "{bad}: {refused}");
        }
    }
}
