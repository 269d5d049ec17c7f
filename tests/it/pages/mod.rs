//! The operator's pages, over real sockets and without a script.

mod access;
mod actions;
mod browsing;
mod files;
mod forms;
mod money;
mod pages_shown;
mod rights;
mod system;
mod told;
pub(crate) mod visitor;
