//! The queue as a library, with kinds of its own: what it guarantees, each with a test that fails
//! without it.

mod claiming;
mod deciding;
mod fencing;
mod flow;
mod following_up;
mod kinds;
mod lost_commits;
mod operators;
mod operators_list;
mod outcomes;
mod shutdown;
mod upgrading;
mod why_not_run;
