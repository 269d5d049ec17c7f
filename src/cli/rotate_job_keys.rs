//! `app rotate-job-keys`: seals the jobs and the secrets of endpoints that have an older key with
//! the current one, so that the older one can be retired.

use std::process::ExitCode;

use anyhow::Context as _;

use super::actor::NameArg;
use super::database::Database;
use super::output::{Output, table};
use super::report::FAILED;
use crate::operations::job_keys::{
    self, JobKeyArgs, KeyNeed, KeyRotation, Keyring, Resealed, SecretUse,
};

const APPLICATION: &str = "surety-rotate-job-keys";

const EXAMPLES: &str = "\
Examples:
  export APP_JOB_KEYS=2026-12:$(openssl rand -base64 32),2026-11:…
  app rotate-job-keys --dry-run         who has which key
  app rotate-job-keys                   seal again, with 2026-12

First make the new key known to every process, as the last of APP_JOB_KEYS; once all run with it,
move it to the front. Jobs that wait and discarded jobs, which can be redriven, are sealed again
while workers go on; so are those in plain whose kind has become sealed. Jobs that run are left to
the next call. Completed and cancelled jobs never run again and keep their key until retention drops
them: the old key is needed only to read those.

Secrets of webhook endpoints are sealed again, too, and sealed at last if they were stored before
there was a key. A backup of before has them with the keys of then: keep those for as long.

Exit codes: 0 done, 1 something could not be opened, 2 usage, 7 database unreachable, 8 schema
mismatch, 78 APP_JOB_KEYS is not right.";

/// Seals jobs and secrets of endpoints with the current key that have an older one.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    #[command(flatten)]
    keys: JobKeyArgs,

    /// Only say what has which key.
    #[arg(long)]
    dry_run: bool,

    /// Jobs changed at a time; as many are kept from being claimed for a moment.
    #[arg(long, value_name = "JOBS", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,

    #[command(flatten)]
    by: NameArg,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When there are no keys, or the database cannot be reached or refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let keyring = args.keys.keyring()?;
    let keyring = keyring.context("there are no keys: set APP_JOB_KEYS or APP_JOB_KEYS_FILE")?;
    let pool = args.database.connect_current(APPLICATION).await?;
    let rotation = match args.dry_run {
        true => job_keys::count(&pool, &keyring).await?,
        false => job_keys::rotate(&pool, &keyring, args.batch, &args.by.identity()).await?,
    };
    match args.output {
        Output::Table => print!("{}", in_words(&keyring, &rotation)),
        Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(&rotation)?),
    }
    Ok(match rotation.has_unopened() {
        true => ExitCode::from(FAILED),
        false => ExitCode::SUCCESS,
    })
}

fn remark(need: KeyNeed) -> &'static str {
    match need {
        KeyNeed::Current => "current",
        KeyNeed::CanBeRetired => "can be retired",
        KeyNeed::StillNeeded => "still needed",
        KeyNeed::UnknownAndUnneeded => "not in APP_JOB_KEYS",
        KeyNeed::UnknownAndNeeded => "not in APP_JOB_KEYS, and needed",
        KeyNeed::PlainHistory => "history",
        KeyNeed::ToBeSealed => "to be sealed",
    }
}

fn in_words(keyring: &Keyring, rotation: &KeyRotation) -> String {
    let KeyRotation { current, done, keys, endpoints_done, secrets, can_be_retired: _ } = rotation;
    let mut text = match done {
        None => format!("the current key is {current}; nothing was changed\n"),
        Some(Resealed { resealed, skipped, unopened }) => format!(
            "{resealed} jobs have key {current} now; {skipped} were busy, {unopened} could not be \
             opened\n"
        ),
    };
    let rows = keys.iter().map(|it| {
        [
            key_name(it.key.as_deref()),
            it.waiting.to_string(),
            it.running.to_string(),
            it.discarded.to_string(),
            it.history.to_string(),
            remark(rotation.need_of_jobs(keyring, it)).to_owned(),
        ]
    });
    let header = ["KEY", "WAITING", "RUNNING", "DISCARDED", "HISTORY", ""];
    text += &table(header, &rows.collect::<Vec<_>>());
    if let Some(Resealed { resealed, unopened, .. }) = endpoints_done {
        text += &format!(
            "the secrets of {resealed} endpoints have key {current} now; those of {unopened} could \
             not be opened\n"
        );
    }
    if !secrets.is_empty() {
        let row = |it: &SecretUse| {
            let need = remark(rotation.need_of_secrets(keyring, it)).to_owned();
            [key_name(it.key.as_deref()), it.secrets.to_string(), need]
        };
        let rows: Vec<_> = secrets.iter().map(row).collect();
        text += &table(["KEY", "SECRETS OF ENDPOINTS", ""], &rows);
    }
    for id in rotation.unused(keyring) {
        text += &format!("nothing has key {id}: it can be retired\n");
    }
    text
}

fn key_name(key: Option<&str>) -> String {
    key.unwrap_or("in plain").to_owned()
}
