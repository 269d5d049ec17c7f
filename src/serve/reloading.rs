//! The settings that SIGHUP takes up in a process that serves: log filter, rate limits, webhook
//! secrets, and what is said of the sources of webhooks.

use std::path::PathBuf;

use clap::Args as _;

use super::ApiArgs;
use super::settings::{secrets_in, secrets_of};
use super::webhook_sources::{SETTING, SourcesInForce};
use crate::http::edge::rate_limits::{Limit, LimitArgs, LimitClass, RateLimits};
use crate::settings::reload::{Change, Fresh, Hangups, Now, Reloader};
use crate::standard_webhooks::{CurrentVerifier, Verifier, WebhookSecret};
use crate::telemetry;

const SECRETS: &str = "APP_WEBHOOK_SECRETS";
const SECRETS_FILE: &str = "APP_WEBHOOK_SECRETS_FILE";

/// The parts of the API that can be replaced while it serves.
pub(super) struct Replaceable {
    pub(super) verifier: CurrentVerifier,
    /// Those that it verifies with: their file may have changed since.
    pub(super) secrets: Vec<WebhookSecret>,
    pub(super) rate_limits: RateLimits,
    pub(super) sources: SourcesInForce,
}

impl Replaceable {
    /// Verifies with these secrets at first.
    pub(super) fn new(
        secrets: Vec<WebhookSecret>,
        rate_limits: RateLimits,
        sources: SourcesInForce,
    ) -> Self {
        let verifier = CurrentVerifier::new(Verifier::new(&secrets));
        Self { verifier, secrets, rate_limits, sources }
    }

    /// Reads the settings again at each wish, and replaces what has changed.
    pub(super) fn reloader(self, api: &ApiArgs, hangups: Hangups) -> Reloader {
        let Self { verifier, secrets, rate_limits, mut sources } = self;
        let file = api.webhook_secrets_file.clone();
        let mut secrets = SecretsInForce { verifier, secrets, file };
        Reloader::new(hangups)
            .with(telemetry::FILTERS, telemetry::reload_part())
            .with(
                LimitClass::ALL.into_iter().filter_map(LimitClass::setting),
                Box::new(move |fresh| {
                    let classes = LimitClass::ALL.into_iter();
                    classes.filter_map(|class| reload_limit(&rate_limits, class, fresh)).collect()
                }),
            )
            .with(
                [SECRETS, SECRETS_FILE],
                Box::new(move |fresh| secrets.reload(fresh).into_iter().collect()),
            )
            .with([SETTING], Box::new(move |fresh| sources.reload(fresh).into_iter().collect()))
    }
}

fn reload_limit(limits: &RateLimits, class: LimitClass, fresh: &Fresh) -> Option<Change> {
    let name = class.setting()?;
    let text = match fresh.now(name) {
        Now::Fixed => return None,
        Now::Set(text) => text,
        Now::Unset => default_of(name)?,
    };
    match text.parse::<Limit>() {
        Ok(limit) if limit == limits.limit_of(class) => None,
        Ok(limit) => {
            limits.limit(class, limit);
            Some(Change::Taken(name))
        }
        Err(reason) => Some(Change::Refused { name, reason }),
    }
}

/// The default of a limit, as its flag has it.
fn default_of(name: &str) -> Option<String> {
    let flags = LimitArgs::augment_args(clap::Command::new("limits"));
    let flag = flags.get_arguments().find(|flag| flag.get_env().is_some_and(|it| it == name))?;
    Some(flag.get_default_values().first()?.to_str()?.to_owned())
}

/// The webhook secrets that count at the moment.
struct SecretsInForce {
    verifier: CurrentVerifier,
    secrets: Vec<WebhookSecret>,
    /// The file that was named at the start.
    file: Option<PathBuf>,
}

impl SecretsInForce {
    fn reload(&mut self, fresh: &Fresh) -> Option<Change> {
        let file = fresh.file(SECRETS_FILE, self.file.as_deref());
        let (name, read) = match (fresh.now(SECRETS), file) {
            (Now::Fixed, _) => return None,
            (Now::Set(_), Some(_)) => {
                let reason = format!("{SECRETS_FILE} is set, too: leave one out");
                return Some(Change::Refused { name: SECRETS, reason });
            }
            (Now::Set(text), None) => (SECRETS, secrets_of(&text)),
            (Now::Unset, Some(file)) => (SECRETS_FILE, secrets_in(&file)),
            (Now::Unset, None) => (SECRETS, Ok(Vec::new())),
        };
        let secrets = match read {
            Ok(secrets) => secrets,
            Err(error) => return Some(Change::Refused { name, reason: error.to_string() }),
        };
        if secrets == self.secrets {
            return None;
        }
        // Who may call without a signature, and from where, was decided at the start.
        if secrets.is_empty() || self.secrets.is_empty() {
            let reason = "signatures are turned on and off by a restart only".to_owned();
            return Some(Change::Refused { name, reason });
        }
        self.verifier.replace(Verifier::new(&secrets));
        self.secrets = secrets;
        Some(Change::Taken(name))
    }
}
