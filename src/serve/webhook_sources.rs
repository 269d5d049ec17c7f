//! The sources of webhooks that are served: those of the file that a setting names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ApiArgs;
use crate::arguments::BadSetting;
use crate::http::api::inbound_webhooks::ConflictAnswer;
use crate::http::api::webhook_sources::OpenSource;
use crate::http::edge::intake::Intake;
use crate::http::edge::rate_limits::Limit;
use crate::operations::transactions::MAX_NAME_CHARS;
use crate::operations::webhook_rejections::DeclaredSource;
use crate::providers::{Source, Sources};

/// The sources, each with its limit.
#[derive(Debug)]
pub struct OpenSources(Vec<(Source, Limit)>);

/// Reads a file of sources as a server would, and gives their names.
///
/// # Errors
///
/// [`BadSetting`], which names the file, the source and the key.
pub fn check_webhook_sources(file: PathBuf) -> Result<Vec<String>, BadSetting> {
    Ok(OpenSources::of(&file)?.names())
}

impl OpenSources {
    /// Reads the file that the settings name, if they name one.
    ///
    /// # Errors
    ///
    /// [`BadSetting`], which names the file, the source and the key.
    pub fn read(api: &ApiArgs) -> Result<Self, BadSetting> {
        api.webhook_sources.as_deref().map_or_else(|| Ok(Self(Vec::new())), Self::of)
    }

    fn of(file: &Path) -> Result<Self, BadSetting> {
        let sources = Sources::read(file, MAX_NAME_CHARS);
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
    pub(super) fn by_name(
        self,
        intake: &Intake,
        others: ConflictAnswer,
    ) -> Arc<HashMap<String, OpenSource>> {
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
        Arc::new(self.0.into_iter().filter_map(open).collect())
    }
}
