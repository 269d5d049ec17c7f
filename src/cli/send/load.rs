//! Sends the events of a plan over several connections, at a pace, with a provider's patience.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::StatusCode;
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Connection, NoAnswer, Target};
use super::events::{Event, Plan, Source};
use super::signature::Signer;
use super::tally::{Failure, Tally};

/// The wait before the first retry; it doubles from there.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The settings of a run: concurrency, rate, retries, duration.
pub struct Load {
    /// The address that is posted to.
    pub target: Target,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// Requests begun per second, over all connections; as many as get through when none.
    pub rate: Option<f64>,
    /// Retries of an event that has no answer, or one that asks to come back.
    pub retries: u32,
    /// Signs each request, if there is one.
    pub signer: Option<Signer>,
}

impl Load {
    /// Sends everything, or until `stop`; the progress bar counts the events that are done with.
    ///
    /// All connections share one thread: their wake-ups then cost nothing, and one thread is enough
    /// for 100,000 requests a second.
    pub async fn run(
        self,
        source: Source,
        plan: Plan,
        progress: ProgressBar,
        stop: CancellationToken,
    ) -> std::io::Result<Tally> {
        let (done, tally) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("send".to_owned()).spawn(move || {
            // Nobody waits for the result any more when the receiver is gone.
            let _ = done.send(runtime.block_on(self.send_all(&source, &plan, &progress, &stop)));
        })?;
        tally.await.map_err(|_| std::io::Error::other("the sending thread panicked"))
    }

    async fn send_all(
        &self,
        source: &Source,
        plan: &Plan,
        progress: &ProgressBar,
        stop: &CancellationToken,
    ) -> Tally {
        let begun = Instant::now();
        let cpu_before = thread_cpu();
        let next_request = Cell::new(0_u64);
        let sender = Sender { load: self, source, plan, progress, stop, begun, next_request };
        let tallies = join_all((0..self.connections).map(|_| sender.run())).await;
        let mut total = Tally::default();
        for tally in &tallies {
            total.add(tally);
        }
        total.elapsed = begun.elapsed();
        total.cpu = thread_cpu().zip(cpu_before).map(|(after, before)| after - before);
        total
    }
}

/// CPU time of this thread so far, where the system counts it.
fn thread_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

/// The state that the connections share.
struct Sender<'a> {
    load: &'a Load,
    source: &'a Source,
    plan: &'a Plan,
    progress: &'a ProgressBar,
    stop: &'a CancellationToken,
    begun: Instant,
    next_request: Cell<u64>,
}

impl Sender<'_> {
    /// One connection: takes request after request until there are no more.
    async fn run(&self) -> Tally {
        let mut tally = Tally::default();
        let mut connection = Connection::new(&self.load.target);
        while !self.stop.is_cancelled() {
            let request = self.next_request.replace(self.next_request.get() + 1);
            let Some(event) = self.source.event(self.plan, request) else { break };
            let due = self.due(request);
            if !self.wait_until(due).await {
                break;
            }
            // A paced event is late from the moment it was due: a receiver that stalls is not let
            // off the requests that could not be sent meanwhile.
            let since = due.unwrap_or_else(Instant::now);
            let outcome = self.deliver(&mut connection, &event, &mut tally).await;
            tally.record(event.occurrence, outcome, since.elapsed());
            self.progress.inc(1);
        }
        tally
    }

    fn due(&self, request: u64) -> Option<Instant> {
        let rate = self.load.rate?;
        Some(self.begun + Duration::from_secs_f64(request as f64 / rate))
    }

    /// Waits until it is time, and returns whether to go on.
    async fn wait_until(&self, due: Option<Instant>) -> bool {
        let Some(due) = due else { return true };
        tokio::select! {
            () = sleep_until(due) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Sends one event until it is answered for good, or patience ends.
    async fn deliver(
        &self,
        connection: &mut Connection<'_>,
        event: &Event,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let mut retries = 0;
        loop {
            let signature =
                self.load.signer.as_ref().map(|signer| signer.sign(&event.webhook_id, &event.body));
            let answer = connection.post(&event.webhook_id, signature, event.body.clone()).await;
            let meaning = AnswerMeaning::of(answer);
            let AnswerMeaning::Again { failure, wait } = meaning else {
                return meaning.into_result();
            };
            if retries == self.load.retries || self.stop.is_cancelled() {
                return Err(failure);
            }
            let wait = wait.unwrap_or_else(|| backoff(retries));
            retries += 1;
            tally.retries += 1;
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => return Err(failure),
            }
        }
    }
}

/// The meaning of an answer for the event: done, or to be sent again.
enum AnswerMeaning {
    Accepted,
    Refused(Failure),
    Again { failure: Failure, wait: Option<Duration> },
}

impl AnswerMeaning {
    fn of(answer: Result<Answer, NoAnswer>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Self::Again { failure: Failure::no_answer(&error), wait: None },
        };
        if answer.status.is_success() {
            return Self::Accepted;
        }
        let failure = Failure::status(answer.status, &answer.body);
        if asks_to_come_back(answer.status) {
            let wait = answer.retry_after.map(|wait| wait.min(LONGEST_BACKOFF));
            return Self::Again { failure, wait };
        }
        Self::Refused(failure)
    }

    fn into_result(self) -> Result<(), Failure> {
        match self {
            Self::Accepted => Ok(()),
            Self::Refused(failure) | Self::Again { failure, .. } => Err(failure),
        }
    }
}

/// The fault is not the event's: a provider sends it again.
fn asks_to_come_back(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// Exponential, with full jitter: senders that failed together do not come back together.
fn backoff(retries: u32) -> Duration {
    let ceiling = FIRST_BACKOFF.saturating_mul(1 << retries.min(16)).min(LONGEST_BACKOFF);
    ceiling.mul_f64(fastrand::f64())
}
