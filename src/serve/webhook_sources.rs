//! The sources of webhooks that are served: those of the file that a setting names, as it is when
//! the process starts, and at each SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::ApiArgs;
use crate::arguments::BadSetting;
use crate::http::api::inbound_webhooks::ConflictAnswer;
use crate::http::api::webhook_sources::{OpenSource, SourcesByName};
use crate::http::edge::intake::Intake;
use crate::http::edge::rate_limits::Limit;
use crate::operations::transactions::MAX_NAME_CHARS;
use crate::operations::webhook_rejections::DeclaredSource;
use crate::providers::settings::Variable;
use crate::providers::{Source, Sources};
use crate::settings::reload::{Change, Fresh};

/// The setting that names the file.
pub(super) const SETTING: &str = "APP_WEBHOOK_SOURCES";

/// The sources, each with its limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenSources(Vec<(Source, Limit)>);

/// Reads a file of sources as a server would, and gives their names.
///
/// # Errors
///
/// [`BadSetting`], which names the file, the source and the key.
pub fn check_webhook_sources(file: PathBuf) -> Result<Vec<String>, BadSetting> {
    Ok(OpenSources::of(&file, &environment)?.names())
}

impl OpenSources {
    /// Reads the file that the settings name, if they name one.
    ///
    /// # Errors
    ///
    /// [`BadSetting`], which names the file, the source and the key.
    pub fn read(api: &ApiArgs) -> Result<Self, BadSetting> {
        Self::of_setting(api.webhook_sources.as_deref(), &environment)
    }

    fn of_setting(file: Option<&Path>, variable: Variable<'_>) -> Result<Self, BadSetting> {
        file.map_or_else(|| Ok(Self(Vec::new())), |file| Self::of(file, variable))
    }

    fn of(file: &Path, variable: Variable<'_>) -> Result<Self, BadSetting> {
        let sources = Sources::read(file, variable, MAX_NAME_CHARS);
        let sources = sources.map_err(|error| BadSetting(error.to_string()))?;
        let with_limit = |source: Source| match source.limit.as_deref().map(str::parse::<Limit>) {
            None => Ok((source, Limit::Off)),
            Some(Ok(limit)) => Ok((source, limit)),
            Some(Err(problem)) => {
                Err(BadSetting(Sources::error(file, &source, "limit", &problem).to_string()))
            }
        };
        Ok(Self(sources.into_iter().map(with_limit).collect::<Result<_, _>>()?))
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(source, _)| source.name.clone()).collect()
    }

    /// Their names, and how long each may be silent.
    pub(super) fn declared(&self) -> Vec<DeclaredSource> {
        let declared = |(source, _): &(Source, Limit)| DeclaredSource {
            name: source.name.clone(),
            silent_after_secs: source.silent_after.map(|time| time.as_secs()),
        };
        self.0.iter().map(declared).collect()
    }

    /// The sources by their names, as they are served.
    fn by_name(&self, intake: &Intake, others: ConflictAnswer) -> SourcesByName {
        let open = |(source, limit): (Source, Limit)| {
            let conflict_answer = match source.accepts_conflicts {
                None => others,
                Some(true) => ConflictAnswer::Accept,
                Some(false) => ConflictAnswer::Refuse,
            };
            let index = intake.source(&source.name)?;
            let name = source.name.clone();
            Some((name, OpenSource { source, index, limit, conflict_answer }))
        };
        Arc::new(self.0.iter().cloned().filter_map(open).collect())
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The sources that count at the moment.
pub(super) struct SourcesInForce {
    sources: OpenSources,
    /// The file that was named at the start.
    file: Option<PathBuf>,
    intake: Arc<Intake>,
    /// The answer to a conflict where the file has none.
    others: ConflictAnswer,
    served: watch::Sender<SourcesByName>,
}

impl SourcesInForce {
    /// Begins with these.
    pub(super) fn new(sources: OpenSources, api: &ApiArgs, intake: &Arc<Intake>) -> Self {
        let (intake, others) = (Arc::clone(intake), api.conflict_answer);
        let served = watch::Sender::new(sources.by_name(&intake, others));
        Self { sources, file: api.webhook_sources.clone(), intake, others, served }
    }

    /// The sources at any moment from now on.
    pub(super) fn served(&self) -> watch::Receiver<SourcesByName> {
        self.served.subscribe()
    }

    /// Reads the file again, and the secrets that it names, and serves that.
    pub(super) fn reload(&mut self, fresh: &Fresh) -> Option<Change> {
        let file = fresh.file(SETTING, self.file.as_deref());
        let read = OpenSources::of_setting(file.as_deref(), &|name| fresh.text(name));
        let sources = match read {
            Ok(sources) if sources == self.sources => return None,
            Ok(sources) => sources,
            Err(error) => {
                return Some(Change::Refused { name: SETTING, reason: error.to_string() });
            }
        };
        // They were declared to the database and to the figures at the start.
        if sources.declared() != self.sources.declared() {
            let reason = "sources come, go and change their silent_after by a restart only";
            return Some(Change::Refused { name: SETTING, reason: reason.to_owned() });
        }
        self.served.send_replace(sources.by_name(&self.intake, self.others));
        self.sources = sources;
        Some(Change::Taken(SETTING))
    }
}
