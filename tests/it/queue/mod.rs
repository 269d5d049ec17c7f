//! The queue as a library, with kinds of its own: what it guarantees, each with a test that fails
//! without it.

mod claiming;
mod fencing;
mod kinds;
mod outcomes;
mod shutdown;
