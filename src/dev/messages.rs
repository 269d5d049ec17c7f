//! Messages of `app dev` on standard output.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::bank::Bank;
use super::database::Database;
use super::mail::Mail;
use super::{Args, Summary, Webhooks};
use crate::queue::WorkerSummary;
use crate::serve::ServeSummary;
use crate::stdout;

/// Prints to standard output, to be seen at once.
pub(super) fn print(text: &str) {
    stdout::write(format_args!("{text}"));
    stdout::flush();
}

/// A step of the start that is done.
pub(super) fn print_step(done: &str, began: Instant) {
    print(&format!("  ok  {done:<60} {:>5.1} s\n", began.elapsed().as_secs_f64()));
}

/// The addresses of everything, and commands to try.
pub(super) fn banner(
    address: SocketAddr,
    webhooks: Webhooks,
    args: &Args,
    bank: &Bank,
    mail: &Mail,
    database: &Database,
) -> String {
    let traces = match &args.traces {
        Some(_) => format!("http://{address}/ui/traces, the last ones"),
        None => "as the OTEL_* variables say".to_owned(),
    };
    let api = format!("http://{address}");
    let signatures = match webhooks {
        Webhooks::Signed => "signatures required, as a webhook secret is set",
        Webhooks::Unsigned => "taken unsigned, as no webhook secret is set; from this machine only",
    };
    // An unsigned webhook would be refused: then only 'app send' can show one.
    let by_hand = match webhooks {
        Webhooks::Signed => String::new(),
        Webhooks::Unsigned => format!(
            "  curl -i {api}/v1/webhooks/transactions -H 'content-type: application/json' -d '{{
    \"transaction_id\": \"txn_1\", \"amount\": \"15.00\", \"currency\": \"EUR\",
    \"source_account\": \"acc_anna\", \"destination_account\": \"acc_ben\"}}'
  curl {api}/v1/transactions/txn_1
"
        ),
    };
    // Commands find a database in the usual folder by themselves; other programs do not.
    let export =
        database.psql.strip_prefix("psql ").map(|url| format!("  export DATABASE_URL={url}\n"));
    let export = export.unwrap_or_default();
    format!(
        "
  API         {api}/v1/webhooks/transactions
  Dashboard   {api}/ui
  Swagger UI  {api}/docs
  Webhooks    {signatures}
  Workers     {workers}
  Bank        {bank}
  Mail        {mail}
  Traces      {traces}
  Database    {database_url}
  Data        {place}

Try it, in another terminal:

{by_hand}{export}  app send --url {api} --count 100

",
        workers = args.workers,
        bank = bank.place,
        mail = mail.place,
        database_url = database.psql,
        place = database.place,
    )
}

/// The totals, and where the data stays.
pub(super) fn summary_text(summary: &Summary, waiting: u64, took: Duration, place: &str) -> String {
    // What was handed back is among those that wait.
    let WorkerSummary { completed, failed, discarded, lease_lost: _, handed_back: _ } =
        summary.worked;
    let mut text = format!(
        "Stopped after {} s: {} webhooks accepted, {completed} jobs done",
        took.as_secs(),
        summary.served.accepted
    );
    let ServeSummary { accepted: _, duplicates, conflicts, rejected, unavailable } = summary.served;
    for (count, what) in [
        (duplicates, "duplicates"),
        (conflicts, "conflicts"),
        (rejected, "webhooks rejected"),
        (unavailable, "requests answered 503"),
        (failed, "attempts failed"),
        (discarded, "jobs discarded"),
        (waiting, "jobs waiting for the next start"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    let _ = writeln!(text, ". The data stays in {place}.");
    text
}
