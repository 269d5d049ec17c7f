//! `app completions`: what a shell asks to complete a command line.
//!
//! - Here: the script for a shell, and the answer when that script asks.
//! - `subjects`: which argument stands for what, such as a queue.
//! - `candidates`: the names and numbers of those, from the database.
//!
//! The script asks this binary at each press of the key, through a variable that nobody sets
//! otherwise. Guaranteed: the answer is there within a second, or is empty; nothing is ever said
//! beside it, also where the database is away, a setting is wrong, or the program breaks; and no
//! candidate does anything in a shell.

mod candidates;
mod subjects;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap_complete::CompleteEnv;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::settings::environment::{self, Wanted};

/// The variable by which a script asks; its value names the shell. Not among the settings, since
/// no person sets it, and not the library's `COMPLETE`, which a service might have for its own use.
const ASKED_BY: &str = "_APP_COMPLETE";
/// The program that is completed, and that the script runs, wherever `PATH` finds it.
const PROGRAM: &str = "app";
/// A shell waits no longer: people would think that it hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  source <(app completions bash)                               in ~/.bashrc
  source <(app completions zsh)                                in ~/.zshrc, after compinit
  app completions fish | source                                in ~/.config/fish/config.fish
  app completions powershell | Out-String | Invoke-Expression  in $PROFILE
  eval (app completions elvish | slurp)                        in ~/.config/elvish/rc.elv

Queues, kinds and the numbers of jobs are completed from the database that DATABASE_URL names, or
that of a running 'app dev'. Where it does not answer within a second, they are not.";

/// Prints a script that makes a shell complete the arguments of app, with queues, kinds and ids.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
            Self::Powershell => &Powershell,
            Self::Elvish => &Elvish,
        }
    }
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the script cannot be made.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let shell = args.shell.completer();
    shell
        .write_registration(ASKED_BY, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .context("the script cannot be made")?;
    print!("{}", String::from_utf8(script)?.trim_start());
    Ok(ExitCode::SUCCESS)
}

/// Answers a script that asks to complete a command line, and tells so; does nothing when none
/// asks.
pub(super) fn answer_if_asked(definition: impl Fn() -> clap::Command) -> bool {
    if std::env::var_os(ASKED_BY).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    // It reads no environment, so that this may still be changed.
    let watch = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(ANSWERED_WITHIN);
        std::process::exit(0);
    });
    if watch.is_err() {
        return true;
    }
    // A panic in the middle of somebody's command line would say nothing to them.
    std::panic::set_hook(Box::new(|_| {}));
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer(definition)));
    true
}

/// The value of a flag in the words of a command line that may be unfinished.
fn value_of<'a>(flag: &str, words: &'a [String]) -> Option<&'a str> {
    let following = words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].as_str());
    let joined = words.iter().filter_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    joined.chain(following).next()
}

/// The words of the command line that is completed; of what is no text, as much as can be shown.
fn words() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn answer(definition: impl Fn() -> clap::Command) {
    let words = words();
    let context = value_of("--context", &words).map_or(Wanted::OfEnvironment, Wanted::Named);
    // What is wrong is said when the command is run. Until then, nobody knows which database it is.
    let has_database = environment::complete(context).is_empty();
    let complete =
        |definition| if has_database { subjects::attach(definition) } else { definition };
    let asked = CompleteEnv::with_factory(|| complete(definition()))
        .var(ASKED_BY)
        .bin(PROGRAM)
        .completer(PROGRAM);
    let here = std::env::current_dir().ok();
    let _ = asked.try_complete(std::env::args_os(), here.as_deref());
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_on_the_command_line_goes_first() {
        let url = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            value_of("--database-url", &words).map(str::to_owned)
        };
        let elsewhere = Some("postgres://elsewhere/db".to_owned());
        assert_eq!(url(&["app", "--database-url", "postgres://elsewhere/db", ""]), elsewhere);
        assert_eq!(url(&["app", "--database-url=postgres://elsewhere/db", ""]), elsewhere);
        assert_eq!(url(&["app", "jobs", "show", ""]), None);
        assert_eq!(url(&["app", "--database-url"]), None);
    }
}
