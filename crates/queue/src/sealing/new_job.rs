//! Jobs that are about to be enqueued, sealed.

use std::fmt;

use serde_json::Value;

use super::{Keyring, SealError};
use crate::QueueError;
use crate::enqueue::NewJob;
use crate::job::Job;

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
        let stored = serde_json::to_value(sealed).map_err(SealError::Json).map_err(seal_error)?;
        job.plain_args = Some(PlainArgs(std::mem::replace(&mut job.args, stored)));
        Ok(job)
    }

    /// What it is unique by, which its arguments in plain say; none if it is not.
    pub(crate) fn unique_value(&self) -> Option<Value> {
        let args = self.plain_args.as_ref().map_or(&self.args, |PlainArgs(args)| args);
        Some(self.unique.as_ref()?.value(args))
    }
}

/// Arguments that are not to be seen: `Debug` does not show them.
#[derive(Clone)]
pub(crate) struct PlainArgs(Value);

impl fmt::Debug for PlainArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainArgs(..)")
    }
}
