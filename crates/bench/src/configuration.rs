//! The machine, server and settings of a measurement: printed before every result, because figures
//! without them mean nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sqlx::PgConnection;

/// The settings of PostgreSQL that change what is measured.
const SETTINGS: [&str; 6] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "shared_buffers",
    "max_wal_size",
    "shared_preload_libraries",
];

/// The machine, server and settings of a measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Configuration {
    app: &'static str,
    optimised: bool,
    log_filter: String,
    cores: usize,
    cpu: Option<String>,
    server: &'static str,
    /// Settings of ours that the environment changes.
    environment: Vec<String>,
    postgres: BTreeMap<&'static str, String>,
}

impl Configuration {
    /// Of the server behind this connection, which people know as `server`.
    pub(crate) async fn read(
        conn: &mut PgConnection,
        server: &'static str,
    ) -> anyhow::Result<Self> {
        let mut postgres = BTreeMap::new();
        for name in SETTINGS {
            // Some are hidden from users who are not superusers.
            let value: Option<String> =
                sqlx::query_scalar("select current_setting(name) from pg_settings where name = $1")
                    .bind(name)
                    .fetch_optional(&mut *conn)
                    .await?;
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                postgres.insert(name, value);
            }
        }
        Ok(Self {
            app: concat!("app ", env!("CARGO_PKG_VERSION")),
            optimised: !cfg!(debug_assertions),
            log_filter: super::log_filter(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu_model(),
            server,
            environment: environment(),
            postgres,
        })
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.optimised { "optimised" } else { "NOT optimised" };
        writeln!(f, "{} ({build}), log filter {}", self.app, self.log_filter)?;
        let cpu = self.cpu.as_deref().unwrap_or("unknown CPU");
        writeln!(f, "machine: {} cores, {cpu}", self.cores)?;
        let settings: Vec<_> =
            self.postgres.iter().map(|(name, value)| format!("{name} {value}")).collect();
        write!(f, "PostgreSQL ({}): {}", self.server, settings.join(", "))?;
        if !self.environment.is_empty() {
            write!(f, "\nenvironment: {}", self.environment.join(", "))?;
        }
        Ok(())
    }
}

/// Environment variables that change the API or the workers, without secrets.
fn environment() -> Vec<String> {
    let ours = |name: &String| name.starts_with("APP_") && !name.contains("SECRET");
    let mut set: Vec<_> = std::env::vars()
        .filter(|(name, _)| ours(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    set.sort();
    set
}

/// The model of the first core, where the system tells.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
