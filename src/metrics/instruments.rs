//! The table of all instruments.
//!
//! Names follow the conventions of OpenTelemetry: dots, no unit in the name, the unit beside it
//! (`s`, `By`, or what is counted, in braces). `http.server.*` and `db.client.connection.*` are
//! those of the semantic conventions 1.44; `process.*` are what Prometheus knows of any process;
//! all others are ours, `app.*`.

/// A figure: a name with a meaning, before anybody has counted anything.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Instrument {
    /// The name, as OpenTelemetry has it.
    pub name: &'static str,
    /// The sort of figure.
    pub kind: Kind,
    /// The unit: `s`, `By`, `1`, or what is counted, in braces.
    pub unit: &'static str,
    /// The names of the labels of each series.
    pub labels: &'static [&'static str],
    /// The origin.
    pub source: Source,
    /// The meaning, in words.
    pub help: &'static str,
}

/// A sort of figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution over buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// The origin of a figure, which says how the series of several processes go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A process, of itself: those of several are added up.
    Process,
    /// The database, of everything: each process says the same, and one of them is enough.
    Database,
}

impl Instrument {
    /// The name of its samples, as Prometheus has it; of a histogram without `_bucket`, `_sum` and
    /// `_count`.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.family_name()),
            Kind::Gauge | Kind::Histogram(_) => self.family_name(),
        }
    }

    /// The name of the family in OpenMetrics: that of its samples without the suffix of counters.
    #[must_use]
    pub fn family_name(&self) -> String {
        let name = self.name.replace('.', "_");
        match self.unit_suffix() {
            Some(unit) => format!("{name}_{unit}"),
            None => name,
        }
    }

    /// The unit, as the name of its samples says it; `None` of what is counted in pieces.
    #[must_use]
    pub fn unit_suffix(&self) -> Option<&'static str> {
        match self.unit {
            "s" => Some("seconds"),
            "By" => Some("bytes"),
            _ => None,
        }
    }
}

/// From a lookup to what has timed out, as the semantic conventions ask for requests.
const REQUEST_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds of the buckets that the queue counts in (`queue::activity::histogram`), as all below that
/// are of the queue.
const WAIT_BOUNDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 75.0, 300.0, 1500.0];
const RUN_BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 75.0, 300.0];
const STATEMENT_BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const CALL_BOUNDS: &[f64] = &[0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const COMMIT_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5];
const BATCH_BOUNDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0];

