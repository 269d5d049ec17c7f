//! Settings that are right alone and wrong together, or that only their reader can judge.

use std::collections::BTreeSet;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};

use crate::arguments::parse_listen_address;
use crate::bank::BankArgs;
use crate::bank::simulator::SimulatorArgs;
use crate::db::DatabaseArgs;
use crate::notices::MailArgs;
use crate::operations::job_keys::JobKeyArgs;
use crate::serve::{ApiArgs, ReadArgs, require_signatures};
use crate::settings::table;
use crate::work::WorkerArgs;
use crate::{relay, telemetry};

/// Settings that flags give: the name of the variable, and the value.
pub(super) type Flags = [(String, String)];

/// Settings to be judged together.
pub(super) struct Combinations<'a> {
    /// Those that flags give.
    pub(super) flags: &'a Flags,
    /// Names of those that cannot be used by themselves, which is told elsewhere: the others are
    /// judged as if these had their defaults.
    pub(super) wrong: BTreeSet<&'static str>,
}

impl Combinations<'_> {
    /// All that is wrong, each in one sentence that names a setting.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = vec![
            self.fault("DATABASE_URL", |args: DatabaseArgs| Ok(args.require_url()?)),
            self.fault("APP_DATABASE_DIRECT_URL", |args: DatabaseArgs| {
                Ok(args.direct_options("surety").map(drop)?)
            }),
            self.fault("APP_DATABASE_READ_URL", |args: ReadArgs| Ok(args.require_url()?)),
            self.fault("APP_WEBHOOK_SECRETS", |args: ApiArgs| args.secrets().map(drop)),
            self.fault("APP_LISTEN", |args: Listening| match args.api.secrets() {
                // Told above.
                Err(_) => Ok(()),
                Ok(secrets) => Ok(require_signatures(&secrets, args.listen)?),
            }),
            self.fault("APP_JOB_KEYS", |args: JobKeyArgs| args.keyring().map(drop)),
            self.fault("APP_BANK_URL", |args: BankArgs| Ok(args.client().map(drop)?)),
            self.fault("APP_SMTP_URL", |args: MailArgs| Ok(args.mailer().map(drop)?)),
            self.fault("APP_WORKER_LEASE", |args: WorkerArgs| {
                // Its keys are told of above.
                let settings = WorkerArgs { job_keys: JobKeyArgs::default(), ..args }.settings()?;
                Ok(settings.check()?)
            }),
            self.fault("APP_BANK_SIMULATOR_SUCCESS_RATE", |args: SimulatorArgs| Ok(args.check()?)),
            self.fault("APP_RELAY_TO", |args: relay::Args| Ok(args.destination().map(drop)?)),
        ];
        faults.extend(telemetry::faults().iter().map(|fault| Some(fault.to_string())));
        // Two may stumble over the same.
        let mut told = BTreeSet::new();
        faults.into_iter().flatten().filter(|fault| told.insert(fault.clone())).collect()
    }

    fn fault<A: Args>(
        &self,
        name: &str,
        check: impl Fn(A) -> anyhow::Result<()>,
    ) -> Option<String> {
        let command = A::augment_args(Command::new("check")).mut_args(|arg| {
            let is_wrong = env_of(&arg).is_some_and(|name| self.wrong.contains(name));
            if is_wrong { arg.env(Resettable::Reset) } else { arg }
        });
        let given = command.get_arguments().filter_map(|arg| {
            let (_, value) = self.flags.iter().find(|(of, _)| env_of(arg) == Some(of))?;
            Some(format!("--{}={value}", arg.get_long()?))
        });
        let line: Vec<String> = std::iter::once("check".to_owned()).chain(given).collect();
        let matches = match command.clone().try_get_matches_from(line) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::ArgumentConflict => {
                return Some(conflict(&command));
            }
            // Something that is needed is not set: then it is not used.
            Err(_) => return None,
        };
        let error = check(A::from_arg_matches(&matches).ok()?).err()?;
        let said = sentence(&error);
        let names_one = table::all().any(|setting| said.contains(setting.name));
        Some(if names_one { said } else { format!("{name}: {said}") })
    }
}

fn env_of(arg: &Arg) -> Option<&str> {
    arg.get_env()?.to_str()
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

/// The settings of the command that may not be set together, and are.
fn conflict(command: &Command) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let names = command.get_arguments().filter_map(env_of);
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
