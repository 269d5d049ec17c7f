//! What a run gets from the worker.
use super::job::{Fence, JobError, JobId};
use sqlx::{Postgres, Transaction};
use std::time::Duration;
/// Proof that a job was completed.
#[derive(Debug)]
pub struct Completed {
    _proof: (),
}
/// Context of one job's run.
#[derive(Clone)]
pub struct JobContext {}
impl JobContext {
    /// The job.
    pub fn id(&self) -> JobId {
        todo!()
    }
    /// 1-based.
    pub fn attempt(&self) -> i16 {
        todo!()
    }
    /// The claim.
    pub fn fence(&self) -> Fence {
        todo!()
    }
    /// Stable over attempts.
    pub fn effect_key(&self) -> String {
        todo!()
    }
    /// Begins a database transaction.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        todo!()
    }
    /// Completes and commits.
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Completed, JobError> {
        let _ = tx;
        todo!()
    }
    /// Completes a job that wrote nothing.
    pub async fn complete_without_effects(self) -> Result<Completed, JobError> {
        todo!()
    }
}
/// Context of a batch.
pub struct BatchContext {}
impl BatchContext {
    /// The jobs, in the order of the arguments.
    pub fn ids(&self) -> &[JobId] {
        todo!()
    }
    /// Begins a database transaction.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        todo!()
    }
    /// Completes all and commits.
    pub async fn complete(self, tx: Transaction<'static, Postgres>) -> Result<Completed, JobError> {
        let _ = tx;
        todo!()
    }
}
#[allow(dead_code)]
const _X: Duration = Duration::ZERO;
