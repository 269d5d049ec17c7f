//! The cost of work on a database: processor time of PostgreSQL and of a process, write-ahead log,
//! flushes of it, statements.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;

use super::gauges::wait_until_alone;
use surety::db;

/// All that a server has spent so far. What it does not tell is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spending {
    /// Processor time of all its processes, where it runs on this machine.
    server_cpu: Option<Duration>,
    wal_bytes: i64,
    /// Flushes of the write-ahead log.
    flushes: i64,
    /// Statements in this database, each a round trip.
    statements: Option<i64>,
}

/// The cost of one piece of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) app_us: f64,
    pub(crate) server_us: Option<f64>,
    pub(crate) wal_bytes: f64,
    pub(crate) flushes: f64,
    pub(crate) statements: Option<f64>,
}

impl Spending {
    /// Reads the counters, once nobody else is connected: sessions tell at their ends at the latest
    /// what they did.
    pub(crate) async fn read(url: &str, counts_statements: bool) -> anyhow::Result<Self> {
        let pool = db::connect(url, 1, "surety-bench-gauges").await?;
        wait_until_alone(&pool).await?;
        // Since PostgreSQL 18 that is a matter of I/O.
        let flushes = match server_version(&pool).await? {
            180_000.. => {
                "select coalesce(sum(fsyncs), 0)::bigint from pg_stat_io where object = 'wal'"
            }
            _ => "select wal_sync from pg_stat_wal",
        };
        let wal = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let calls = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements
                     where dbid = (select oid from pg_database where datname = current_database())";
        let spending = Self {
            server_cpu: server_cpu(&pool).await,
            wal_bytes: sqlx::query_scalar(wal).fetch_one(&pool).await?,
            flushes: sqlx::query_scalar(flushes).fetch_one(&pool).await?,
            statements: match counts_statements {
                true => Some(sqlx::query_scalar(calls).fetch_one(&pool).await?),
                false => None,
            },
        };
        pool.close().await;
        Ok(spending)
    }

    /// The cost of each of so many pieces of work, done since, for which a process spent this.
    pub(crate) fn of_each(self, now: Self, app_cpu: Duration, count: u64) -> Cost {
        let count = count as f64;
        let us = |time: Duration| time.as_secs_f64() * 1e6 / count;
        let since = |before: i64, now: i64| (now - before) as f64 / count;
        let both = self.server_cpu.zip(now.server_cpu);
        Cost {
            app_us: us(app_cpu),
            server_us: both.map(|(before, now)| us(now.saturating_sub(before))),
            wal_bytes: since(self.wal_bytes, now.wal_bytes),
            flushes: since(self.flushes, now.flushes),
            statements: self.statements.zip(now.statements).map(|(before, now)| since(before, now)),
        }
    }
}

async fn server_version(pool: &PgPool) -> anyhow::Result<i32> {
    let version = "select current_setting('server_version_num')::int";
    Ok(sqlx::query_scalar(version).fetch_one(pool).await?)
}

/// Processor time of all processes of the server, those included that have ended.
async fn server_cpu(pool: &PgPool) -> Option<Duration> {
    let directory = "select current_setting('data_directory')";
    let directory: String = sqlx::query_scalar(directory).fetch_one(pool).await.ok()?;
    let file = std::fs::read_to_string(Path::new(&directory).join("postmaster.pid")).ok()?;
    let postmaster: u32 = file.lines().next()?.trim().parse().ok()?;
    let Times { own, of_ended_children, .. } = Times::of(postmaster)?;
    let mut ticks = own + of_ended_children;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // Others may end while they are looked at.
        if let Some(times) = process.and_then(Times::of)
            && times.parent == postmaster
        {
            ticks += times.own;
        }
    }
    Some(duration(ticks))
}

/// Processor time of a process, without that of its children.
///
/// # Errors
///
/// There is no such process, or no `/proc`.
pub(crate) fn cpu_of(process: u32) -> anyhow::Result<Duration> {
    Ok(duration(Times::of(process).context("the process cannot be looked at")?.own))
}

/// The memory of a process that is in use and in RAM.
///
/// # Errors
///
/// As [`cpu_of`].
pub(crate) fn resident_bytes_of(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kilobytes: u64 = kilobytes.context("no memory is told of")?.trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Processor time of a process, in ticks of the clock of `/proc`.
struct Times {
    parent: u32,
    own: u64,
    of_ended_children: u64,
}

impl Times {
    fn of(process: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in parentheses, may hold anything. See proc_pid_stat(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            of_ended_children: number(13)? + number(14)?,
        })
    }
}

fn duration(ticks: u64) -> Duration {
    // SAFETY: the call takes a number and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / per_second.max(1) as f64)
}
