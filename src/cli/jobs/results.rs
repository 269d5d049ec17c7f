//! The results of a change of jobs on stdout, and the exit code that follows.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Output;
use crate::cli::report::{CONFLICT, NOT_FOUND};
use crate::operations::Mode;
use crate::operations::jobs::{JobChange, JobId, JobRefusal, JobResult, RefusalClass};

/// Lines of a table that show one job each. Beyond, only the totals are shown.
const MAX_LINES: usize = 20;

/// The way in which the jobs of a command were given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Selected {
    /// By number: each was meant.
    ByNumber,
    /// By a filter: one that has changed meanwhile is no failure.
    ByFilter,
}

/// Prints the results of one command.
pub(super) struct ResultPrinter {
    output: Output,
    selected: Selected,
    mode: Mode,
    lines: usize,
    /// Results that are printed at the end, as one array.
    results: Vec<Value>,
    totals: BTreeMap<&'static str, usize>,
    any_not_found: bool,
    any_refused: bool,
}

impl ResultPrinter {
    pub(super) fn new(output: Output, selected: Selected, mode: Mode) -> Self {
        let (results, totals) = (Vec::new(), BTreeMap::new());
        let (any_not_found, any_refused) = (false, false);
        Self { output, selected, mode, lines: 0, results, totals, any_not_found, any_refused }
    }

    pub(super) fn print(&mut self, result: &JobResult) {
        *self.totals.entry(result.code()).or_default() += 1;
        match (result.outcome.map_err(JobRefusal::class), self.selected) {
            (Ok(_), _)
            | (Err(RefusalClass::MovedOn | RefusalClass::NotFound), Selected::ByFilter) => {}
            (Err(RefusalClass::NotFound), Selected::ByNumber) => self.any_not_found = true,
            (Err(RefusalClass::MovedOn | RefusalClass::Forbidden), _) => self.any_refused = true,
        }
        match self.output {
            Output::Table => {
                self.lines += 1;
                if self.selected == Selected::ByNumber || self.lines <= MAX_LINES {
                    println!("job {}: {}", result.id, in_words(result));
                } else if self.lines == MAX_LINES + 1 {
                    println!("…");
                }
            }
            Output::Json => self.results.push(json!(result)),
            Output::Jsonl => println!("{}", json!(result)),
            Output::Id if result.outcome.is_ok() => println!("{}", result.id),
            Output::Id => {}
        }
    }

    /// Prints the totals, with a hint of what to do next.
    pub(super) fn finish(self, next: &str) -> ExitCode {
        match self.output {
            Output::Table => {
                let totals = self.totals.iter().map(|(code, number)| format!("{number} {code}"));
                let totals: Vec<String> = totals.collect();
                let totals = if totals.is_empty() { "none".to_owned() } else { totals.join(", ") };
                match self.mode {
                    Mode::DryRun => {
                        println!("{totals}; nothing was changed, because of --dry-run")
                    }
                    Mode::Commit => println!("{totals}; {next}"),
                }
            }
            Output::Json => println!("{}", Value::Array(self.results)),
            Output::Jsonl | Output::Id => {}
        }
        match (self.any_not_found, self.any_refused) {
            // A job that does not exist is most likely a slip, and worth saying first.
            (true, _) => ExitCode::from(NOT_FOUND),
            (false, true) => ExitCode::from(CONFLICT),
            (false, false) => ExitCode::SUCCESS,
        }
    }
}

fn in_words(result: &JobResult) -> String {
    match result.outcome {
        Ok(change) => change_in_words(change).to_owned(),
        Err(JobRefusal::MoneyNotCancelled) => not_cancelled(result.id),
        Err(refusal) => refusal.to_string(),
    }
}

fn change_in_words(change: JobChange) -> &'static str {
    match change {
        JobChange::DueNow => "is due now",
        JobChange::AlreadyDue => "is due already",
        JobChange::Redriven => "runs again",
        JobChange::Cancelled => "is cancelled",
        JobChange::CancelRequested => "runs, and its worker was asked to stop it",
        JobChange::Discarded => "is discarded; 'app jobs retry' redrives it",
        JobChange::Edited => "has other arguments; 'app jobs show' tells them",
        JobChange::WrittenOff => "is written off",
    }
}

fn not_cancelled(id: JobId) -> String {
    format!(
        "{}; first 'app jobs discard {id}', then 'app dead-letters write-off {id}'",
        JobRefusal::MoneyNotCancelled
    )
}
