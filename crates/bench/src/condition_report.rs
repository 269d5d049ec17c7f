//! The report of measurements of the same work under the same condition, over all rounds.

use std::fmt::{self, Display};

use serde::Serialize;

use super::account::Account;
use super::chaos::ChaosReport;
use super::conditions::Condition;
use super::figures::{Figure, Percentiles, show};
use super::gauges::BuffersOf;
use super::measurement::Measured;
use super::report::Table;

/// Latencies over all rounds, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: Option<Figure>,
    pub(crate) p95_ms: Option<Figure>,
    pub(crate) p99_ms: Option<Figure>,
    pub(crate) max_ms: Option<Figure>,
}

impl Latency {
    pub(crate) fn of(rounds: impl Iterator<Item = Percentiles> + Clone) -> Self {
        let figure = |of: fn(Percentiles) -> f64| Figure::of(rounds.clone().map(of));
        Self {
            p50_ms: figure(|round| round.p50),
            p95_ms: figure(|round| round.p95),
            p99_ms: figure(|round| round.p99),
            max_ms: figure(|round| round.max),
        }
    }
}

/// For a line of a table.
impl Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p95, p99] = [self.p50_ms, self.p95_ms, self.p99_ms].map(|figure| show(figure, 2));
        let max = show(self.max_ms, 1);
        write!(f, "p50 {p50} ms, p95 {p95} ms, p99 {p99} ms, max {max} ms")
    }
}

/// The figures that all forms report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConditionReport {
    pub(crate) condition: Condition,
    pub(crate) under: String,
    enqueue_to_start: Latency,
    enqueue_to_done: Latency,
    wal_bytes_per_job: Option<Figure>,
    commits_per_job: Option<Figure>,
    buffers_per_claimed_job: Option<Figure>,
    buffers_first_tenth: Option<Figure>,
    buffers_last_tenth: Option<Figure>,
    buffers_of: Option<BuffersOf>,
    max_dead_tuples: Option<Figure>,
    /// Transactions of readers.
    reads: u64,
    /// Totals of all rounds.
    account: Option<Account>,
    /// Totals of all rounds.
    chaos: Option<ChaosReport>,
}

impl ConditionReport {
    /// Of these rounds, of which there is at least one.
    pub(crate) fn of(condition: Condition, under: String, rounds: &[&Measured]) -> Self {
        let figure = |of: fn(&Measured) -> Option<f64>| {
            Figure::of(rounds.iter().filter_map(|round| of(round)))
        };
        let jobs = |measured: &Measured| measured.account.enqueued.max(1) as f64;
        let latency = |of: fn(&Measured) -> Option<Percentiles>| {
            Latency::of(rounds.iter().filter_map(move |round| of(round)))
        };
        let chaos = rounds.iter().filter_map(|round| round.chaos);
        let accounts = rounds.iter().map(|round| round.account);
        Self {
            condition,
            under,
            enqueue_to_start: latency(|round| round.waits.to_start),
            enqueue_to_done: latency(|round| round.waits.to_done),
            wal_bytes_per_job: Figure::of(
                rounds.iter().map(|round| round.counted.wal_bytes / jobs(round)),
            ),
            commits_per_job: Figure::of(
                rounds.iter().filter_map(|round| Some(round.counted.commits? / jobs(round))),
            ),
            buffers_per_claimed_job: figure(|round| Some(round.counted.buffers?.all)),
            buffers_first_tenth: figure(|round| Some(round.counted.buffers?.first_tenth)),
            buffers_last_tenth: figure(|round| Some(round.counted.buffers?.last_tenth)),
            buffers_of: rounds.first().map(|round| round.counted.buffers_of),
            max_dead_tuples: figure(|round| Some(round.counted.max_dead_rows)),
            reads: rounds.iter().map(|round| round.reads).sum(),
            account: accounts.reduce(Account::plus),
            chaos: chaos.reduce(ChaosReport::plus),
        }
    }

    /// Writes the lines that all forms have.
    pub(crate) fn write(&self, table: &mut Table) {
        table.line("enqueue → start", self.enqueue_to_start);
        table.line("enqueue → done", self.enqueue_to_done);
        let (wal, commits) = (show(self.wal_bytes_per_job, 0), show(self.commits_per_job, 3));
        table.line("per job", format_args!("{wal} bytes of WAL, {commits} commits"));
        let counted = match self.buffers_of {
            Some(BuffersOf::AllOnJobs) => ", by all statements on queue.jobs",
            Some(BuffersOf::Claims) | None => "",
        };
        let [all, first, last] =
            [self.buffers_per_claimed_job, self.buffers_first_tenth, self.buffers_last_tenth]
                .map(|figure| show(figure, 1));
        table.line(
            "buffers",
            format_args!("{all} per claimed job; first tenth {first}, last tenth {last}{counted}"),
        );
        table.line("dead tuples", format_args!("{} at most", show(self.max_dead_tuples, 0)));
        if self.reads > 0 {
            table.line("readers", format_args!("{} transactions in all", self.reads));
        }
        if let Some(account) = self.account {
            write_account(&account, table);
        }
        if let Some(chaos) = self.chaos {
            write_chaos(&chaos, table);
        }
    }
}

fn write_account(account: &Account, table: &mut Table) {
    table.text(format_args!(
        "  lost {} · run twice {} · stale completions refused {}   (of {} jobs in all rounds)",
        account.lost, account.run_twice, account.stale_completions_refused, account.enqueued
    ));
    if account.executions_beyond_first + account.stopped_runs + account.failed_runs > 0 {
        table.text(format_args!(
            "  handlers called again {} times; runs failed {}, stopped by their worker {}",
            account.executions_beyond_first, account.failed_runs, account.stopped_runs
        ));
    }
    if account.discarded + account.unfinished > 0 {
        let (discarded, unfinished) = (account.discarded, account.unfinished);
        table.text(format_args!("  discarded {discarded}, unfinished {unfinished}"));
    }
}

fn write_chaos(chaos: &ChaosReport, table: &mut Table) {
    table.line("chaos", format_args!("{} strikes, {} hit", chaos.strikes, chaos.hit));
    if chaos.held > 0 {
        let (held, secs, not_run) = (chaos.held, chaos.looked_after_secs, chaos.held_not_run);
        let counts = format_args!("{held} jobs, not run {secs} s later: {not_run}");
        table.line("held when struck", counts);
    }
}
