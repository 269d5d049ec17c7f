//! SIGHUP: new values of settings, taken up by a process that runs.
//!
//! The environment of a process and its flags cannot change. What can are files: `.env` (or what
//! `APP_ENV_FILE` names), and the files that hold secrets. So a value that the environment or a
//! flag has given stays, and all else is read again. Who has such settings hands in a [`Part`]; a
//! value that cannot be used leaves the old one in force, whatever becomes of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::environment::{Dotenv, EnvironmentError, Origin, URLS, origin_of};
use super::{is_given_by_flag, table};
use crate::arguments::read_value;

/// The wishes to read the settings again. Two that come while a reload is under way are one.
pub type Hangups = mpsc::Receiver<()>;

/// Takes up new values of some settings, and tells what became of them.
pub type Part = Box<dyn FnMut(&Fresh) -> Vec<Change> + Send>;

/// The outcome for one setting; nothing where it is as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The new value is in force.
    Taken(&'static str),
    /// The new value cannot be used, and the old one stays.
    Refused {
        /// The name of the setting.
        name: &'static str,
        /// The reason, without the value.
        reason: String,
    },
}

/// The settings as they are now.
#[derive(Debug)]
pub struct Fresh {
    dotenv: BTreeMap<String, String>,
}

/// The value of a setting when it is read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Now {
    /// It was given by a flag or by the environment, and cannot change.
    Fixed,
    /// It has this value.
    Set(String),
    /// It has none, so the default holds.
    Unset,
}

impl Fresh {
    /// Reads `.env` again.
    fn read() -> Result<Self, EnvironmentError> {
        let (mut dotenv, mut faults) = (BTreeMap::new(), Vec::new());
        if let Some(read) = Dotenv::read()? {
            faults = read.faults;
            for (name, value) in read.values {
                // The first of several holds, as at the start.
                dotenv.entry(name).or_insert(value);
            }
        }
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(Self { dotenv }),
        }
    }

    /// The value of a setting.
    #[must_use]
    pub fn now(&self, name: &str) -> Now {
        let by_environment = matches!(
            origin_of(name),
            Some(Origin::Environment | Origin::Context(_) | Origin::ValueFile(_))
        );
        match self.dotenv.get(name) {
            _ if by_environment || is_given_by_flag(name) => Now::Fixed,
            Some(value) => Now::Set(value.clone()),
            None => Now::Unset,
        }
    }

    /// The file that a setting names; `at_start` is the one that it named when the process started.
    #[must_use]
    pub fn file(&self, name: &str, at_start: Option<&Path>) -> Option<PathBuf> {
        match self.now(name) {
            Now::Fixed => at_start.map(Path::to_owned),
            Now::Set(file) => Some(file.into()),
            Now::Unset => None,
        }
    }

    /// The value of a setting as text, whether it can change or not; none where it is not set.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        match self.now(name) {
            Now::Fixed => std::env::var(name).ok(),
            Now::Set(text) => Some(text),
            Now::Unset => None,
        }
    }
}

/// Reads the settings of a process again, whenever it is asked to.
pub struct Reloader {
    hangups: Hangups,
    /// Names that a part sees to.
    reloaded: BTreeSet<&'static str>,
    parts: Vec<Part>,
    /// The values of all others when they were last looked at, so that a change is told once.
    seen: BTreeMap<String, String>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // `seen` holds secrets.
        f.debug_struct("Reloader").field("reloaded", &self.reloaded).finish_non_exhaustive()
    }
}

impl Reloader {
    /// A reloader that has no part yet.
    #[must_use]
    pub fn new(hangups: Hangups) -> Self {
        let seen = Fresh::read().map(|fresh| fresh.dotenv).unwrap_or_default();
        let seen = seen.into_iter().chain(values_of_files()).collect();
        Self { hangups, reloaded: BTreeSet::new(), parts: Vec::new(), seen }
    }

    /// Adds a part that sees to the settings of these names.
    #[must_use]
    pub fn with(mut self, names: impl IntoIterator<Item = &'static str>, part: Part) -> Self {
        self.reloaded.extend(names);
        self.parts.push(part);
        self
    }

    /// Reads the settings again at each wish, for ever.
    pub async fn run(mut self) {
        while self.hangups.recv().await.is_some() {
            self.reload();
        }
    }

    /// One line of the log says what came of it.
    fn reload(&mut self) {
        let fresh = match Fresh::read() {
            Ok(fresh) => fresh,
            Err(fault) => {
                tracing::warn!("nothing was reloaded, and all settings stay as they are: {fault}");
                return;
            }
        };
        let changes: Vec<Change> = self.parts.iter_mut().flat_map(|part| part(&fresh)).collect();
        let restart = self.changed_elsewhere(&fresh);
        report(&changes, &restart);
    }

    /// Settings that have changed and that nothing here can take up.
    fn changed_elsewhere(&mut self, fresh: &Fresh) -> Vec<String> {
        let now: BTreeMap<String, String> =
            fresh.dotenv.clone().into_iter().chain(values_of_files()).collect();
        let before = std::mem::replace(&mut self.seen, now);
        let names: BTreeSet<&String> = before.keys().chain(self.seen.keys()).collect();
        let changed = names.into_iter().filter(|name| {
            let is_ours = table::find(name.trim_end_matches("_FILE")).is_some()
                || table::find(name).is_some()
                || table::general(name).is_some();
            let is_fixed = fresh.now(name) == Now::Fixed && !name.ends_with("_FILE");
            let is_seen_to = self.reloaded.contains(name.as_str());
            is_ours && !is_fixed && !is_seen_to && before.get(*name) != self.seen.get(*name)
        });
        changed.cloned().collect()
    }
}

/// The URLs that files hold, by the variable that names the file.
fn values_of_files() -> BTreeMap<String, String> {
    let read = |url: &str| {
        let Some(Origin::ValueFile(file)) = origin_of(url) else { return None };
        Some((format!("{url}_FILE"), read_value(Path::new(&file)).ok()?))
    };
    URLS.into_iter().filter_map(read).collect()
}

fn report(changes: &[Change], restart: &[String]) {
    let taken: Vec<&str> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Taken(name) => Some(*name),
            Change::Refused { .. } => None,
        })
        .collect();
    let refused: Vec<String> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Taken(_) => None,
            Change::Refused { name, reason } => Some(format!("{name} ({reason})")),
        })
        .collect();
    let mut said = match taken.as_slice() {
        [] => "reloaded: nothing has changed".to_owned(),
        taken => format!("reloaded: {} changed", taken.join(", ")),
    };
    if !refused.is_empty() {
        said += &format!("; the old value stays in force of {}", refused.join(", "));
    }
    if !restart.is_empty() {
        said += &format!("; takes a restart: {}", restart.join(", "));
    }
    let (changed, refused) = (taken.join(","), refused.len());
    match refused {
        0 => tracing::info!(changed, "{said}"),
        _ => tracing::warn!(changed, refused, "{said}"),
    }
}
