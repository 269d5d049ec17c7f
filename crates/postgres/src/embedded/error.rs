//! The errors that keep a private cluster from running. Each is one sentence that names the cause
//! and the fix, because a newcomer meets these before anything else.

use std::io;
use std::path::PathBuf;

/// The reason that a private cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nothing to run, and downloading was refused or impossible.
    #[error(
        "no PostgreSQL binaries were found ({reason}): {}, or give --database-url",
        super::download::install_advice()
    )]
    NoBinaries {
        /// The reason that they were not fetched.
        reason: String,
    },
    /// `APP_PG_BIN` names a folder that cannot be used.
    #[error(
        "APP_PG_BIN={} holds no usable initdb and postgres ({why}): correct or unset it",
        dir.display()
    )]
    UnusableBinaries {
        /// The value of `APP_PG_BIN`.
        dir: PathBuf,
        /// The problem with it.
        why: String,
    },
    /// There are binaries, but not of the major version that the data folder needs.
    #[error(
        "the data folder {} was made by PostgreSQL {needed}, and only {found} was found: \
         install PostgreSQL {needed}, or start afresh with another --data-dir",
        data_dir.display()
    )]
    OtherMajor {
        /// The folder.
        data_dir: PathBuf,
        /// Its `PG_VERSION`.
        needed: u32,
        /// The PostgreSQL that is on this machine.
        found: String,
    },
    /// Another process of ours has the folder.
    #[error(
        "the data folder {} is in use by {holder}: stop that first, or choose another --data-dir",
        data_dir.display()
    )]
    InUse {
        /// The folder.
        data_dir: PathBuf,
        /// The process that has it.
        holder: String,
    },
    /// The folder, or something in it, cannot be made, read or written.
    #[error(
        "cannot use the data folder: {} ({source}): make it writable, or choose another --data-dir",
        path.display()
    )]
    Folder {
        /// The path of it.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No folder was given and none can be derived.
    #[error(
        "cannot tell where to keep the data (HOME is not set): choose a folder with --data-dir"
    )]
    NoDefaultFolder,
    /// The folder belongs to somebody else.
    #[error(
        "the data folder {} belongs to user {owner}, not to user {us}: \
         start as {owner} (or as root), or choose another --data-dir",
        data_dir.display()
    )]
    ForeignFolder {
        /// The folder.
        data_dir: PathBuf,
        /// Its owner.
        owner: String,
        /// The user of this process.
        us: String,
    },
    /// We are root, and the user that shall run the server cannot get to the folder.
    #[error(
        "user {user}, who runs PostgreSQL because root must not, cannot enter {}: \
         open it (chmod o+x) or choose another place with --data-dir",
        path.display()
    )]
    Untraversable {
        /// The user.
        user: String,
        /// The first folder on the way that is closed.
        path: PathBuf,
    },
    /// We are root, and there is no other user to run the server.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user \
         nobody: start as another user"
    )]
    NoServerUser,
    /// A server that nobody looks after still runs on the folder and does not stop.
    #[error(
        "a PostgreSQL server left over from before (process {pid}) still runs on {} and does \
         not stop: end it with 'kill -QUIT {pid}'",
        data_dir.display()
    )]
    Orphan {
        /// The folder.
        data_dir: PathBuf,
        /// Its process id.
        pid: i32,
    },
    /// initdb failed.
    #[error(
        "initdb could not make a cluster in {} ({said}): mend that, or choose another --data-dir",
        data_dir.display()
    )]
    Initdb {
        /// The folder.
        data_dir: PathBuf,
        /// Its last words.
        said: String,
    },
    /// A program of PostgreSQL's could not be run at all.
    #[error(
        "cannot run {} ({source}): reinstall PostgreSQL, or name another folder with APP_PG_BIN",
        program.display()
    )]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL did not start ({said}): see {}", log.display())]
    Start {
        /// Its last words.
        said: String,
        /// All its words.
        log: PathBuf,
    },
    /// The archive of binaries could not be fetched or unpacked.
    #[error(
        "cannot fetch PostgreSQL {version} from GitHub ({said}): {}, or give --database-url",
        super::download::install_advice()
    )]
    Download {
        /// The version.
        version: String,
        /// The error.
        said: String,
    },
    /// The running server refused a statement of administration.
    #[error("the private PostgreSQL refused a statement")]
    Database(#[from] sqlx::Error),
}

impl ClusterError {
    /// For `map_err`: this path, and what the system said of it.
    pub(super) fn folder(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Folder { path, source }
    }
}
