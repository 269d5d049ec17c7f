//! Jobs that are about to be enqueued, sealed.

use super::{Keyring, SealError};
use crate::QueueError;
use crate::enqueue::{NewJob, PlainArgs};
use crate::handler::Job;
use crate::json::JsonText;

impl NewJob {
    /// A job like that of [`new`](Self::new), with its arguments encrypted under the current key of
    /// this ring; see [`sealing`](super). What it is [unique](Self::unique) by is its arguments all
    /// the same, of which only a hash is stored.
    ///
    /// # Errors
    ///
    /// [`QueueError::Args`], [`QueueError::Seal`].
    pub fn sealed<J: Job>(args: &J, keyring: &Keyring) -> Result<Self, QueueError> {
        let seal_error = |source| QueueError::Seal { kind: J::KIND, source };
        let mut job = Self::in_plain(args)?;
        let sealed = keyring.seal(J::KIND, &job.args).map_err(seal_error)?;
        job.extras.args_key = Some(sealed.key().to_owned());
        let stored = JsonText::of(&sealed).map_err(SealError::Json).map_err(seal_error)?;
        job.plain_args = Some(PlainArgs(std::mem::replace(&mut job.args, stored)));
        Ok(job)
    }
}
