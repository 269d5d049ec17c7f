//! Jobs that belong together: dependencies, small graphs of them, and batches with callbacks.
//!
//! - A job [`after`](crate::enqueue::NewJob::after) others waits until they have ended. What
//!   becomes of it when one is discarded or cancelled is up to it: [`IfFailed`].
//! - A [`Graph`] enqueues jobs that depend on each other. What is no graph is refused before
//!   anything is written.
//! - A [`Batch`] enqueues jobs when its members have ended: all of them, or the first one that
//!   failed for good.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use surety_queue::{NewJob, enqueue};
//! # use surety_queue::groups::{Batch, Graph, GraphError, IfFailed};
//! # async fn example(
//! #     tx: &mut sqlx::PgConnection, import: NewJob, check: NewJob, publish: NewJob, mail: NewJob,
//! #     parts: Vec<NewJob>,
//! # ) -> Result<(), GraphError> {
//! // One after another: the check waits for the import, and for its redrive if it is discarded.
//! let import_id = enqueue(tx, import.clone()).await?.id();
//! let check_id = enqueue(tx, check.clone().after(&[import_id]).after_if_failed(IfFailed::Wait))
//!     .await?
//!     .id();
//!
//! // The same as a graph, with a step beside the check.
//! let ids = Graph::new()
//!     .job("import", import)
//!     .job("check", check)
//!     .job("mail", mail.clone())
//!     .job("publish", publish.clone())
//!     .edge("import", "check")
//!     .edge("import", "mail")
//!     .edge("check", "publish")
//!     .edge("mail", "publish")
//!     .enqueue(tx)
//!     .await?;
//! println!("publishing is job {}", ids["publish"]);
//!
//! // A thousand parts; the result is published when all of them are completed.
//! let batch = Batch::new()
//!     .description("the catalogue of May")
//!     .on_completed(publish)
//!     .on_failed(mail)
//!     .enqueue(tx, parts)
//!     .await?;
//! println!("batch {} has {} members", batch.id, batch.members.len());
//! # Ok(())
//! # }
//! ```
//!
//! # How an end is resolved
//!
//! The transaction that ends a job tells nobody: it locks no row of another job and changes no
//! counter. After its commit the worker hands the job to its resolver, which does all that follows
//! in transactions of its own, many jobs at once. Of two jobs that end at the same moment each is
//! resolved after its own commit by statements that see all that was committed before, so the later
//! of the two sees both ended: whichever ends last, somebody sees that it was the last. That
//! something happens once is decided by the row that it changes, a batch or a waiting job, in the
//! transaction that enqueues what follows.
//!
//! What no resolver has seen to is found by a sweep, which every worker makes every other second: a
//! worker that was lost between commit and resolve, a job that was enqueued in the moment in which
//! the one that it waits for ended, a waiting job that an operator cancelled, a discarded one that
//! was dismissed.
//!
//! # Rules
//!
//! - A job can only wait for jobs that were enqueued before it, in the same transaction or one that
//!   is committed. So there are no cycles, and the database has a constraint that says so.
//! - A job of which nothing is left counts as completed: kinds that keep no history leave nothing
//!   behind, and retention drops what is old. The one exception is a job that was seen to be
//!   discarded before retention dropped it.
//! - A member may add members, and whoever has made a batch may in the same transaction. A batch
//!   that is done takes no more. One without any members is done at once.
//! - Members keep their history, whatever their kind says.
//! - A member that is redriven after its batch is done runs as any job. `on_done` and `on_failed`
//!   are not enqueued again. `on_completed` is enqueued once all members are completed, be that
//!   when the batch is done or later, by redrives; if one was cancelled or dismissed, never.

mod batch;
mod dependencies;
mod graph;
mod resolver;
mod status;

pub use batch::{Batch, NewBatch};
pub use dependencies::{Dependency, Groups, waits_for};
pub use graph::{Graph, GraphError, GraphIds};
pub(crate) use resolver::Resolver;
pub(crate) use status::prune;
pub use status::{BatchStatus, MAX_COUNTED, Members, batch_status};

pub use crate::enqueue::IfFailed;
pub use crate::ids::BatchId;
