//! The operator's pages, over real sockets and without a script.

mod access;
mod actions;
mod forms;
mod pages_shown;
mod visitor;
