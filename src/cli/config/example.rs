//! The text of `.env.example`: each setting's flag tells its default and what it is for, the table
//! adds what flags leave out, and the headings.

use std::fmt::Write as _;

use clap::builder::{PossibleValue, ValueParser};
use clap::{Arg, Command};

use crate::cli::settings::args_of;
use crate::settings::setting::{Reading, Reloaded, Setting};
use crate::settings::table::GROUPS;

const HEADER: &str = "\
Every setting, with its default, as 'app config env' prints it. Copy to .env and uncomment what \
you change; flags win over the environment, the environment over this file. Durations are written \
500ms, 30s, 5m, 1h; each command's --help says more. 'app config check' shows what holds, and all \
that is wrong.";
/// Columns of a line.
const COLUMNS: usize = 118;
/// Commands whose help speaks for a setting of several, before all others.
const SPEAKERS: [&str; 5] = ["serve", "work", "relay", "bank", "dev"];

/// The whole file.
pub(super) fn example(command: &Command) -> String {
    let mut text = comment(HEADER);
    for group in GROUPS {
        let heading = format!("# ---- {} ", group.title);
        let _ = writeln!(text, "\n{heading:-<COLUMNS$}");
        for setting in group.settings {
            let flag = flag_of(command, setting.name);
            text += &comment(&words(setting, flag));
            let _ = writeln!(text, "#{}={}", setting.name, default_of(setting, flag));
        }
    }
    text
}

/// The flag that a setting belongs to, of the command that tells the most of it.
pub(super) fn flag_of<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let speakers = SPEAKERS.iter().filter_map(|speaker| command.find_subcommand(speaker));
    let args = speakers.flat_map(|speaker| speaker.get_arguments()).chain(args_of(command));
    args.into_iter().find(|arg| arg.get_env().is_some_and(|it| it == name))
}

/// The value that holds when nothing is set; empty where there is none, or where it needs words.
pub(super) fn default_of(setting: &Setting, flag: Option<&Arg>) -> String {
    match (setting.reading, flag) {
        (Reading::Named { default, .. }, _) => default.to_owned(),
        (Reading::Flag, Some(flag)) if !is_of_the_program(setting.name) => {
            let values = flag.get_default_values().iter().filter_map(|value| value.to_str());
            values.collect::<Vec<_>>().join(",")
        }
        (Reading::Flag | Reading::FileOf(_), _) => String::new(),
    }
}

/// A default that changes with every release would make the file stale.
fn is_of_the_program(name: &str) -> bool {
    name == "APP_WORKER_VERSION"
}

fn words(setting: &Setting, flag: Option<&Arg>) -> String {
    let help = flag.and_then(Arg::get_help).map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let values = flag.map(Arg::get_value_parser).and_then(ValueParser::possible_values);
    let names: Vec<_> = values
        .into_iter()
        .flatten()
        .filter(|value| !value.is_hide_set())
        .map(|value: PossibleValue| value.get_name().to_owned())
        .collect();
    let choice = match names.as_slice() {
        [] => String::new(),
        names => format!("One of: {}.", names.join(", ")),
    };
    let reloaded = match setting.reloaded {
        Reloaded::Nowhere => "",
        Reloaded::Serve => "SIGHUP has app serve take up a new one.",
        Reloaded::ServeAndWork => "SIGHUP has app serve and app work take up a new one.",
    };
    let parts = [help.as_str(), &choice, setting.note, reloaded];
    parts.into_iter().filter(|part| !part.is_empty()).map(sentence).collect::<Vec<_>>().join(" ")
}

/// With its full stop, unless it ends in words about the default.
fn sentence(text: &str) -> String {
    let is_whole = text.ends_with(['.', ']', ':']);
    format!("{text}{}", if is_whole { "" } else { "." })
}

/// The words as lines of a comment.
fn comment(words: &str) -> String {
    let (mut text, mut line) = (String::new(), "#".to_owned());
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text += &line;
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}
