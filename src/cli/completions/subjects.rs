//! Which argument stands for what.

use clap::{Arg, Command};
use clap_complete::engine::ArgValueCandidates;

use super::candidates::candidates;
use crate::operations::jobs::JobAction;

/// The thing that an argument names, where the database knows which there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    Queues,
    Kinds,
    /// Jobs in any state.
    Jobs,
    /// Jobs that have not ended.
    UnfinishedJobs,
    /// Jobs in a state in which this is done to them.
    JobsTo(JobAction),
    DeadLetters,
    Failures,
    Operations,
    Conflicts,
    Workers,
    Schedules,
    Endpoints,
}

/// The command with candidates for all such arguments.
pub(super) fn attach(command: Command) -> Command {
    attach_below(command, &[])
}

fn attach_below(command: Command, path: &[&str]) -> Command {
    let command = command.mut_args(|arg| match subject(path, &arg) {
        Some(subject) => arg.add(ArgValueCandidates::new(move || candidates(subject))),
        None => arg,
    });
    command.mut_subcommands(|below| {
        let name = below.get_name().to_owned();
        attach_below(below, &[path, &[&name]].concat())
    })
}

/// The subject of an argument of the command at this path.
fn subject(path: &[&str], arg: &Arg) -> Option<Subject> {
    let value_name = arg.get_value_names().and_then(|names| names.first()).map(|name| &**name);
    let name = value_name.unwrap_or_else(|| arg.get_id().as_str()).to_ascii_lowercase();
    match (path, &*name) {
        (["schedules", "add"], "name") => None,
        (["schedules", _], "name") => Some(Subject::Schedules),
        (["queues", _], "name") if arg.is_positional() => Some(Subject::Queues),
        (_, "queue") => Some(Subject::Queues),
        (_, "kind") => Some(Subject::Kinds),
        (["jobs", "retry"], "job") => Some(Subject::JobsTo(JobAction::Retry)),
        (["jobs", "cancel"], "job") => Some(Subject::JobsTo(JobAction::Cancel)),
        (["jobs", "discard"], "job") => Some(Subject::JobsTo(JobAction::Discard)),
        (["jobs", "edit" | "wait"], "job") => Some(Subject::UnfinishedJobs),
        (["dead-letters", _], "job_id" | "job_ids") => Some(Subject::DeadLetters),
        (_, "job") => Some(Subject::Jobs),
        (_, "fingerprint" | "hex") => Some(Subject::Failures),
        (["operations", _], "operation") => Some(Subject::Operations),
        (["conflicts", _], "conflict") => Some(Subject::Conflicts),
        (["workers", _], "worker") => Some(Subject::Workers),
        (["endpoints", ..], "endpoint") => Some(Subject::Endpoints),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Cli;
    use super::*;

    /// Every argument that has candidates, as `path argument`.
    fn found(command: &Command, path: &[&str]) -> Vec<(String, Subject)> {
        let here = command.get_arguments().filter_map(|arg| {
            Some((format!("{} {}", path.join(" "), arg.get_id()), subject(path, arg)?))
        });
        let below = command.get_subcommands().flat_map(|below| {
            let path = [path, &[below.get_name()]].concat();
            found(below, &path)
        });
        here.chain(below).collect()
    }

    #[test]
    fn arguments_that_name_something_in_the_database_have_candidates() {
        let mut definition = Cli::definition();
        definition.build();
        let found = found(&definition, &[]);
        for (argument, subject) in [
            ("jobs show id", Subject::Jobs),
            ("jobs list kind", Subject::Kinds),
            ("jobs list queue", Subject::Queues),
            ("jobs list fingerprint", Subject::Failures),
            ("jobs retry ids", Subject::JobsTo(JobAction::Retry)),
            ("jobs cancel ids", Subject::JobsTo(JobAction::Cancel)),
            ("jobs discard ids", Subject::JobsTo(JobAction::Discard)),
            ("jobs edit id", Subject::UnfinishedJobs),
            ("jobs wait ids", Subject::UnfinishedJobs),
            ("queues pause name", Subject::Queues),
            ("queues limits name", Subject::Queues),
            ("queues show name", Subject::Queues),
            ("work queues", Subject::Queues),
            ("dead-letters list kind", Subject::Kinds),
            ("dead-letters show job_id", Subject::DeadLetters),
            ("dead-letters redrive job_ids", Subject::DeadLetters),
            ("dead-letters write-off job_ids", Subject::DeadLetters),
            ("failures show fingerprint", Subject::Failures),
            ("operations show operation", Subject::Operations),
            ("operations cancel operation", Subject::Operations),
            ("operations wait operation", Subject::Operations),
            ("conflicts resolve conflict", Subject::Conflicts),
            ("workers drain ids", Subject::Workers),
            ("schedules show name", Subject::Schedules),
            ("schedules remove name", Subject::Schedules),
            ("schedules add kind", Subject::Kinds),
            ("endpoints delete endpoint", Subject::Endpoints),
            ("endpoints deliveries list endpoint", Subject::Endpoints),
        ] {
            let has = found.iter().find(|(it, _)| it == argument).map(|(_, subject)| *subject);
            assert_eq!(has, Some(subject), "{argument} among {found:#?}");
        }
        let made_new = found.iter().find(|(it, _)| it == "schedules add name");
        assert_eq!(made_new, None, "a name that is there is the wrong one");
    }
}
