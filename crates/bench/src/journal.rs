//! The journal of runs, written by handlers as they happen: the one witness of what was executed.
//!
//! It is kept outside the database, because a run that is rolled back leaves nothing there, and an
//! unlogged table is emptied by the crash that it was to tell of. In this process it is a list in
//! memory. A worker in a process of its own writes each entry to a pipe before it goes on, so that
//! what it had said is known even after `kill -9`.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Notify;

use surety_queue::{Committed, JobError, JobId};

/// The clock of all entries, in microseconds. Producer and workers are on one machine.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A step of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The first line of the handler.
    Began,
    /// The completion was committed, and the worker knows.
    Completed,
    /// The completion was refused, because the job was another worker's by then.
    Refused,
    /// The database was away, or refused for another reason.
    Failed,
    /// The worker stopped the run before it could complete: its lease was lost, or the worker ends.
    Stopped,
}

impl Step {
    const ALL: [Self; 5] =
        [Self::Began, Self::Completed, Self::Refused, Self::Failed, Self::Stopped];
}

/// One step of one run of one job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) job: i64,
    pub(crate) step: Step,
    pub(crate) enqueued_us: u64,
    pub(crate) at_us: u64,
}

impl Entry {
    const BYTES: usize = 32;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.job.to_le_bytes());
        bytes[8..16].copy_from_slice(&(self.step as u64).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.enqueued_us.to_le_bytes());
        bytes[24..].copy_from_slice(&self.at_us.to_le_bytes());
        bytes
    }

    /// None of bytes that no entry is written as.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).map(|word| {
            let mut array = [0; 8];
            array.copy_from_slice(word);
            u64::from_le_bytes(array)
        });
        Some(Self {
            job: words.next()?.cast_signed(),
            step: *Step::ALL.get(usize::try_from(words.next()?).ok()?)?,
            enqueued_us: words.next()?,
            at_us: words.next()?,
        })
    }
}

/// All entries of one measurement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    book: Arc<Book>,
}

#[derive(Debug, Default)]
struct Book {
    entries: Mutex<Vec<Entry>>,
    completed: AtomicU64,
    written: Notify,
}

impl Journal {
    pub(crate) fn append(&self, entries: &[Entry]) {
        let completed = entries.iter().filter(|entry| entry.step == Step::Completed).count();
        self.lock().extend_from_slice(entries);
        self.book.completed.fetch_add(completed as u64, Ordering::Relaxed);
        self.book.written.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.book.entries.lock().expect("no code panics while it holds this lock")
    }

    /// The number of completions.
    pub(crate) fn completed(&self) -> u64 {
        self.book.completed.load(Ordering::Relaxed)
    }

    /// Everything so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// The number of entries, at which [`next`](Self::next) may begin to look.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The first entry of this step of this job, from a position on; waits until it is there.
    pub(crate) async fn next(&self, mut from: usize, job: JobId, step: Step) -> Entry {
        loop {
            let written = self.book.written.notified();
            tokio::pin!(written);
            // Before the look, or what is written between the two would be missed.
            written.as_mut().enable();
            {
                let entries = self.lock();
                let mut new = entries.iter().skip(from);
                if let Some(entry) = new.find(|entry| entry.job == job.0 && entry.step == step) {
                    return *entry;
                }
                from = entries.len();
            }
            written.await;
        }
    }

    /// Appends what another process writes, until it ends.
    pub(crate) async fn read_from(&self, mut pipe: impl AsyncRead + Unpin) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(1 << 16);
        while pipe.read_buf(&mut bytes).await? > 0 {
            let whole = bytes.len() - bytes.len() % Entry::BYTES;
            let entries: Vec<Entry> =
                bytes[..whole].chunks(Entry::BYTES).filter_map(Entry::from_bytes).collect();
            self.append(&entries);
            bytes.drain(..whole);
        }
        Ok(())
    }
}

/// The way in which a handler writes its journal.
#[derive(Clone, Debug)]
pub(crate) enum Pen {
    /// Into a journal of this process.
    Journal(Journal),
    /// To the process that started this one, by stdout.
    Pipe(Arc<Mutex<std::io::Stdout>>),
}

impl Pen {
    /// To the process that started this one.
    pub(crate) fn pipe() -> Self {
        Self::Pipe(Arc::new(Mutex::new(std::io::stdout())))
    }

    /// Begins a run of these jobs, each with the moment of its enqueue.
    pub(crate) fn begin(&self, jobs: Vec<(JobId, u64)>) -> RunNote<'_> {
        let note = RunNote { pen: self, jobs, ended: false };
        note.write(Step::Began);
        note
    }

    fn write(&self, entries: &[Entry]) {
        match self {
            Self::Journal(journal) => journal.append(entries),
            Self::Pipe(stdout) => {
                let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
                let mut stdout = stdout.lock().expect("no code panics while it holds this lock");
                // One call of the system; whoever started us is gone when it fails.
                if stdout.write_all(&bytes).and_then(|()| stdout.flush()).is_err() {
                    std::process::exit(1);
                }
            }
        }
    }
}

/// A run in progress. Dropped before its end, it was stopped.
#[derive(Debug)]
pub(crate) struct RunNote<'a> {
    pen: &'a Pen,
    jobs: Vec<(JobId, u64)>,
    ended: bool,
}

impl RunNote<'_> {
    pub(crate) fn end(mut self, result: &Result<Committed, JobError>) {
        self.ended = true;
        self.write(match result {
            Ok(_committed) => Step::Completed,
            // A batch is refused for one of its jobs; they then run one by one, and those that are
            // another worker's are refused by themselves.
            Err(JobError::LeaseLost) if self.jobs.len() == 1 => Step::Refused,
            Err(_) => Step::Failed,
        });
    }

    fn write(&self, step: Step) {
        let at_us = now_us();
        let entry =
            |&(job, enqueued_us): &(JobId, u64)| Entry { job: job.0, step, enqueued_us, at_us };
        match self.jobs.as_slice() {
            [one] => self.pen.write(&[entry(one)]),
            many => self.pen.write(&many.iter().map(entry).collect::<Vec<_>>()),
        }
    }
}

impl Drop for RunNote<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.write(Step::Stopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_through_a_pipe_is_what_was_written() {
        let entries: Vec<Entry> = Step::ALL
            .into_iter()
            .zip(1..)
            .map(|(step, job)| Entry { job, step, enqueued_us: 7, at_us: u64::MAX })
            .collect();
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
        let (mut there, here) = tokio::io::duplex(50);
        let journal = Journal::default();
        let write = async move {
            tokio::io::AsyncWriteExt::write_all(&mut there, &bytes).await.unwrap();
            // The writer was killed within an entry.
            tokio::io::AsyncWriteExt::write_all(&mut there, &[1; 9]).await.unwrap();
        };

        let (read, ()) = tokio::join!(journal.read_from(here), write);

        read.unwrap();
        assert_eq!(journal.entries(), entries);
        assert_eq!(journal.completed(), 1);
    }

    #[test]
    fn a_run_that_is_dropped_was_stopped() {
        let journal = Journal::default();
        let pen = Pen::Journal(journal.clone());
        drop(pen.begin(vec![(JobId(3), 5)]));
        let steps: Vec<Step> = journal.entries().iter().map(|entry| entry.step).collect();
        assert_eq!(steps, [Step::Began, Step::Stopped]);
    }
}
