//! `app users`: users, for operators. The first admin is made here, as nobody else could.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::database::Database;
use super::output::{Output, moment, table};
use super::password_source::PasswordSource;
use crate::identity::passwords::Hasher;
use crate::identity::users::{self, Change, Changed, Filter, NewUser, User};
use crate::identity::{Email, Role, UserStatus};
use crate::ids::UserId;
use crate::money::{Currency, UnknownCurrency};
use crate::payments::wallets;

const APPLICATION: &str = "surety-users";

const EXAMPLES: &str = "\
Examples:
  app users create ada@example.com --role admin          prints a password made for her
  app users create bob@example.com --password-stdin < password.txt
  app users list --status suspended
  app users set-role bob@example.com operator
  app users set-status bob@example.com suspended         signs him out everywhere
  app users set-password bob@example.com                 likewise

Users are named by id or email address. Passwords are read from stdin or made here, and are never
arguments, which others on the machine could read.

Exit codes: 0 done, 1 failed, 2 usage.";

/// Makes, lists and changes users.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Makes a user.
    Create {
        #[command(flatten)]
        database: Database,
        /// The address to sign in with.
        email: Email,
        /// What the user may do.
        #[arg(long, value_enum, default_value_t = Role::User)]
        role: Role,
        /// The currency of the first wallet.
        #[arg(long, value_parser = currency, default_value = "USD")]
        currency: Currency,
        #[command(flatten)]
        password: PasswordSource,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Lists users, newest first.
    List {
        #[command(flatten)]
        database: Database,
        /// Only those with this role.
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// Only those in this status.
        #[arg(long, value_enum)]
        status: Option<UserStatus>,
        /// How many at most.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Changes what a user may do.
    SetRole {
        #[command(flatten)]
        database: Database,
        /// The user, by id or email address.
        user: UserRef,
        /// The role from now on.
        #[arg(value_enum)]
        role: Role,
    },
    /// Changes whether a user may sign in; any but active signs the user out everywhere.
    SetStatus {
        #[command(flatten)]
        database: Database,
        /// The user, by id or email address.
        user: UserRef,
        /// The status from now on.
        #[arg(value_enum)]
        status: UserStatus,
    },
    /// Sets another password and signs the user out everywhere.
    SetPassword {
        #[command(flatten)]
        database: Database,
        /// The user, by id or email address.
        user: UserRef,
        #[command(flatten)]
        password: PasswordSource,
    },
}

fn currency(code: &str) -> Result<Currency, UnknownCurrency> {
    Currency::parse(code)
}

/// A user as an operator names one.
#[derive(Clone, Debug)]
pub(super) enum UserRef {
    Id(UserId),
    Email(Email),
}

impl FromStr for UserRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse::<Uuid>() {
            return Ok(Self::Id(UserId(id)));
        }
        text.parse().map(Self::Email).map_err(|_| "neither a user's id nor an address".to_owned())
    }
}

impl UserRef {
    /// The user who is meant.
    ///
    /// # Errors
    ///
    /// When there is no such user, or the database refuses.
    pub(super) async fn find(&self, conn: &mut PgConnection) -> anyhow::Result<User> {
        let (found, name) = match self {
            Self::Id(id) => (users::find(conn, *id).await?, id.to_string()),
            Self::Email(email) => (users::find_by_email(conn, email).await?, email.to_string()),
        };
        found.with_context(|| format!("there is no user {name}; 'app users list' shows them"))
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, or the change is not to be.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create { database, email, role, currency, password, output } => {
            let (password, shown) = password.read(email.as_str())?;
            let password_hash = Hasher::default().hash(password).await?;
            let new = NewUser { email, password_hash, role, currency };
            let pool = database.connect_current(APPLICATION).await?;
            let mut tx = pool.begin().await?;
            let user = users::create(&mut tx, &new).await?;
            wallets::open(&mut tx, user.id, currency).await?;
            tx.commit().await?;
            show_made(&user, shown.as_deref(), output);
        }
        Command::List { database, role, status, limit, output } => {
            let mut conn = database.connect_current(APPLICATION).await?.acquire().await?;
            let filter = Filter { status, role, email: None };
            list(&users::list(&mut conn, &filter, None, limit).await?, output);
        }
        Command::SetRole { database, user, role } => {
            change(&database, &user, Change { role: Some(role), status: None }).await?;
        }
        Command::SetStatus { database, user, status } => {
            change(&database, &user, Change { role: None, status: Some(status) }).await?;
        }
        Command::SetPassword { database, user, password } => {
            let pool = database.connect_current(APPLICATION).await?;
            let user = user.find(&mut *pool.acquire().await?).await?;
            let (password, shown) = password.read(&user.email)?;
            let hash = Hasher::default().hash(password).await?;
            let mut tx = pool.begin().await?;
            users::set_password(&mut tx, user.id, &hash).await?;
            tx.commit().await?;
            println!("user {} has another password and is signed out everywhere", user.email);
            if let Some(password) = shown {
                println!("password, shown only now: {password}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(database: &Database, user: &UserRef, change: Change) -> anyhow::Result<()> {
    let pool = database.connect_current(APPLICATION).await?;
    let mut tx = pool.begin().await?;
    let id = user.find(&mut tx).await?.id;
    match users::change(&mut tx, id, change).await? {
        Changed::Yes(user) => {
            tx.commit().await?;
            let (role, status) = (user.role.as_str(), user.status.as_str());
            println!("user {} is {role}, {status}", user.email);
            Ok(())
        }
        Changed::NoSuchUser => bail!("there is no such user any more"),
        Changed::LastAdmin => bail!("the last active admin stays one: make another one first"),
    }
}

fn show_made(user: &User, password: Option<&str>, output: Output) {
    match output {
        Output::Table => {
            println!("user {} ({}, {}) is made", user.id, user.email, user.role.as_str());
            if let Some(password) = password {
                println!("password, shown only now: {password}");
            }
        }
        Output::Json | Output::Jsonl => {
            let mut made = to_json(user);
            if let Some(password) = password {
                made["password"] = json!(password);
            }
            println!("{made}");
        }
    }
}

fn list(users: &[User], output: Output) {
    match output {
        Output::Table => {
            let rows: Vec<_> = users
                .iter()
                .map(|user| {
                    [
                        user.id.to_string(),
                        user.email.clone(),
                        user.role.as_str().to_owned(),
                        user.status.as_str().to_owned(),
                        moment(Some(user.created_at)),
                    ]
                })
                .collect();
            print!("{}", table(["ID", "EMAIL", "ROLE", "STATUS", "MADE"], &rows));
        }
        Output::Json => println!("{}", Value::Array(users.iter().map(to_json).collect())),
        Output::Jsonl => users.iter().map(to_json).for_each(|it| println!("{it}")),
    }
}

fn to_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "role": user.role.as_str(),
        "status": user.status.as_str(),
        "default_currency": user.default_currency,
        "created_at": moment(Some(user.created_at)),
        "updated_at": moment(Some(user.updated_at)),
    })
}
