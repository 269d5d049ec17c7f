//! One job's arguments, sealed: what is stored, and how it is opened.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::Keyring;

/// The stored form of sealed arguments: `{"sealed": …, "key": …}`.
///
/// The id of the key is in it, although `args_key` says the same, because a
/// [`FollowUp`](crate::handler::FollowUp) is given these arguments within its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedArgs {
    /// Version, nonce, ciphertext and tag, in base64.
    pub(super) sealed: String,
    /// The id of the key.
    pub(super) key: String,
}

impl SealedArgs {
    /// The id of the key that they are sealed with.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// The reason that sealed arguments could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process may know the key.
    #[error("key {key} is not known here")]
    UnknownKey {
        /// Its id.
        key: String,
    },
    /// They were sealed by a newer binary.
    #[error("sealed with key {key} in the format {version}, which is not known here")]
    UnknownFormat {
        /// The id of the key.
        key: String,
        /// The number of the format.
        version: u8,
    },
    /// They are not what was sealed.
    #[error(
        "key {key} does not open them: they were altered, belong to a job of another kind, or were \
         sealed with another key of that id"
    )]
    Refused {
        /// The id of the key.
        key: String,
    },
    /// They are not sealed arguments at all.
    #[error("they are marked as sealed and are not in the form of sealed arguments")]
    Malformed,
}

impl OpenError {
    /// Tells whether a worker with another ring, or of a newer binary, may be able to open them.
    #[must_use]
    pub fn is_for_another_worker(&self) -> bool {
        match self {
            Self::UnknownKey { .. } | Self::UnknownFormat { .. } => true,
            Self::Refused { .. } | Self::Malformed => false,
        }
    }
}

/// The arguments of a job as they are stored.
pub(super) enum Stored {
    /// In plain.
    Plain,
    /// Sealed.
    Sealed(SealedArgs),
    /// The arguments of a follow-up, which repeats the sealed ones of the discarded job.
    FollowUp(FollowUpArgs<SealedArgs>),
}

/// The arguments of a follow-up.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowUpArgs<A> {
    pub(super) job: i64,
    pub(super) kind: String,
    pub(super) args: A,
}

impl Stored {
    /// Recognises the stored arguments of a job with this `args_key`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Malformed`] when there is a key and they are not sealed: whoever wrote it meant
    /// that nobody should read them.
    pub(super) fn of(args: &RawValue, args_key: Option<&str>) -> Result<Self, OpenError> {
        let text = args.get();
        match args_key {
            Some(_) => {
                serde_json::from_str(text).map(Self::Sealed).map_err(|_| OpenError::Malformed)
            }
            // Nearly all arguments are in plain, and need not be parsed twice to know it.
            None if !text.contains("\"sealed\"") => Ok(Self::Plain),
            None => Ok(serde_json::from_str(text).map_or(Self::Plain, Self::FollowUp)),
        }
    }
}

/// The arguments of a job as its handler gets them. Those of a follow-up are opened within.
///
/// # Errors
///
/// [`OpenError`].
pub(crate) fn open_args<'a>(
    keyring: Option<&Keyring>,
    kind: &str,
    args: &'a RawValue,
    args_key: Option<&str>,
) -> Result<Cow<'a, RawValue>, OpenError> {
    let open = |kind: &str, sealed: &SealedArgs| {
        let unknown = || OpenError::UnknownKey { key: sealed.key.clone() };
        keyring.ok_or_else(unknown)?.open(kind, sealed)
    };
    match Stored::of(args, args_key)? {
        Stored::Plain => Ok(Cow::Borrowed(args)),
        Stored::Sealed(sealed) => open(kind, &sealed).map(Cow::Owned),
        Stored::FollowUp(follow_up) => {
            let FollowUpArgs { job, kind, args } = follow_up;
            let args = open(&kind, &args)?;
            let opened = FollowUpArgs { job, kind, args };
            to_raw_value(&opened).map(Cow::Owned).map_err(|_| OpenError::Malformed)
        }
    }
}
