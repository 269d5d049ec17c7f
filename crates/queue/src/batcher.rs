//! Doing together what arrives together.
//!
//! Where a call costs the same for one item as for many, such as a commit or a round trip to the
//! database, a [`Batcher`] makes one call of those that come at the same moment. A [`Processor`]
//! takes whatever waits, at once and with no delay to collect more: alone, an item is processed
//! alone; under load, those that come while one call is under way make up the next. The queue
//! completes jobs by it, and an application can write requests or look things up by it.
//!
//! ```
//! # use std::time::Duration;
//! use surety_queue::batcher::{Batcher, Limits, Processor, Request};
//!
//! /// Looks up prices.
//! struct Prices(sqlx::PgPool);
//!
//! impl Processor for Prices {
//!     type Item = String;
//!     type Answer = Option<i64>;
//!
//!     async fn process(&mut self, requests: Vec<Request<String, Option<i64>>>) {
//!         let names: Vec<String> = requests.iter().map(|request| request.item.clone()).collect();
//!         let asked = "select (select price from goods where name = wanted)
//!                      from unnest($1::text[]) with ordinality as goods (wanted, n) order by n";
//!         let found = sqlx::query_scalar(asked).bind(names).fetch_all(&self.0).await;
//!         // Requests that are not answered learn that the outcome is unknown.
//!         for (request, price) in requests.into_iter().zip(found.unwrap_or_default()) {
//!             request.answer(price);
//!         }
//!     }
//! }
//!
//! # async fn example(pool: sqlx::PgPool) {
//! let (prices, mut tasks) = Batcher::start(Limits { waiting: 8192, batch: 256 }, [Prices(pool)]);
//! let price = prices.ask_within("tea".to_owned(), Duration::from_secs(5)).await;
//! # drop(price);
//!
//! // The tasks end when the last handle is dropped and everything that waited was processed.
//! drop(prices);
//! while tasks.join_next().await.is_some() {}
//! # }
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// The work on items that arrived together.
pub trait Processor: Send + 'static {
    /// A thing that is handed in to be processed.
    type Item: Send + 'static;
    /// The answer to one item.
    type Answer: Send + 'static;

    /// Processes these requests, at least one, and answers each. One that is dropped without an
    /// answer has an unknown outcome. What is done after the answers delays the next requests.
    fn process(
        &mut self,
        requests: Vec<Request<Self::Item, Self::Answer>>,
    ) -> impl Future<Output = ()> + Send;

    /// Called after `process` has panicked, which costs the requests that it had and no others.
    fn recover(&mut self) {}
}

/// An item that waits for its answer.
#[derive(Debug)]
pub struct Request<I, A> {
    /// The thing that was handed in.
    pub item: I,
    reply: Reply<A>,
}

impl<I, A> Request<I, A> {
    /// Answers the request.
    pub fn answer(self, answer: A) {
        self.reply.send(answer);
    }

    /// The item and the place for its answer, for a processor that needs all items in one slice.
    pub fn into_parts(self) -> (I, Reply<A>) {
        (self.item, self.reply)
    }
}

/// The place for the answer to one item.
#[derive(Debug)]
pub struct Reply<A>(oneshot::Sender<A>);

impl<A> Reply<A> {
    /// Answers the request.
    pub fn send(self, answer: A) {
        // Whoever asked may have gone. The item was processed all the same.
        let _ = self.0.send(answer);
    }
}

/// The bounds of a batcher.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most requests that wait to be processed.
    pub waiting: usize,
    /// The most requests that are processed together.
    pub batch: usize,
}

/// The reason that a request has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// As many requests wait as may: the item was not taken.
    #[error("too many requests wait already")]
    Full,
    /// The time was over or the processor dropped the request: the item may have been processed.
    #[error("the request was not answered, and may have been processed")]
    Unknown,
}

/// A handle to hand items in by. Clones share the same processors.
#[derive(Debug)]
pub struct Batcher<I, A> {
    waiting: mpsc::Sender<Waiting<I, A>>,
}

impl<I, A> Clone for Batcher<I, A> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

#[derive(Debug)]
struct Waiting<I, A> {
    request: Request<I, A>,
    /// The moment from which nobody waits for the answer.
    answer_by: Option<Instant>,
}

impl<I: Send + 'static, A: Send + 'static> Batcher<I, A> {
    /// Starts a task for each processor: while one is at work, another one takes what has come
    /// since. The tasks end when the last handle is dropped and all that waited was processed.
    pub fn start<P: Processor<Item = I, Answer = A>>(
        limits: Limits,
        processors: impl IntoIterator<Item = P>,
    ) -> (Self, JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(limits.waiting);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for processor in processors {
            tasks.spawn(process_for_ever(processor, Arc::clone(&receiver), limits.batch));
        }
        (Self { waiting: sender }, tasks)
    }

    /// Hands the item in, once there is room, and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`NoAnswer::Unknown`].
    pub async fn ask(&self, item: I) -> Result<A, NoAnswer> {
        let (waiting, answered) = waiting(item, None);
        self.waiting.send(waiting).await.map_err(|_| NoAnswer::Unknown)?;
        answered.await.map_err(|_| NoAnswer::Unknown)
    }