macro_rules! instruments {
    ($(
        $name:ident: $kind:expr, $dotted:literal, $unit:literal, $source:ident,
        [$($label:literal),*], $help:literal;
    )*) => {
        $(
            #[doc = $help]
            pub static $name: Instrument = Instrument {
                name: $dotted,
                kind: $kind,
                unit: $unit,
                labels: &[$($label),*],
                source: Source::$source,
                help: $help,
            };
        )*

        /// All of them, in the order in which they are shown.
        pub static ALL: &[&Instrument] = &[$(&$name),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

instruments! {
    BUILD_INFO: Gauge, "app.build.info", "1", Process, ["version"],
        "1, with the version of the program";
    DATABASE_UP: Gauge, "app.database.up", "1", Process, [],
        "1 while the database answers this process, 0 while it does not";

    // Requests.
    HTTP_REQUEST_DURATION: Histogram(REQUEST_BOUNDS), "http.server.request.duration", "s", Process,
        ["http.request.method", "http.route", "http.response.status_code"],
        "Time from the head of a request to its answer; _other is no documented operation";
    HTTP_ACTIVE_REQUESTS: Gauge, "http.server.active_requests", "{request}", Process, [],
        "Requests that are being answered";
    RATE_LIMIT_DECISIONS: Counter, "app.rate_limit.decisions", "{request}", Process,
        ["class", "decision"], "Requests by what the rate limits decided";
    RATE_LIMIT_LEASES: Counter, "app.rate_limit.leases", "{lease}", Process, ["class"],
        "Parts of quotas that were taken from the database";
    COMMIT_DURATION: Histogram(COMMIT_BOUNDS), "app.commit.duration", "s", Process,
        ["work", "outcome"], "Time of a shared commit of requests";
    COMMIT_REQUESTS: Histogram(BATCH_BOUNDS), "app.commit.requests", "{request}", Process, ["work"],
        "Requests in one shared commit";

    // Inbound webhooks.
    WEBHOOK_EVENTS: Counter, "app.webhook.events", "{event}", Process, ["source", "outcome"],
        "Inbound webhooks by their answer";
    WEBHOOK_LAST_EVENT_AGE: Gauge, "app.webhook.last_event.age", "s", Database, ["source"],
        "Time since a source last sent a webhook that was accepted or known already";

    // Jobs that wait.
    JOBS: Gauge, "app.jobs", "{job}", Database, ["queue", "state"],
        "Unfinished jobs by state: available and running up to 10,000, the others up to 1,000";
    OLDEST_READY_AGE: Gauge, "app.queue.oldest_ready.age", "s", Database, ["queue"],
        "Time for which the oldest due job of a queue has waited";
    QUEUES_PAUSED: Gauge, "app.queues.paused", "{queue}", Database, [],
        "Queues that are paused; 1 as well while all of them are";
    KEYS_BLOCKED: Gauge, "app.keys.blocked", "{key}", Database, [],
        "Keys of ordered queues that wait for somebody to decide, up to 1,000";
    DEAD_LETTERS: Gauge, "app.dead_letters", "{job}", Database, [],
        "Discarded jobs that nobody has decided over, among the newest 5,000 that were discarded";

    // Jobs that run.
    JOB_ATTEMPTS: Counter, "app.job.attempts", "{attempt}", Process, ["queue", "kind", "outcome"],
        "Attempts that ended, by outcome; lost ones are counted by who took them back";
    JOB_WAIT_DURATION: Histogram(WAIT_BOUNDS), "app.job.wait.duration", "s", Process, ["queue"],
        "Time from when a job was due to its claim";
    JOB_RUN_DURATION: Histogram(RUN_BOUNDS), "app.job.run.duration", "s", Process, ["kind"],
        "Time from the claim of a job to the end of the attempt";
    JOBS_RESCUED: Counter, "app.job.rescued", "{job}", Process, [],
        "Jobs of lost workers that were taken back";
    JOBS_HANDED_BACK: Counter, "app.job.handed_back", "{job}", Process, [],
        "Jobs that were handed back unfinished when a worker stopped";
    LEASES_LOST: Counter, "app.job.leases.lost", "{lease}", Process, [],
        "Runs that were stopped, or came to nothing, because their lease was lost";
    RENEWALS_FAILED: Counter, "app.job.leases.renewal_failures", "{renewal}", Process, [],
        "Renewals of leases that the database refused or did not answer";
    WRITES_FENCED: Counter, "app.job.writes.fenced", "{write}", Process, [],
        "Stale writes that were refused: the job was another worker's by then";
    WORKERS: Gauge, "app.workers", "{worker}", Database, ["state"],
        "Workers by state, lost ones for a day";
    WORKERS_SLOTS: Gauge, "app.workers.slots", "{job}", Database, ["state"],
        "Slots of all live workers, as they said with their last heartbeat";
    WORKER_SLOTS: Gauge, "app.worker.slots", "{job}", Process, ["state"],
        "Slots of the workers of this process";
    CLAIM_DURATION: Histogram(STATEMENT_BOUNDS), "app.claim.duration", "s", Process, [],
        "Time of a claim, those that brought nothing included";
    CLAIM_JOBS: Counter, "app.claim.jobs", "{job}", Process, [], "Jobs that were claimed";
    CLAIMS_EMPTY: Counter, "app.claim.empty", "{claim}", Process, [],
        "Claims that brought nothing";
    CLAIMS_FAILED: Counter, "app.claim.failures", "{claim}", Process, [],
        "Claims that the database refused or did not answer";
    COMPLETE_DURATION: Histogram(STATEMENT_BOUNDS), "app.complete.duration", "s", Process, [],
        "Time of a completion, of one job or several, with the commit of what they wrote";
    COMPLETE_JOBS: Counter, "app.complete.jobs", "{job}", Process, [],
        "Jobs that were completed";
    COMPLETES_FAILED: Counter, "app.complete.failures", "{completion}", Process, [],
        "Completions that the database refused or did not answer";
    SCHEDULE_LAG: Gauge, "app.schedule.lag", "s", Database, [],
        "Time for which the schedule that is most overdue has been; 0 when none is";
    SCHEDULES: Gauge, "app.schedules", "{schedule}", Database, ["state"],
        "Schedules by state, up to 1,000";

    // Money.
    TRANSACTIONS_PROCESSING: Gauge, "app.transactions.processing", "{transaction}", Database, [],
        "Accepted transactions without an outcome, among the newest 10,000 that are not completed";
    TRANSACTION_OLDEST_AGE: Gauge, "app.transaction.oldest_processing.age", "s", Database, [],
        "Age of the oldest of them; 0 when there is none";
    ORDERS: Gauge, "app.orders", "{order}", Database, ["kind", "status"],
        "Unfinished orders, among the next 10,000 jobs that execute one";
    ORDER_OLDEST_AGE: Gauge, "app.order.oldest.age", "s", Database, ["kind"],
        "Age of the oldest of them";
    MONEY_HELD: Gauge, "app.money.held", "{currency}", Database, ["currency"],
        "Money that those orders hold in wallets";
    LEDGER_IMBALANCE: Gauge, "app.ledger.imbalance", "{currency}", Database, ["currency"],
        "Sum of the entries of transfers since the last whole `app verify`, and of those that it \
         found broken; must be 0";
    LEDGER_CHECKED_LAG: Gauge, "app.ledger.checked.lag", "s", Database, [],
        "Age of the transfer that this sum has come to; 0 when it has come to the newest";
    VERIFY_LAST_RUN_AGE: Gauge, "app.verify.last_run.age", "s", Database, [],
        "Time since `app verify` last ran";
    VERIFY_VIOLATIONS: Gauge, "app.verify.violations", "{row}", Database, [],
        "Rows that broke a guarantee when `app verify` last ran; must be 0";

    // Others.
    BANK_CALL_DURATION: Histogram(CALL_BOUNDS), "app.bank.call.duration", "s", Process,
        ["operation", "outcome"], "Time of a call to the bank";
    BANK_BREAKER: Gauge, "app.bank.breaker", "1", Database, ["state"],
        "Circuit breaker of the bank by state, 1 for the one it is in";
    DELIVERY_DURATION: Histogram(CALL_BOUNDS), "app.delivery.attempt.duration", "s", Process,
        ["outcome"], "Time of one POST of a webhook of ours";
    DELIVERIES: Gauge, "app.deliveries.failed", "{delivery}", Database, [],
        "Deliveries that were given up, up to 10,000";
    ENDPOINTS: Gauge, "app.endpoints", "{endpoint}", Database, ["state"],
        "Webhook endpoints by state, up to 10,000";
    MAIL_DURATION: Histogram(CALL_BOUNDS), "app.mail.attempt.duration", "s", Process, ["outcome"],
        "Time of one try to hand a mail to the mail server";
    RELAY_PUBLISHED: Counter, "app.relay.published", "{event}", Process, [],
        "Events that the broker has confirmed, repeats among them";
    RELAY_CONNECTED: Gauge, "app.relay.connected", "1", Process, [],
        "1 with a connection to the broker";
    RELAY_LAG_EVENTS: Gauge, "app.relay.lag.events", "{event}", Process, [],
        "Events that are not relayed yet";
    RELAY_LAG: Gauge, "app.relay.lag", "s", Process, [], "Age of the first of them";

    HISTORY_OLDEST_AGE: Gauge, "app.history.oldest.age", "s", Database, ["history"],
        "Age of the oldest event, delivery, mail and bulk operation that is kept";

    // The database.
    CONNECTIONS: Gauge, "db.client.connection.count", "{connection}", Process,
        ["db.client.connection.pool.name", "db.client.connection.state"],
        "Connections of a pool by state; those that runs hand on to each other are in use";
    CONNECTIONS_MAX: Gauge, "db.client.connection.max", "{connection}", Process,
        ["db.client.connection.pool.name"], "The most connections of a pool";
    PG_CONNECTIONS: Gauge, "app.pg.connections", "{connection}", Database, ["state"],
        "Sessions of the database server that this role may see, by state";
    PG_CONNECTIONS_MAX: Gauge, "app.pg.connections.max", "{connection}", Database, [],
        "The most sessions that the database server takes";
    PG_XMIN_AGE: Gauge, "app.pg.xmin.age", "s", Database, [],
        "Age of the oldest transaction that keeps vacuum from cleaning up; 0 when there is none";
    PG_DEAD_ROWS: Gauge, "app.pg.dead_rows", "{row}", Database, ["table"],
        "Rows that vacuum has yet to clean up, of the ten tables that have most";
    PG_LIVE_ROWS: Gauge, "app.pg.live_rows", "{row}", Database, ["table"],
        "Rows of the same tables, as the server estimates";
    PG_DATABASE_SIZE: Gauge, "app.pg.database.size", "By", Database, [], "Size of the database";
    PG_TRANSACTIONS: Counter, "app.pg.transactions", "{transaction}", Database, ["outcome"],
        "Transactions of the database by outcome, since its statistics were reset";
    PG_REPLICATION_LAG: Gauge, "app.pg.replication.lag", "By", Database, [],
        "Bytes that the standby that is furthest behind has yet to apply; 0 without one";
    REPLICA_READ: Gauge, "app.replica.read", "1", Process, [],
        "1 while lists and reports are read from the standby, 0 while from the primary";
    REPLICA_AGE: Gauge, "app.replica.age", "s", Process, [],
        "Age of what the last read from the standby found there, as it began";
    SAMPLE_DURATION: Gauge, "app.sample.duration", "s", Process, [],
        "Time that the last look at the database for these figures took";

    // This process.
    PROCESS_CPU: Counter, "process.cpu", "s", Process, [], "Processor time of the process";
    PROCESS_MEMORY: Gauge, "process.resident_memory", "By", Process, [],
        "Resident memory of the process";
    PROCESS_VIRTUAL_MEMORY: Gauge, "process.virtual_memory", "By", Process, [],
        "Virtual memory of the process";
    PROCESS_FDS: Gauge, "process.open_fds", "{file}", Process, [], "Open file descriptors";
    PROCESS_MAX_FDS: Gauge, "process.max_fds", "{file}", Process, [],
        "The most open file descriptors";
    PROCESS_THREADS: Gauge, "process.threads", "{thread}", Process, [], "Threads of the process";
    PROCESS_START: Gauge, "process.start_time", "s", Process, [],
        "Start of the process, since 1970";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_of_the_characters_that_prometheus_takes() {
        let mut names = HashSet::new();
        for instrument in ALL {
            let name = instrument.prometheus_name();
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(names.insert(name), "{} is there twice", instrument.name);
            for label in instrument.labels {
                let is_plain = |c: char| c.is_ascii_lowercase() || "._".contains(c);
                assert!(label.chars().all(is_plain), "{label}");
            }
        }
    }

    #[test]
    fn bounds_rise() {
        for instrument in ALL {
            if let Kind::Histogram(bounds) = instrument.kind {
                assert!(bounds.is_sorted() && !bounds.is_empty(), "{}", instrument.name);
            }
        }
    }
}
