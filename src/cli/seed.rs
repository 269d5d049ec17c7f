//! `app seed`: flags and output of the [demo data](crate::operations::demo_data).

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::actor::NameArg;
use super::database::Database;
use super::output::{Output, table};
use super::password_source::PasswordSource;
use crate::operations::demo_data::{self, CONNECTIONS, DemoUser, USERS, is_on_this_machine};

const EXAMPLES: &str = "\
Examples:
  app seed                                    prints a password for each of them
  app seed --password-stdin < password.txt    the same password for all
  app seed -o json

Makes the users ada@example.com and bob@example.com with wallets, deposits, withdrawals, transfers
and a refund; an operator, olga@example.com; and an admin, root@example.com. A deposit and a
withdrawal are left to the next worker. To be used once per database. The bank of your workers knows
nothing of the other deposits and withdrawals: a simulated one books them.

Exit codes: 0 done, 1 failed or seeded before, 2 usage.";

/// Fills a database with demo users and their money.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    #[command(flatten)]
    password: PasswordSource,

    /// Do it even where the database is not on this machine.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    by: NameArg,

    /// The output format of the credentials.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached or refuses, is not on this machine, or was seeded before.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_many("surety-seed", CONNECTIONS).await?;
    if !args.yes && !is_on_this_machine(&pool.connect_options()) {
        bail!("the database is not on this machine: say --yes if it is to have demo users");
    }
    let read = args.password.read_for(&USERS.map(|(email, _role)| email))?;
    let shown = read.each_ref().map(|(_, shown)| shown.clone());
    let passwords = read.map(|(password, _)| password);
    let users = demo_data::seed(&pool, passwords, &args.by.identity()).await?;
    show(&users, &shown, args.output)?;
    Ok(ExitCode::SUCCESS)
}

fn show(users: &[DemoUser], passwords: &[Option<String>], output: Output) -> anyhow::Result<()> {
    let each = users.iter().zip(passwords);
    match output {
        Output::Table => {
            let rows: Vec<_> = each
                .map(|(user, password)| {
                    let password = password.as_deref().unwrap_or("(from stdin)").to_owned();
                    let role = user.role.as_str().to_owned();
                    [user.email.clone(), role, password, user.id.to_string()]
                })
                .collect();
            print!("{}", table(["EMAIL", "ROLE", "PASSWORD", "ID"], &rows));
            println!("\nAda and Bob have a history, and two orders that wait for the next worker.");
            println!("The passwords are shown only now.");
        }
        Output::Json | Output::Jsonl => {
            let mut all = Vec::new();
            for (user, password) in each {
                let mut shown = serde_json::to_value(user)?;
                shown["password"] = json!(password);
                all.push(shown);
            }
            println!("{}", json!({ "users": Value::Array(all) }));
        }
    }
    Ok(())
}
