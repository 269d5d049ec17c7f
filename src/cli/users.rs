//! `app users`: flags, tables and exit codes of the
//! [operations on users](crate::operations::users). The first admin is made here, as nobody else
//! could.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use sqlx::PgConnection;

use super::actor::NameArg;
use super::database::Database;
use super::output::{Output, moment, table};
use super::password_source::PasswordSource;
use crate::money::{Currency, UnknownCurrency};
use crate::operations::Identity;
use crate::operations::notifications::{self, Preferences};
use crate::operations::users::{
    self, Email, Hasher, NewUser, Role, UserChange, UserFilter, UserRef, UserStatus, UserView,
    UsersError,
};

const APPLICATION: &str = "surety-users";

const EXAMPLES: &str = "\
Examples:
  app users create ada@example.com --role admin          prints a password made for her
  app users create bob@example.com --password-stdin < password.txt
  app users list --status suspended
  app users set-role bob@example.com operator
  app users set-status bob@example.com suspended         signs him out everywhere; orders go on
  app users set-status bob@example.com closed            only without money and unfinished orders
  app users set-password bob@example.com                 likewise
  app users set-mail bob@example.com off                 no mail about outcomes any more

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
        /// The rights of the user.
        #[arg(long, value_enum, default_value_t = Role::User)]
        role: Role,
        /// The currency of the first wallet.
        #[arg(long, value_parser = currency, default_value = "USD")]
        currency: Currency,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        by: NameArg,
        /// The output format.
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
        /// The most that are listed.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        /// The output format.
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
        #[command(flatten)]
        by: NameArg,
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
        #[command(flatten)]
        by: NameArg,
    },
    /// Switches mail about outcomes and endpoints on or off for a user.
    SetMail {
        #[command(flatten)]
        database: Database,
        /// The user, by id or email address.
        user: UserRef,
        /// On or off from now on.
        #[arg(value_enum)]
        mail: MailSwitch,
    },
    /// Sets another password and signs the user out everywhere.
    SetPassword {
        #[command(flatten)]
        database: Database,
        /// The user, by id or email address.
        user: UserRef,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        by: NameArg,
    },
}

/// A user's mail, on or off.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum MailSwitch {
    /// None at all.
    Off,
    /// As for users who have said nothing.
    On,
}

fn currency(code: &str) -> Result<Currency, UnknownCurrency> {
    Currency::parse(code)
}

/// The user who is meant.
///
/// # Errors
///
/// When there is no such user, or the database refuses.
pub(super) async fn find(conn: &mut PgConnection, user: &UserRef) -> anyhow::Result<UserView> {
    let name = match user {
        UserRef::Id(id) => id.to_string(),
        UserRef::Email(email) => email.to_string(),
    };
    let found = users::find(conn, user).await?;
    found.with_context(|| format!("there is no user {name}; 'app users list' shows them"))
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, or the change is not to be.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create { database, email, role, currency, password, by, output } => {
            let by = by.identity();
            let (password, shown) = password.read(email.as_str())?;
            let password_hash = Hasher::default().hash(password).await?;
            let new = NewUser { email, password_hash, role, currency };
            let pool = database.connect_current(APPLICATION).await?;
            let user = match users::create(&mut *pool.acquire().await?, &new, Some(&by)).await {
                Ok(user) => user,
                Err(error) => return Err(in_words(error)),
            };
            show_made(&user, shown.as_deref(), output)?;
        }
        Command::List { database, role, status, limit, output } => {
            let mut conn = database.connect_current(APPLICATION).await?.acquire().await?;
            let filter = UserFilter { status, role, email: None };
            list(&users::list(&mut conn, &filter, None, limit).await?, output)?;
        }
        Command::SetRole { database, user, role, by } => {
            let to = UserChange { role: Some(role), status: None };
            change(&database, &user, to, &by.identity()).await?;
        }
        Command::SetStatus { database, user, status, by } => {
            let to = UserChange { role: None, status: Some(status) };
            change(&database, &user, to, &by.identity()).await?;
        }
        Command::SetMail { database, user, mail } => set_mail(&database, &user, mail).await?,
        Command::SetPassword { database, user, password, by } => {
            let by = by.identity();
            let pool = database.connect_current(APPLICATION).await?;
            let user = find(&mut *pool.acquire().await?, &user).await?;
            let (password, shown) = password.read(&user.email)?;
            let hash = Hasher::default().hash(password).await?;
            let set = users::set_password(&mut *pool.acquire().await?, user.id, &hash, &by).await;
            set.map_err(in_words)?;
            println!("user {} has another password and is signed out everywhere", user.email);
            if let Some(password) = shown {
                println!("password, shown only now: {password}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(
    database: &Database,
    user: &UserRef,
    change: UserChange,
    by: &Identity,
) -> anyhow::Result<()> {
    let pool = database.connect_current(APPLICATION).await?;
    let mut conn = pool.acquire().await?;
    let id = find(&mut conn, user).await?.id;
    let user = users::change(&mut conn, id, change, by).await.map_err(in_words)?;
    println!("user {} is {}, {}", user.email, user.role.as_str(), user.status.as_str());
    Ok(())
}

async fn set_mail(database: &Database, user: &UserRef, mail: MailSwitch) -> anyhow::Result<()> {
    let pool = database.connect_current(APPLICATION).await?;
    let mut conn = pool.acquire().await?;
    let user = find(&mut conn, user).await?;
    let wanted = Preferences { email_notifications: mail == MailSwitch::On };
    let by = NameArg::default().identity();
    notifications::change(&mut conn, user.id, wanted, &by).await.map_err(in_words)?;
    match mail {
        MailSwitch::On => println!("user {} gets mail", user.email),
        MailSwitch::Off => println!("user {} gets no mail any more", user.email),
    }
    Ok(())
}

fn in_words(error: UsersError) -> anyhow::Error {
    match error {
        UsersError::NotFound => anyhow::anyhow!("there is no such user any more"),
        UsersError::LastAdmin => {
            anyhow::anyhow!("the last active admin stays one: make another one first")
        }
        error @ UsersError::Unsettled(_) => anyhow::anyhow!("not closed: {error}"),
        UsersError::Identity(error) => error.into(),
        UsersError::Wallet(error) => error.into(),
    }
}

fn show_made(user: &UserView, password: Option<&str>, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Table => {
            println!("user {} ({}, {}) is made", user.id, user.email, user.role.as_str());
            if let Some(password) = password {
                println!("password, shown only now: {password}");
            }
        }
        Output::Json | Output::Jsonl => {
            let mut made = serde_json::to_value(user)?;
            if let Some(password) = password {
                made["password"] = json!(password);
            }
            println!("{made}");
        }
    }
    Ok(())
}

fn list(users: &[UserView], output: Output) -> anyhow::Result<()> {
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
        Output::Json => println!("{}", serde_json::to_string(users)?),
        Output::Jsonl => users.iter().for_each(|user| println!("{}", json!(user))),
    }
    Ok(())
}
