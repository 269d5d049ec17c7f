//! The way to PostgreSQL, and a PostgreSQL of one's own.
//!
//! - [`connect()`]: pools, and the settings of every connection of ours.
//! - `guard`: keeps a pool from handing out connections that are of no use.
//! - `abandoned`: bounds the connections that are given up while the server works for them.
//! - `pooler`: the same pools through a connection pooler that changes the server between
//!   transactions.
//! - [`Replica`]: reads by a standby, and how far behind they are.
//! - [`end_with_parent`]: for servers and other processes of ours.
//! - [`embedded`]: a private PostgreSQL for `app dev` and for tests.
//! - `testing` (feature `testing`): a server that all tests of a run share, a database per test,
//!   servers and networks to break.
//!
//! Absent on purpose: any table, any statement of an application. This crate knows servers and
//! sessions only.

mod abandoned;
mod child;
pub mod connect;
mod connect_failure;
mod database_url;
pub mod embedded;
mod guard;
mod pooler;
mod replica;
#[cfg(feature = "testing")]
pub mod testing;

pub use abandoned::Abandoned;
pub use child::end_with_parent;
pub use connect::{ConnectError, connect, connect_for_slow_statements, connect_to_write};
pub use connect_failure::ConnectFailure;
pub use database_url::UrlError;
pub use guard::is_writable;
pub use pooler::is_pooled;
pub use replica::{Replica, ReplicaConnection, ReplicaUse};
