//! The most that the server can do: `pgbench` writing one transaction row and one job row per
//! commit, the same two rows into the same tables and indexes as an accepted webhook.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

/// The way in which the two rows are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Script {
    /// Both inserts in one statement: one round trip, which also commits.
    OneStatement,
    /// `begin`, two inserts, `commit`: four round trips, as a program writes it by hand.
    FourRoundTrips,
}

/// A transaction's columns, with a body as long as a real one. The accounts vary as those of `app
/// send`.
const VARIABLES: &str = "\
\\set r random(1, 4611686018427387904)
\\set customer random(0, 49999)
\\set merchant random(0, 199)
";
const INSERT_TRANSACTION: &str = "\
insert into payments.transactions \
(transaction_id, source_account, destination_account, amount, currency, body) values \
('txn_' || :client_id || '_' || :r, 'acc_customer_' || :customer, 'acc_merchant_' || :merchant, \
1500.25, 'USD', convert_to( \
'{\"transaction_id\":\"txn_' || :client_id || '_' || :r || \
'\",\"source_account\":\"acc_customer_' || :customer || \
'\",\"destination_account\":\"acc_merchant_' || :merchant || \
'\",\"amount\":1500.25,\"currency\":\"USD\"}', 'UTF8')) \
on conflict (transaction_id) do nothing returning id";

impl Script {
    fn text(self) -> String {
        let job = "insert into queue.jobs (queue, kind, priority, max_attempts, args)";
        let args = "'default', 'settle_transaction', 2, 10, jsonb_build_object('transaction', ";
        match self {
            Self::OneStatement => format!(
                "{VARIABLES}with recorded as ({INSERT_TRANSACTION}) {job} select {args} id) \
                 from recorded;\n"
            ),
            Self::FourRoundTrips => format!(
                "{VARIABLES}begin;\n{INSERT_TRANSACTION} \\gset\n\
                 {job} values ({args} :id::bigint));\ncommit;\n"
            ),
        }
    }
}

/// Transactions per second of `clients` connections over so many seconds; none when there is no
/// `pgbench`.
pub(crate) async fn measure(
    program: &Path,
    url: &str,
    script: Script,
    clients: usize,
    secs: u64,
) -> anyhow::Result<Option<f64>> {
    let file = std::env::temp_dir().join(format!("surety-bench-{}.sql", std::process::id()));
    tokio::fs::write(&file, script.text()).await?;
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--file"])
        .arg(&file)
        .args(["--client", &clients.to_string(), "--jobs", &clients.min(2).to_string()])
        .args(["--time", &secs.to_string(), url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    tokio::fs::remove_file(&file).await?;
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output.context("pgbench cannot be run")?,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || failed_transactions(&said) != Some(0) {
        bail!("pgbench failed: {}{said}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(rate(&said).with_context(|| format!("pgbench gave no rate: {said}"))?))
}

fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

fn failed_transactions(said: &str) -> Option<u64> {
    // Servers before 15 do not count failures: there, a failure ends the client, and so the run.
    let Some(line) =
        said.lines().find_map(|line| line.strip_prefix("number of failed transactions: "))
    else {
        return Some(0);
    };
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
number of transactions actually processed: 12345
number of failed transactions: 0 (0.000%)
latency average = 1.203 ms
initial connection time = 11.021 ms
tps = 13301.412345 (without initial connection time)
";

    #[test]
    fn the_rate_is_read_from_what_pgbench_says() {
        assert_eq!(rate(SAID), Some(13_301.412_345));
        assert_eq!(failed_transactions(SAID), Some(0));
        assert_eq!(failed_transactions("number of failed transactions: 3 (1%)"), Some(3));
    }
}
