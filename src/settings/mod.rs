//! Settings as a whole: which there are, where each has its value from, and what of them can change
//! while a process runs.
//!
//! - [`table`]: every setting by name, in the order of `.env.example`. Flag, default and range are
//!   those of the flag's definition; here is what else there is to know: how its value may be
//!   shown, and whether SIGHUP takes up a new one.
//! - [`setting`]: what there is to know of each.
//! - [`environment`]: `.env` and files of values, put into the environment before anything reads
//!   it, with the source of each value.
//! - [`contexts`]: named places in a file, such as `prod`, and which of them are in production.
//! - [`reload`]: new values by SIGHUP, while a process runs.
//! - [`masking`]: the part of a value that may be shown.
//!
//! Guaranteed: no error and no line of the log shows a value that came from the environment or from
//! a file, as whatever is mistyped may be a secret. Deliberately absent: settings in the database.

pub mod contexts;
pub mod environment;
pub mod masking;
pub mod reload;
pub mod setting;
pub mod table;

use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Settings that were given by a flag on the command line, which wins over all else.
static BY_FLAG: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Keeps the names of settings that flags have given, once.
pub(crate) fn keep_given_by_flag(names: BTreeSet<String>) {
    // A second set would be that of the same command line.
    let _kept = BY_FLAG.set(names);
}

/// Tells whether a flag has given this setting.
pub(crate) fn is_given_by_flag(name: &str) -> bool {
    BY_FLAG.get().is_some_and(|names| names.contains(name))
}
