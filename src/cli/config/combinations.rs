//! Settings that are right alone and wrong together, or that only their reader can judge.

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, Command};

use crate::arguments::parse_listen_address;
use crate::bank::BankArgs;
use crate::bank::simulator::SimulatorArgs;
use crate::db::DatabaseArgs;
use crate::notices::MailArgs;
use crate::operations::job_keys::JobKeyArgs;
use crate::serve::ApiArgs;
use crate::work::WorkerArgs;
use crate::{relay, telemetry};

/// What a flag gives a setting: the name of its variable, and the value.
pub(super) type Flags = [(String, String)];

/// All that is wrong, each in one sentence. A set of settings of which one alone is wrong is passed
/// over, as that is told elsewhere.
pub(super) fn faults(flags: &Flags) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(fault(flags, |args: DatabaseArgs| Ok(args.require_urls()?)));
    faults.extend(fault(flags, |args: ApiArgs| args.secrets().map(drop)));
    faults.extend(fault(flags, |args: Listening| {
        match args.api.secrets() {
            // Told above.
            Err(_) => Ok(()),
            Ok(_) => args.api.require_signatures(args.listen),
        }
    }));
    faults.extend(fault(flags, |args: JobKeyArgs| args.keyring().map(drop)));
    faults.extend(fault(flags, |args: BankArgs| Ok(args.client().map(drop)?)));
    faults.extend(fault(flags, |args: MailArgs| Ok(args.mailer().map(drop)?)));
    faults.extend(fault(flags, |args: WorkerArgs| {
        args.settings()?.check().context("APP_WORKER_… cannot be right together")
    }));
    faults.extend(fault(flags, |args: SimulatorArgs| Ok(args.check()?)));
    faults.extend(fault(flags, |args: relay::Args| Ok(args.destination().map(drop)?)));
    faults.extend(telemetry::faults().iter().map(ToString::to_string));
    // Two may stumble over the same.
    let mut told = std::collections::BTreeSet::new();
    faults.retain(|fault| told.insert(fault.clone()));
    faults
}

/// The address and the secrets that must fit it.
#[derive(clap::Args)]
struct Listening {
    #[arg(long, env = "APP_LISTEN", default_value = "127.0.0.1:8000",
          value_parser = parse_listen_address)]
    listen: std::net::SocketAddr,
    #[command(flatten)]
    api: ApiArgs,
}

fn fault<A: Args>(flags: &Flags, check: impl Fn(A) -> anyhow::Result<()>) -> Option<String> {
    let command = A::augment_args(Command::new("check"));
    let given = command.get_arguments().filter_map(|arg| {
        let (name, flag) = (arg.get_env()?.to_str()?, arg.get_long()?);
        let (_, value) = flags.iter().find(|(of, _)| of == name)?;
        Some(format!("--{flag}={value}"))
    });
    let line: Vec<String> = std::iter::once("check".to_owned()).chain(given).collect();
    let matches = match command.clone().try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::ArgumentConflict => {
            return Some(conflict(&command));
        }
        Err(_) => return None,
    };
    check(A::from_arg_matches(&matches).ok()?).err().map(|error| sentence(&error))
}

/// The settings of the command that may not be set together, and are.
fn conflict(command: &Command) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let names = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    let pairs = names.map(|name| (name, format!("{name}_FILE")));
    let both = pairs.into_iter().find(|(name, file)| is_set(name) && is_set(file));
    match both {
        Some((name, file)) => format!("{name} and {file} are both set: leave one out"),
        None => "settings are set that exclude each other".to_owned(),
    }
}

/// The error with its causes, none of which shows a value.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said += &format!(": {cause}");
        }
    }
    said
}
