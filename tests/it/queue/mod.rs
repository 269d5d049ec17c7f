//! The queue as a library, with kinds of its own: what it guarantees, each with a test that fails
//! without it.

mod claiming;
mod deciding;
mod fencing;
mod flow;
mod following_up;
mod groups;
mod kinds;
mod lost_commits;
mod outcomes;
mod redaction;
mod sealing;
mod shutdown;
mod testing;
mod upgrading;
mod workers;
