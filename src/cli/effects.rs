//! The effect of each command on the database: which ones ask before they act in production.
//!
//! A command that is missing here is taken to destroy, so that forgetting one is safe; a test holds
//! the list against the commands.

use clap::ArgMatches;

use Effect::{Changes, Destroys, Elsewhere, Reads, Serves};

/// The effect of a command on the database of its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// It uses none, or one of its own.
    Elsewhere,
    /// It runs until it is told to stop, and does what it is there for.
    Serves,
    /// It only reads.
    Reads,
    /// It adds something, or turns on what was off; another command undoes it.
    Changes,
    /// It takes something away, stops work, moves money, or cannot be undone.
    Destroys,
}

/// Every command that does something.
const EFFECTS: [(&str, Effect); 102] = [
    ("archives create", Destroys),
    ("archives list", Reads),
    ("archives verify", Reads),
    ("audit check-proof", Elsewhere),
    ("audit head", Reads),
    ("audit list", Reads),
    ("audit proof", Reads),
    ("audit show", Reads),
    ("audit verify", Reads),
    ("bank", Elsewhere),
    ("completions", Elsewhere),
    ("config check", Elsewhere),
    ("config contexts", Elsewhere),
    ("config env", Elsewhere),
    ("conflicts list", Reads),
    ("conflicts resolve", Destroys),
    ("conflicts show", Reads),
    ("dead-letters list", Reads),
    ("dead-letters redrive", Destroys),
    ("dead-letters show", Reads),
    ("dead-letters write-off", Destroys),
    ("dev", Elsewhere),
    ("doctor", Reads),
    ("endpoints create", Changes),
    ("endpoints delete", Destroys),
    ("endpoints deliveries cancel-replay", Changes),
    ("endpoints deliveries list", Reads),
    ("endpoints deliveries replay", Destroys),
    ("endpoints deliveries replay-status", Reads),
    ("endpoints deliveries retry", Changes),
    ("endpoints deliveries show", Reads),
    ("endpoints disable", Destroys),
    ("endpoints enable", Changes),
    ("endpoints list", Reads),
    ("endpoints rotate-secret", Destroys),
    ("endpoints show", Reads),
    ("endpoints test", Changes),
    ("endpoints update", Destroys),
    ("failures list", Reads),
    ("failures show", Reads),
    ("jobs cancel", Destroys),
    ("jobs discard", Destroys),
    ("jobs edit", Destroys),
    ("jobs enqueue", Destroys),
    ("jobs list", Reads),
    ("jobs retry", Destroys),
    ("jobs show", Reads),
    ("jobs wait", Reads),
    ("keys create", Changes),
    ("keys list", Reads),
    ("keys revoke", Destroys),
    ("keys rotate", Destroys),
    ("keys rotate-signing", Destroys),
    ("listen", Elsewhere),
    ("man", Elsewhere),
    ("migrate revert", Destroys),
    ("migrate run", Destroys),
    ("migrate status", Reads),
    ("openapi", Elsewhere),
    ("operations cancel", Changes),
    ("operations list", Reads),
    ("operations show", Reads),
    ("operations start", Destroys),
    ("operations wait", Reads),
    ("probe", Elsewhere),
    ("queues blocked", Reads),
    ("queues drain", Destroys),
    ("queues limits", Destroys),
    ("queues list", Reads),
    ("queues pause", Destroys),
    ("queues resume", Changes),
    ("queues show", Reads),
    ("queues unblock", Destroys),
    ("reconcile", Reads),
    ("relay", Serves),
    ("rotate-job-keys", Destroys),
    ("schedules add", Destroys),
    ("schedules list", Reads),
    ("schedules pause", Destroys),
    ("schedules preview", Elsewhere),
    ("schedules remove", Destroys),
    ("schedules resume", Changes),
    ("schedules run", Destroys),
    ("schedules show", Reads),
    ("seed", Destroys),
    ("send", Elsewhere),
    ("serve", Serves),
    ("timeline", Reads),
    ("top", Reads),
    ("trigger", Destroys),
    ("users create", Changes),
    ("users list", Reads),
    ("users set-mail", Changes),
    ("users set-password", Destroys),
    ("users set-role", Destroys),
    ("users set-status", Destroys),
    ("verify", Reads),
    ("webhooks check", Elsewhere),
    ("webhooks rejected", Reads),
    ("work", Serves),
    ("workers drain", Destroys),
    ("workers list", Reads),
];

/// The effect of the command with this path, such as `jobs cancel`.
pub(super) fn of(path: &str) -> Effect {
    let found = EFFECTS.iter().find(|(command, _)| *command == path);
    found.map_or(Destroys, |(_, effect)| *effect)
}

/// The words of the command that was given, and its own arguments.
pub(super) fn path_of(matches: &ArgMatches) -> (String, &ArgMatches) {
    let (mut words, mut leaf) = (Vec::new(), matches);
    while let Some((word, matches)) = leaf.subcommand() {
        words.push(word);
        leaf = matches;
    }
    (words.join(" "), leaf)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Command, CommandFactory as _};

    use super::super::Cli;
    use super::*;

    fn leaves(command: &Command, before: &str, into: &mut BTreeSet<String>) {
        if command.get_subcommands().next().is_none() {
            into.insert(before.to_owned());
        }
        for subcommand in command.get_subcommands() {
            let path = format!("{before} {}", subcommand.get_name());
            leaves(subcommand, path.trim(), into);
        }
    }

    #[test]
    fn every_command_is_said_to_destroy_or_not_to() {
        let mut commands = BTreeSet::new();
        leaves(&Cli::command(), "", &mut commands);
        let listed: BTreeSet<_> = EFFECTS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), EFFECTS.len(), "one is listed twice");
        let missing: Vec<_> = commands.difference(&listed).collect();
        assert!(missing.is_empty(), "not in EFFECTS: {missing:?}");
        let gone: Vec<_> = listed.difference(&commands).collect();
        assert!(gone.is_empty(), "in EFFECTS, but no command: {gone:?}");
    }

    #[test]
    fn what_is_not_listed_is_asked_about() {
        assert_eq!(of("something new"), Destroys);
    }
}
