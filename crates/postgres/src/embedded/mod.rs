//! A private PostgreSQL for `app dev` and for the tests, run from binaries that are already on the
//! machine (or, when there are none, fetched once).
//!
//! The cast, in the order of a start:
//!
//! - [`locate`] finds binaries; [`download`] fetches them when there are none,
//!   from where `releases` finds them.
//! - `server_user` decides who runs the server: ourselves, or another user when we are root.
//! - `folder` owns the data folder: its lock, its layout, who may write to it.
//! - `initdb` makes the cluster beside its final place and renames it, so that half a cluster is
//!   never seen.
//! - `pid_file` reads `postmaster.pid` and tells a live server from a stale file.
//! - `server` starts and stops the server process; [`cluster`] is all of this in one call.
//!
//! What is guaranteed: a start works after any kind of end of the one before (Ctrl-C, `kill -9` of
//! us or of the server, power cut in mid-initdb); two at once on one folder never both run; the
//! server never outlives a clean stop, and on Linux not even `kill -9`; a server is never sent
//! SIGKILL by us.
//!
//! Absent on purpose: Windows, replication, upgrades between majors (a folder keeps the major it
//! was made with).

pub mod cluster;
pub mod download;
mod error;
mod folder;
mod initdb;
pub mod locate;
mod pid_file;
mod process;
mod releases;
mod server;
mod server_user;

pub use cluster::{Access, Cluster, ClusterSettings, Durability, Lifetime};
pub use error::ClusterError;
pub use folder::default_data_dir;
pub use locate::Binaries;
