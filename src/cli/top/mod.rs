//! `app top`: the state of the system in a terminal, live.
//!
//! - Here: the command, and one picture as text.
//! - `snapshot`: what is shown, as one moment of the database.
//! - `screen`: the state of the screen: a view, a place in it, and the newest snapshot or why there
//!   is none.
//! - `drawing`: the screen as cells of a terminal; `tables` are its lists.
//! - `live`: keys, signals, the clock, and giving the terminal back.
//!
//! Read by the same operations as everything else that operators see; nothing is changed from here.

mod drawing;
mod live;
mod screen;
mod snapshot;
mod tables;

use std::process::ExitCode;
use std::time::Duration;

use humantime::parse_duration;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use self::screen::{Screen, View};
use self::snapshot::Snapshot;
use super::database::Database;

const APPLICATION: &str = "surety-top";
/// Connections: one reads, and one may be on its way out.
const CONNECTIONS: u32 = 2;
/// The columns of one picture, unless it is told otherwise.
const USUAL_COLUMNS: u16 = 100;
/// The most lines of one picture.
const MAX_LINES: u16 = 200;

const EXAMPLES: &str = "\
Examples:
  app top
  app top --view queues --interval 1s
  app top --once                        one picture as text, for scripts
  app top --once --view failures --columns 160

Keys: 1 to 4 or Tab choose a view, arrows and PgUp, PgDn move in it, p pauses, r reads at once,
q quits. A database that is away is shown as such, and waited for.

Exit codes: 0 done, 2 usage, 7 database unreachable, 8 schema mismatch.";

/// Shows queues, failures and workers in the terminal, live.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    database: Database,

    /// The view to begin with.
    #[arg(long, value_enum, default_value_t = View::Overview)]
    view: View,

    /// The time between two looks; 500ms to 1m.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    interval: Duration,

    /// Print one picture as text, and end.
    #[arg(long)]
    once: bool,

    /// With --once: the width of the picture.
    #[arg(long, requires = "once", default_value_t = USUAL_COLUMNS,
          value_parser = clap::value_parser!(u16).range(20..=500))]
    columns: u16,
}

/// Does what `args` ask for.
///
/// # Errors
///
/// When the database cannot be reached at first or has another schema, and when the terminal
/// refuses.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pool = args.database.connect_many(APPLICATION, CONNECTIONS).await?;
    let mut screen = Screen::new(args.view, args.interval);
    if !args.once {
        return live::run(pool, screen).await;
    }
    screen.take(Ok(Snapshot::read(&pool).await?));
    print!("{}", picture(&screen, args.columns));
    Ok(ExitCode::SUCCESS)
}

/// The screen as text, as high as its content.
fn picture(screen: &Screen, columns: u16) -> String {
    let lines = drawing::height(screen).min(MAX_LINES);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, lines));
    let Ok(_) = terminal.draw(|frame| drawing::draw(frame, screen));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content().chunks(columns.into()) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(it) if (Duration::from_millis(500)..=Duration::from_secs(60)).contains(&it) => Ok(it),
        _ => Err("the time between two looks is 500ms to 1m".to_owned()),
    }
}
