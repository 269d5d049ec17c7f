//! The report of measurements of the same work under the same condition, over all rounds.

use serde::Serialize;

use super::account::Account;
use super::chaos::ChaosReport;
use super::conditions::Condition;
use super::figures::{Figure, Percentiles, show};
use super::gauges::BuffersOf;
use super::measurement::Measured;

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

    /// One line of a table.
    pub(crate) fn print(&self, name: &str) {
        println!(
            "  {name:<21} p50 {} ms, p95 {} ms, p99 {} ms, max {} ms",
            show(self.p50_ms, 2),
            show(self.p95_ms, 2),
            show(self.p99_ms, 2),
            show(self.max_ms, 1),
        );
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

    /// The lines of a table that all forms have.
    pub(crate) fn print(&self) {
        self.enqueue_to_start.print("enqueue → start");
        self.enqueue_to_done.print("enqueue → done");
        println!(
            "  per job               {} bytes of WAL, {} commits",
            show(self.wal_bytes_per_job, 0),
            show(self.commits_per_job, 3),
        );
        let counted = match self.buffers_of {
            Some(BuffersOf::AllOnJobs) => ", by all statements on queue.jobs",
            Some(BuffersOf::Claims) | None => "",
        };
        println!(
            "  buffers               {} per claimed job; first tenth {}, last tenth {}{counted}",
            show(self.buffers_per_claimed_job, 1),
            show(self.buffers_first_tenth, 1),
            show(self.buffers_last_tenth, 1),
        );
        println!("  dead tuples           {} at most", show(self.max_dead_tuples, 0));
        if self.reads > 0 {
            println!("  readers               {} transactions in all", self.reads);
        }
        if let Some(account) = self.account {
            print_account(&account);
        }
        if let Some(chaos) = self.chaos {
            print_chaos(&chaos);
        }
    }
}

fn print_account(account: &Account) {
    println!(
        "  lost {} · run twice {} · stale completions refused {}   (of {} jobs in all rounds)",
        account.lost, account.run_twice, account.stale_completions_refused, account.enqueued
    );
    if account.executions_beyond_first + account.stopped_runs + account.failed_runs > 0 {
        println!(
            "  handlers called again {} times; runs failed {}, stopped by their worker {}",
            account.executions_beyond_first, account.failed_runs, account.stopped_runs
        );
    }
    if account.discarded + account.unfinished > 0 {
        println!("  discarded {}, unfinished {}", account.discarded, account.unfinished);
    }
}

fn print_chaos(chaos: &ChaosReport) {
    println!("  chaos                 {} strikes, {} hit", chaos.strikes, chaos.hit);
    if chaos.held > 0 {
        println!(
            "  held when struck      {} jobs, not run {} s later: {}",
            chaos.held, chaos.looked_after_secs, chaos.held_not_run
        );
    }
}