    /// Hands the item in, if there is room, and waits for its answer until the time is over. An
    /// item that nobody waits for any more when its turn comes is dropped.
    ///
    /// Dropping the future changes nothing: what was handed in is processed.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub async fn ask_within(&self, item: I, within: Duration) -> Result<A, NoAnswer> {
        let answer_by = Instant::now() + within;
        let (waiting, answered) = waiting(item, Some(answer_by));
        self.waiting.try_send(waiting).map_err(|_| NoAnswer::Full)?;
        match timeout_at(answer_by, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Unknown),
        }
    }
}

fn waiting<I, A>(item: I, answer_by: Option<Instant>) -> (Waiting<I, A>, oneshot::Receiver<A>) {
    let (sender, answered) = oneshot::channel();
    (Waiting { request: Request { item, reply: Reply(sender) }, answer_by }, answered)
}

/// The items that were handed in, for several processors.
type Arrivals<I, A> = Arc<Mutex<mpsc::Receiver<Waiting<I, A>>>>;

async fn process_for_ever<P: Processor>(
    mut processor: P,
    receiver: Arrivals<P::Item, P::Answer>,
    max_batch: usize,
) {
    loop {
        let mut taken = Vec::new();
        // One processor at a time takes; the lock is held while it waits, and the next one waits
        // for the lock.
        if receiver.lock().await.recv_many(&mut taken, max_batch).await == 0 {
            return;
        }
        let now = Instant::now();
        let is_awaited = |waiting: &Waiting<_, _>| waiting.answer_by.is_none_or(|by| by > now);
        // To process the others now would only keep these waiting.
        let requests: Vec<_> =
            taken.into_iter().filter(is_awaited).map(|waiting| waiting.request).collect();
        if requests.is_empty() {
            continue;
        }
        // Were a panic to end the task, nothing would be processed any more.
        let processing = AssertUnwindSafe(processor.process(requests));
        if processing.catch_unwind().await.is_err() {
            processor.recover();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const LIMITS: Limits = Limits { waiting: 4, batch: 3 };

    /// Answers each number with the size of its batch, when it is let.
    struct Sizes {
        gate: Arc<Semaphore>,
        panics: usize,
    }

    impl Processor for Sizes {
        type Item = u32;
        type Answer = usize;

        async fn process(&mut self, requests: Vec<Request<u32, usize>>) {
            self.gate.acquire().await.unwrap().forget();
            assert!(requests.iter().all(|request| request.item != 13), "the unlucky number");
            let size = requests.len();
            requests.into_iter().for_each(|request| request.answer(size));
        }

        fn recover(&mut self) {
            self.panics += 1;
        }
    }

    fn sizes(open: usize) -> (Batcher<u32, usize>, Arc<Semaphore>, JoinSet<()>) {
        let gate = Arc::new(Semaphore::new(open));
        let (batcher, tasks) =
            Batcher::start(LIMITS, [Sizes { gate: Arc::clone(&gate), panics: 0 }]);
        (batcher, gate, tasks)
    }

    /// Asks in a task, so that the item waits when this returns.
    async fn asked(batcher: &Batcher<u32, usize>, item: u32) -> tokio::task::JoinHandle<usize> {
        let batcher = batcher.clone();
        let asking = tokio::spawn(async move { batcher.ask(item).await.unwrap() });
        tokio::task::yield_now().await;
        asking
    }

    #[tokio::test]
    async fn what_comes_while_one_batch_is_processed_makes_up_the_next() {
        let (batcher, gate, _tasks) = sizes(0);
        let first = asked(&batcher, 1).await;
        let mut next = Vec::new();
        for item in 2..6 {
            next.push(asked(&batcher, item).await);
        }
        gate.add_permits(3);

        assert_eq!(first.await.unwrap(), 1);
        let mut found = Vec::new();
        for asking in next {
            found.push(asking.await.unwrap());
        }
        assert_eq!(found, [3, 3, 3, 1]);
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_batch() {
        let (batcher, _gate, _tasks) = sizes(2);

        assert_eq!(batcher.ask(13).await, Err(NoAnswer::Unknown));
        assert_eq!(batcher.ask(1).await, Ok(1));
    }

    #[tokio::test]
    async fn a_request_that_nobody_waits_for_is_not_processed() {
        let (batcher, gate, mut tasks) = sizes(0);
        let soon = Duration::from_millis(20);
        let first = asked(&batcher, 1).await;
        assert_eq!(batcher.ask_within(13, soon).await, Err(NoAnswer::Unknown));
        // A panic would leave this without an answer.
        let last = asked(&batcher, 2).await;
        gate.add_permits(2);

        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(last.await.unwrap(), 1);
        drop(batcher);
        assert!(tasks.join_next().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_at_once() {
        let (batcher, _gate, _tasks) = sizes(0);
        let mut waiting = Vec::new();
        for item in 0..5 {
            waiting.push(asked(&batcher, item).await);
        }
        let begun = Instant::now();

        assert_eq!(batcher.ask_within(5, Duration::from_secs(60)).await, Err(NoAnswer::Full));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
