//! The keys of `app dev` on a terminal: each makes something happen that is worth watching.
//!
//! - Here: the keys, and what each does.
//! - `stage`: what all of them act on, and their words.
//! - `transaction`: a transaction that is sent, and followed to its outcome (`t`, `f`).
//! - `recovery`: a worker that is killed (`k`); `worker_process` is that worker.
//! - `outage`: a bank that is down for a while (`b`).
//! - `requests`: requests to our own API, as anybody's program makes them.
//! - `deliveries`: the receiver of the webhooks that all this causes.
//!
//! Guaranteed: nothing of this happens without a key that is pressed on a terminal. What makes
//! payments up is refused where the database is not `app dev`'s own.

mod deliveries;
mod outage;
mod recovery;
mod requests;
mod stage;
mod transaction;
mod worker_process;

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) use self::stage::Stage;
use crate::db;
use crate::operations::Identity;
use crate::operations::verify::{self, FindingStatus, Report, Scope};
use crate::terminal::footer::{self, Entry};
use crate::terminal::keys::Keys;

/// The author of what is kept of a key.
const BY: &str = "app-dev";
/// The time for each check of `v`.
const VERIFY_WITHIN: Duration = Duration::from_secs(60);

/// The keys, being listened to.
pub(super) struct Show {
    listening: JoinHandle<()>,
    end: CancellationToken,
}

impl Show {
    /// Listens to the keys, until [`end`](Self::end) or the shutdown, which `q` asks for.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be listened to.
    pub(super) fn begin(stage: Stage, shutdown: &CancellationToken) -> std::io::Result<Self> {
        let keys = Keys::listen()?;
        let end = shutdown.child_token();
        let listening = tokio::spawn(listen(keys, Arc::new(stage), shutdown.clone(), end.clone()));
        Ok(Self { listening, end })
    }

    /// Gives up what is under way, and the terminal back.
    pub(super) async fn end(self) {
        self.end.cancel();
        // A panic has been told.
        let _ = self.listening.await;
    }
}

async fn listen(
    mut keys: Keys,
    stage: Arc<Stage>,
    shutdown: CancellationToken,
    end: CancellationToken,
) {
    let mut act: Option<JoinHandle<()>> = None;
    show_keys(&stage).await;
    loop {
        let is_under_way = act.is_some();
        tokio::select! {
            () = end.cancelled() => break,
            () = ended(&mut act) => {
                act = None;
                show_keys(&stage).await;
            }
            key = keys.next() => match key.map(Key::of) {
                // The terminal is gone: the signal for that comes by itself.
                None => break,
                Some(Key::Quit) => {
                    shutdown.cancel();
                    break;
                }
                Some(Key::Dashboard) => stage.open_dashboard(),
                Some(Key::Explain) => explain(),
                Some(Key::Act(_)) if is_under_way => {
                    stage::say('·', "one thing at a time: the last key is still at work");
                }
                Some(Key::Act(key)) => {
                    let (key, stage) = (key, Arc::clone(&stage));
                    act = Some(tokio::spawn(async move { perform(key, &stage).await }));
                }
            },
        }
    }
    if let Some(act) = act {
        act.abort();
        let _ = act.await;
    }
    drop(keys);
    stage.leave().await;
}

/// Returns when what is under way has ended; never, if nothing is.
async fn ended(act: &mut Option<JoinHandle<()>>) {
    match act {
        // A panic has been told.
        Some(act) => drop(act.await),
        None => std::future::pending().await,
    }
}

/// A key that is pressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Dashboard,
    Quit,
    Explain,
    Act(Act),
}

/// A key that has something happen, one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Send,
    SendFailing,
    KillWorker,
    SwitchBank,
    Verify,
}

impl Key {
    fn of(pressed: char) -> Self {
        match pressed.to_ascii_lowercase() {
            'd' => Self::Dashboard,
            't' => Self::Act(Act::Send),
            'f' => Self::Act(Act::SendFailing),
            'k' => Self::Act(Act::KillWorker),
            'b' => Self::Act(Act::SwitchBank),
            'v' => Self::Act(Act::Verify),
            'q' => Self::Quit,
            _ => Self::Explain,
        }
    }
}

impl Act {
    const fn key(self) -> char {
        match self {
            Self::Send => 't',
            Self::SendFailing => 'f',
            Self::KillWorker => 'k',
            Self::SwitchBank => 'b',
            Self::Verify => 'v',
        }
    }
}

async fn perform(act: Act, stage: &Stage) {
    let performed = match act {
        Act::Send => transaction::send(stage).await,
        Act::SendFailing => transaction::send_failing(stage).await,
        Act::KillWorker => recovery::kill_a_worker(stage).await,
        Act::SwitchBank => outage::switch(stage).await,
        Act::Verify => verify(stage).await,
    };
    if let Err(error) = performed {
        stage::say(act.key(), &format!("it did not work: {error:#}"));
    }
}

/// The keys at the foot of the terminal.
async fn show_keys(stage: &Stage) {
    let entry = |key, long, short| Entry { key, long, short };
    let bank = match stage.is_bank_down().await {
        true => entry('b', "bank up", "up"),
        false => entry('b', "bank down", "down"),
    };
    footer::show(vec![
        entry('d', "dashboard", "web"),
        entry('t', "send", "send"),
        entry('f', "failing", "fail"),
        entry('k', "kill worker", "kill"),
        bank,
        entry('v', "verify", "verify"),
        entry('q', "quit", "quit"),
    ]);
}

fn explain() {
    for (key, effect) in [
        ('d', "opens the dashboard"),
        ('t', "sends a transaction and follows it to its outcome"),
        ('f', "sends one that fails"),
        ('k', "kills a worker with kill -9 in the middle of its jobs, and watches them recover"),
        ('b', "takes the bank down, with a deposit on its way; and up again"),
        ('v', "checks every guarantee on the database"),
        ('q', "finishes the jobs in progress and quits, as Ctrl-C does"),
    ] {
        stage::say(key, effect);
    }
}

async fn verify(stage: &Stage) -> anyhow::Result<()> {
    let mut conn = db::connect_for_slow_statements(&stage.pool).await?;
    let by = Identity::command_line(BY);
    let report =
        verify::verify_and_record(&mut conn, Scope::Everything, VERIFY_WITHIN, &by).await?;
    conn.close().await?;
    tell(&report);
    Ok(())
}

fn tell(report: &Report) {
    for finding in report.findings() {
        let claim = finding.invariant.claim;
        let found = match FindingStatus::of(finding) {
            FindingStatus::Ok => continue,
            FindingStatus::Note => "to look at",
            FindingStatus::Fail => "BROKEN",
        };
        let samples = finding.samples.join(", ");
        stage::say('v', &format!("{found}: {claim}: {} rows, {samples}", finding.violations));
    }
    let checks = report.findings().len();
    let secs = report.took.as_secs_f64();
    stage::say(
        'v',
        &match report.holds() {
            true => {
                format!("every guarantee holds: {checks} checks of queue and ledger in {secs:.1} s")
            }
            false => format!("not every guarantee holds; {checks} checks in {secs:.1} s"),
        },
    );
}
