//! `app schedules preview`: the ticks of an expression.

use std::process::ExitCode;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::output::{Output, moment, print_values, table};
use crate::operations::schedules::{PreviewedTick, preview};

/// Which expression, and from when on.
#[derive(clap::Args, Debug)]
pub(super) struct Preview {
    /// The cron expression, of five fields, or six with seconds.
    expression: String,
    /// The time zone that it is read in.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// The number of ticks.
    #[arg(short = 'n', long, default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// The ticks after this moment, as 2026-11-21T09:00:00Z. [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    after: Option<OffsetDateTime>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn parse_moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| error.to_string())
}

impl Preview {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        // Nothing is decided by it, so the clock of this machine will do.
        let after = self.after.unwrap_or_else(OffsetDateTime::now_utc);
        let ticks = preview(&self.expression, &self.tz, after, self.count as usize)?;
        match self.output {
            Output::Table => {
                let rows: Vec<_> = ticks.iter().map(row).collect();
                print!("{}", table(["DAY", "LOCAL", "UTC"], &rows));
            }
            Output::Json | Output::Jsonl => print_values(&ticks, self.output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(PreviewedTick { tick_at, local }: &PreviewedTick) -> [String; 3] {
    [local.weekday().to_string(), moment(Some(*local)), moment(Some(*tick_at))]
}
