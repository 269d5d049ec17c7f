//! Pages about the system: the audit log, and the health of the database and the bank.
//!
//! - [`audit`]: who did what. [`entry`]: one entry, with what was before and after.
//! - [`health`]: what the doctor finds, with what mends it. [`looks`]: its findings, kept for a
//!   moment.

pub(super) mod audit;
pub(super) mod entry;
pub(super) mod health;
pub(super) mod looks;
