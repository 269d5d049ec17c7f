//! Arguments at rest: jobs whose arguments nobody who reads the database may know.
//!
//! A kind with [`Job::SEALED`](crate::handler::Job::SEALED) has the arguments of its jobs *sealed*
//! before they leave the process that enqueues them, and opened just before the handler parses
//! them, by a worker that knows the key.
//!
//! - [`Keyring`]: the keys that this process knows; the first of them seals.
//! - [`SealedArgs`]: what is stored instead of the arguments, in `queue.jobs.args`; the key's id
//!   stands beside it in `args_key`, so that statements can count by it.
//! - [`rotation`]: seals again, with the current key, what is sealed with an older one.
//!
#![cfg_attr(feature = "sealing", doc = "```")]
#![cfg_attr(not(feature = "sealing"), doc = "```ignore")]
//! use serde::{Deserialize, Serialize};
//! use surety_queue::{Committed, Job, JobContext, JobError, NewJob, QueueError, enqueue};
//! use surety_queue::sealing::Keyring;
//!
//! #[derive(Serialize, Deserialize)]
//! struct SendStatement {
//!     account: i64,
//!     password: String,
//! }
//!
//! impl Job for SendStatement {
//!     const KIND: &'static str = "send_statement";
//!     // `NewJob::new` refuses it. A kind with something that only people must not see would say
//!     // `const REDACTED: &'static [&'static str] = &["password"];` instead.
//!     const SEALED: bool = true;
//!     type State = ();
//!
//!     async fn run(self, _state: &(), cx: JobContext) -> Result<Committed, JobError> {
//!         // `self.password` is what it was. Workers get the keys by `WorkerSettings::keyring`.
//!         cx.complete_without_effects().await
//!     }
//! }
//!
//! # async fn example(conn: &mut sqlx::PgConnection, keyring: &Keyring) -> Result<(), QueueError> {
//! let job = SendStatement { account: 812, password: "correct horse".into() };
//! enqueue(conn, NewJob::sealed(&job, keyring)?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! The cipher is AES-256-GCM-SIV (RFC 8452), with a random nonce of 96 bits for each job and the
//! kind as associated data.
//!
//! - Who reads the database, a backup or a replica learns of the arguments how long they are, and
//!   nothing else. The kind, the queue, tags and times are not secret.
//! - Arguments that were altered, or moved to a job of another kind, do not open: the attempt
//!   fails, and says so. What is *not* noticed is that somebody who may write to the table gave a
//!   job the sealed arguments of another job of the same kind: the number of a job is not known
//!   before it is inserted, so it cannot be bound to its arguments.
//! - One key is good for 2³² jobs (about four thousand million): until then, the chance that any
//!   two of them got the same nonce is below 2⁻³². And if two did, this cipher would disclose only
//!   whether their arguments are equal; that is why it was chosen over AES-256-GCM, where it would
//!   disclose more. Rotate before.
//!
//! # What is not sealed
//!
//! Outputs, checkpoints, progress and the errors of attempts are what the handler says them to be:
//! one whose arguments are secret must not repeat them there. A job's `key` and tags are in plain,
//! and so is the hash by which a unique job is known: who can guess the arguments can check the
//! guess.
//!
//! # Keys come and go
//!
//! A new key is first made known to every process, at the end of the ring; once all know it, it is
//! moved to the front. A worker that meets a key that it does not know hands the job back, at no
//! cost to its attempts, and says why in `wait_reason`; so a mistake in the order of the roll-out
//! delays jobs and loses none. Then [`rotation::reseal`] seals again what still has the old key,
//! [`rotation::keys_in_use`] tells what is left, and the old key can be taken out of the ring.
//!
#![cfg_attr(feature = "sealing", doc = "```")]
#![cfg_attr(not(feature = "sealing"), doc = "```ignore")]
//! use surety_queue::sealing::Keyring;
//!
//! let old = format!("2026-10:{}", "b2xkIGtleSwgMzIgYnl0ZXMsIGFzIGFuIGV4YW1wbGU=");
//! let new = format!("2026-11:{}", "bmV3IGtleSwgMzIgYnl0ZXMsIGFzIGFuIGV4YW1wbGU=");
//!
//! let before: Keyring = old.parse()?;
//! let args = serde_json::json!({ "card": "4111 1111 1111 1111" });
//! let sealed = before.seal("charge_card", &args)?;
//! assert!(!serde_json::to_string(&sealed)?.contains("4111"));
//!
//! // A ring with both keys opens it. One without the old key does not, nor does another kind.
//! let both: Keyring = format!("{new},{old}").parse()?;
//! assert_eq!(both.open("charge_card", &sealed)?.get(), args.to_string());
//! assert!(both.open("refund_card", &sealed).is_err());
//! let without: Keyring = new.parse()?;
//! assert!(without.open("charge_card", &sealed).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "sealing")]
mod cipher;
mod envelope;
#[cfg(feature = "sealing")]
mod keyring;
#[cfg(feature = "sealing")]
mod new_job;
#[cfg(not(feature = "sealing"))]
mod no_keyring;
#[cfg(feature = "sealing")]
pub mod rotation;

#[cfg(feature = "sealing")]
pub use cipher::SealError;
pub(crate) use envelope::open_args;
pub use envelope::{OpenError, SealedArgs};
#[cfg(feature = "sealing")]
pub use keyring::{Keyring, KeyringError, MAX_KEY_ID_CHARS};
#[cfg(not(feature = "sealing"))]
pub(crate) use no_keyring::Keyring;
