//! What became of each job, on stdout, and the exit code that follows.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Output;
use crate::cli::report::{CONFLICT, NOT_FOUND};
use crate::jobs::dead_letters;
use crate::queue::JobId;
use crate::queue::operate::interventions::Refusal;

/// So many jobs are told one by one; beyond, people are better served by numbers.
const MAX_TOLD: usize = 20;

/// What became of one job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    code: &'static str,
    words: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Done,
    /// It has moved on by itself, or by somebody else's hand.
    MovedOn,
    NotFound,
    Refused,
}

impl Outcome {
    pub(super) fn done(code: &'static str, words: impl Into<String>) -> Self {
        Self { code, words: words.into(), verdict: Verdict::Done }
    }

    pub(super) fn refused(code: &'static str, words: impl Into<String>) -> Self {
        Self { code, words: words.into(), verdict: Verdict::Refused }
    }

    pub(super) fn is_done(&self) -> bool {
        self.verdict == Verdict::Done
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        let verdict = match refusal {
            Refusal::NotFound => Verdict::NotFound,
            Refusal::Held | Refusal::Redriven | Refusal::Exhausted | Refusal::Sealed => {
                Verdict::Refused
            }
            Refusal::Running
            | Refusal::Completed
            | Refusal::Cancelled
            | Refusal::Discarded
            | Refusal::Decided
            | Refusal::Changed => Verdict::MovedOn,
        };
        Self { code: refusal.code(), words: refusal.to_string(), verdict }
    }
}

impl From<dead_letters::Refusal> for Outcome {
    fn from(refusal: dead_letters::Refusal) -> Self {
        let verdict = match refusal {
            dead_letters::Refusal::NotFound => Verdict::NotFound,
            dead_letters::Refusal::AlreadyDecided => Verdict::MovedOn,
            dead_letters::Refusal::NothingToRedrive | dead_letters::Refusal::InsufficientFunds => {
                Verdict::Refused
            }
        };
        Self { code: refusal.code(), words: refusal.to_string(), verdict }
    }
}

/// Whether the jobs were named one by one, or found by a filter: then, that one has moved on
/// meanwhile is nothing amiss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meant {
    Named,
    Matching,
}

/// Tells what became of the jobs of one command.
pub(super) struct Teller {
    output: Output,
    meant: Meant,
    is_dry_run: bool,
    told: usize,
    /// What came of each, for programs that want one array.
    results: Vec<Value>,
    numbers: BTreeMap<&'static str, usize>,
    is_not_found: bool,
    is_refused: bool,
}

impl Teller {
    pub(super) fn new(output: Output, meant: Meant, is_dry_run: bool) -> Self {
        let (results, numbers) = (Vec::new(), BTreeMap::new());
        let (is_not_found, is_refused) = (false, false);
        Self { output, meant, is_dry_run, told: 0, results, numbers, is_not_found, is_refused }
    }

    pub(super) fn tell(&mut self, id: JobId, outcome: &Outcome) {
        *self.numbers.entry(outcome.code).or_default() += 1;
        match (outcome.verdict, self.meant) {
            (Verdict::Done, _) | (Verdict::MovedOn | Verdict::NotFound, Meant::Matching) => {}
            (Verdict::NotFound, Meant::Named) => self.is_not_found = true,
            (Verdict::MovedOn | Verdict::Refused, _) => self.is_refused = true,
        }
        let result = json!({ "id": id, "result": outcome.code, "dry_run": self.is_dry_run });
        match self.output {
            Output::Table => {
                self.told += 1;
                if self.meant == Meant::Named || self.told <= MAX_TOLD {
                    println!("job {id}: {}", outcome.words);
                } else if self.told == MAX_TOLD + 1 {
                    println!("…");
                }
            }
            Output::Json => self.results.push(result),
            Output::Jsonl => println!("{result}"),
            Output::Id if outcome.is_done() => println!("{id}"),
            Output::Id => {}
        }
    }

    /// Sums it up.
    pub(super) fn finish(self, next: &str) -> ExitCode {
        match self.output {
            Output::Table => {
                let numbers = self.numbers.iter().map(|(code, number)| format!("{number} {code}"));
                let numbers: Vec<String> = numbers.collect();
                let numbers =
                    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
                match self.is_dry_run {
                    true => println!("{numbers}; nothing was changed, because of --dry-run"),
                    false => println!("{numbers}; {next}"),
                }
            }
            Output::Json => println!("{}", Value::Array(self.results)),
            Output::Jsonl | Output::Id => {}
        }
        match (self.is_not_found, self.is_refused) {
            // That something does not exist is most likely a slip, and worth saying first.
            (true, _) => ExitCode::from(NOT_FOUND),
            (false, true) => ExitCode::from(CONFLICT),
            (false, false) => ExitCode::SUCCESS,
        }
    }
}
