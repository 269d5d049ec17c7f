//! `app keys`: flags, tables and exit codes of the
//! [operations on API keys](crate::operations::api_keys).

use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::parse_duration;
use anyhow::bail;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::actor::NameArg;
use super::database::Database;
use super::output::{Output, moment, table};
use super::users;
use crate::ids::ApiKeyId;
use crate::operations::api_keys::{self, ActsAs, ApiKeyView, ApiKeysError, IssuedKey};
use crate::operations::users::{Role, UserRef};

const APPLICATION: &str = "surety-keys";

const EXAMPLES: &str = "\
Examples:
  app keys create --name dashboard --role viewer --expires-in 90d
  app keys create --name till-7 --user shop@example.com
  app keys rotate 019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93 --grace 1h
  app keys revoke 019a3f5e-8c21-7d40-9b6e-2f1c0a7d5e93
  app keys rotate-signing           twice, and everybody is signed out

A secret is printed once, on stdout, and cannot be had again. All of it takes effect with the next
request on every node.

Exit codes: 0 done, 1 failed, 2 usage.";

/// Makes, lists, rotates and revokes API keys.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Makes an API key and prints its secret.
    Create {
        #[command(flatten)]
        database: Database,
        /// The name of the key: who uses it, and for what.
        #[arg(long)]
        name: String,
        /// A key that acts for nobody, as viewer, operator or admin.
        #[arg(long, value_enum, required_unless_present = "user", conflicts_with = "user")]
        role: Option<MachineRole>,
        /// A key that acts for this user, by id or email address, with a user's rights.
        #[arg(long)]
        user: Option<UserRef>,
        /// The time for which it holds, such as 90d [default: until it is revoked]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        by: NameArg,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Lists all API keys, without their secrets.
    List {
        #[command(flatten)]
        database: Database,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Ends an API key at once and for good.
    Revoke {
        #[command(flatten)]
        database: Database,
        /// The key's id.
        id: Uuid,
        #[command(flatten)]
        by: NameArg,
    },
    /// Gives an API key another secret and prints it.
    Rotate {
        #[command(flatten)]
        database: Database,
        /// The key's id.
        id: Uuid,
        /// The time for which the secret before still holds.
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
        grace: Duration,
        #[command(flatten)]
        by: NameArg,
        /// The output format.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Makes a new key that tokens are signed with. Tokens of the one before still hold, those of
    /// the one before that no longer do.
    RotateSigning {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        by: NameArg,
    },
}

/// The rights of a key that acts for nobody.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MachineRole {
    /// Reads everything but what is hidden, and changes nothing.
    Viewer,
    /// Reads the same, and acts on what moves no money.
    Operator,
    /// Does all of that, sees what is hidden, changes roles and statuses of users, and decides over
    /// money that is stuck.
    Admin,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, or there is no such key or user.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create { database, name, role, user, expires_in, by, output } => {
            let pool = database.connect_current(APPLICATION).await?;
            let mut conn = pool.acquire().await?;
            let acts_as = acts_as(&mut conn, role, user).await?;
            let created =
                api_keys::create(&mut conn, &name, acts_as, expires_in, &by.identity()).await;
            show_secret(&created.map_err(|error| in_words(error, None))?, output)?;
        }
        Command::List { database, output } => {
            list(&database.connect_current(APPLICATION).await?, output).await?;
        }
        Command::Revoke { database, id, by } => {
            let mut conn = database.connect_current(APPLICATION).await?.acquire().await?;
            let revoked = api_keys::revoke(&mut conn, ApiKeyId(id), &by.identity()).await;
            let key = revoked.map_err(|error| in_words(error, Some(no_such_key(id))))?;
            println!("API key {id} ({}) is revoked; nothing brings it back", key.name);
        }
        Command::Rotate { database, id, grace, by, output } => {
            let mut conn = database.connect_current(APPLICATION).await?.acquire().await?;
            let by = by.identity();
            let rotated = api_keys::rotate(&mut conn, ApiKeyId(id), grace, &by).await;
            let missing = format!("{}, or it is revoked", no_such_key(id));
            show_secret(&rotated.map_err(|error| in_words(error, Some(missing)))?, output)?;
        }
        Command::RotateSigning { database, by } => {
            let pool = database.connect_current(APPLICATION).await?;
            let mut conn = pool.acquire().await?;
            let rotated = api_keys::rotate_signing_key(&mut conn, &by.identity()).await;
            let number = rotated.map_err(|error| in_words(error, None))?;
            println!(
                "signing key {number} signs from now on; only it and the one before it verify"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn no_such_key(id: Uuid) -> String {
    format!("no API key has the id {id}; 'app keys list' shows them")
}

fn in_words(error: ApiKeysError, missing: Option<String>) -> anyhow::Error {
    match error {
        ApiKeysError::Identity(error) => error.into(),
        ApiKeysError::NotFound => {
            anyhow::Error::msg(missing.unwrap_or_else(|| ApiKeysError::NotFound.to_string()))
        }
    }
}

async fn acts_as(
    conn: &mut PgConnection,
    role: Option<MachineRole>,
    user: Option<UserRef>,
) -> anyhow::Result<ActsAs> {
    Ok(match (role, user) {
        (Some(MachineRole::Viewer), _) => ActsAs::Viewer,
        (Some(MachineRole::Operator), _) => ActsAs::Operator,
        (Some(MachineRole::Admin), _) => ActsAs::Admin,
        (None, Some(user)) => ActsAs::User(users::find(conn, &user).await?.id),
        (None, None) => bail!("say --role or --user"),
    })
}

fn show_secret(IssuedKey { key, secret }: &IssuedKey, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            let (id, name, role) = (key.id, &key.name, key.role.as_str());
            println!("API key {id} ({name}, {role}), expires: {}", moment(key.expires_at));
            println!("secret, shown only now: {}", secret.reveal());
        }
        Output::Json | Output::Jsonl => {
            let mut shown = serde_json::to_value(key)?;
            shown["secret"] = json!(secret.reveal());
            println!("{shown}");
        }
    }
    Ok(())
}

async fn list(pool: &PgPool, output: Output) -> anyhow::Result<()> {
    let keys = api_keys::list(&mut *pool.acquire().await?).await;
    let keys = keys.map_err(|error| in_words(error, None))?;
    match output {
        Output::Table => {
            let rows: Vec<_> = keys
                .iter()
                .map(|key| {
                    [
                        key.id.to_string(),
                        key.name.clone(),
                        acting(key),
                        format!("{}…", key.prefix),
                        moment(key.expires_at),
                        moment(key.revoked_at),
                        moment(key.last_used_at),
                    ]
                })
                .collect();
            let header = ["ID", "NAME", "ACTS AS", "SECRET", "EXPIRES", "REVOKED", "LAST USED"];
            print!("{}", table(header, &rows));
        }
        Output::Json => println!("{}", serde_json::to_string(&keys)?),
        Output::Jsonl => keys.iter().for_each(|key| println!("{}", json!(key))),
    }
    Ok(())
}

fn acting(key: &ApiKeyView) -> String {
    match (key.role, key.user_id) {
        (Role::User, Some(user)) => format!("user {user}"),
        (role, _) => role.as_str().to_owned(),
    }
}
