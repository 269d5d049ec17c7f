//! The data folder: where it is, what is in it, and that only one process at a time uses it.
//!
//! ```text
//! <data-dir>/lock        held by the process that runs the server
//! <data-dir>/postgres/   the cluster (PGDATA); belongs to the user who runs the server
//! <data-dir>/socket/     its unix socket, closed to everybody else
//! <data-dir>/server.log  what it said since its last start
//! <data-dir>/password    of the role postgres over TCP, readable by us only
//! <data-dir>/port        the TCP port of the last start, taken again if it is free
//! ```

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::error::ClusterError;
use super::process;
use super::server_user::{ServerUser, user_name};

/// The longest path of a unix socket that every platform takes (macOS: 103 bytes and a zero).
const SOCKET_PATH_MAX_BYTES: usize = 103;

/// The default data folder of `app dev`: the XDG data folder; for root `/var/lib/surety/dev`,
/// because the user who runs the server for root cannot get into `/root`, and `/var/tmp` is emptied
/// by age.
///
/// # Errors
///
/// [`ClusterError::NoDefaultFolder`].
pub fn default_data_dir() -> Result<PathBuf, ClusterError> {
    if process::is_root() {
        return Ok(PathBuf::from("/var/lib/surety/dev"));
    }
    let set =
        |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|data_home| data_home.join("surety/dev"))
        .ok_or(ClusterError::NoDefaultFolder)
}

/// The folder of the cluster proper in a data folder.
pub(super) fn pgdata_of(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres")
}

/// The major version of PostgreSQL that the cluster in this data folder was made with; `None` when
/// there is none yet.
pub(super) fn major_of(data_dir: &Path) -> Option<u32> {
    let version = std::fs::read_to_string(pgdata_of(data_dir).join("PG_VERSION")).ok()?;
    version.trim().parse().ok()
}

/// A data folder that is ours: made, locked, and open to the user who runs the server.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    socket_dir: PathBuf,
    /// Held, not used: the lock ends with the file.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and takes its lock.
    ///
    /// # Errors
    ///
    /// [`ClusterError::InUse`] when another process has it; the errors about folders and users
    /// otherwise.
    pub(super) fn open(dir: &Path, user: &ServerUser) -> Result<Self, ClusterError> {
        let dir = std::path::absolute(dir).map_err(ClusterError::folder(dir))?;
        // Asked of what there is first, so that nothing is left in a place that cannot be used.
        user.require_entry(first_existing(&dir))?;
        make_data_dir(&dir)?;
        user.require_entry(&dir)?;
        let lock = take_lock(&dir)?;
        let socket_dir = make_socket_dir(&dir, user)?;
        Ok(Self { dir, socket_dir, _lock: lock })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn pgdata(&self) -> PathBuf {
        pgdata_of(&self.dir)
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The password of the role `postgres` over TCP; made at the first call.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Folder`].
    pub(super) fn password(&self) -> Result<String, ClusterError> {
        let path = self.dir.join("password");
        let read = std::fs::read_to_string(&path).unwrap_or_default();
        let known = read.trim();
        // Only what we could have written ourselves: it goes into a statement and a URL as it is.
        if known.len() >= 32 && known.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(known.to_owned());
        }
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(true).mode(0o600);
        open.open(&path)
            .and_then(|mut file| file.write_all(fresh.as_bytes()))
            .map_err(ClusterError::folder(&path))?;
        Ok(fresh)
    }

    /// A free TCP port on the loopback address, the one of the last start if possible, so that a
    /// pasted URL stays good. It can be taken by somebody else before the server binds it: then the
    /// caller asks again.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Folder`].
    pub(super) fn free_port(&self) -> Result<u16, ClusterError> {
        let path = self.dir.join("port");
        let last: Option<u16> =
            std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let listener = last
            .and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
            .map_err(ClusterError::folder("127.0.0.1"))?;
        let port = listener.local_addr().map_err(ClusterError::folder("127.0.0.1"))?.port();
        std::fs::write(&path, port.to_string()).map_err(ClusterError::folder(&path))?;
        Ok(port)
    }
}

/// The folder, or the nearest one above it that exists.
fn first_existing(dir: &Path) -> &Path {
    dir.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(dir)
}

fn make_data_dir(dir: &Path) -> Result<(), ClusterError> {
    // Root's folder can be passed through, because another user runs the server in it; what lies in
    // it is closed.
    let mode = if process::is_root() { 0o711 } else { 0o700 };
    if !dir.exists() {
        let parent = dir.parent().unwrap_or(dir);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(ClusterError::folder(parent))?;
        match DirBuilder::new().mode(mode).create(dir) {
            // Two at once: the other one made it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(ClusterError::folder(dir))?,
        }
    }
    let metadata = dir.metadata().map_err(ClusterError::folder(dir))?;
    if !metadata.is_dir() {
        return Err(ClusterError::folder(dir)(io::ErrorKind::NotADirectory.into()));
    }
    let cluster_owner = pgdata_of(dir).metadata().map_or(metadata.uid(), |pgdata| pgdata.uid());
    let us = process::effective_uid();
    if us != 0 && cluster_owner != us {
        return Err(ClusterError::ForeignFolder {
            data_dir: dir.to_owned(),
            owner: user_name(cluster_owner),
            us: user_name(us),
        });
    }
    Ok(())
}

fn take_lock(dir: &Path) -> Result<File, ClusterError> {
    let path = dir.join("lock");
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o644);
    let mut file = open.open(&path).map_err(ClusterError::folder(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.is_empty();
            let holder = if known {
                format!("another 'app dev' (process {pid})")
            } else {
                "another process".into()
            };
            return Err(ClusterError::InUse { data_dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(ClusterError::Folder { path, source }),
    }
    // For the message above only: the lock is what counts.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(ClusterError::folder(&path))?;
    Ok(file)
}

/// The folder of the socket: in the data folder, unless its path is then too long for a socket;
/// else in the temporary folder under a name that follows from the data folder.
fn make_socket_dir(data_dir: &Path, user: &ServerUser) -> Result<PathBuf, ClusterError> {
    let inside = data_dir.join("socket");
    let longest_name = ".s.PGSQL.65535.lock".len();
    let dir = if inside.as_os_str().len() + 1 + longest_name <= SOCKET_PATH_MAX_BYTES {
        inside
    } else {
        let digest = Sha256::digest(data_dir.as_os_str().as_bytes());
        std::env::temp_dir().join(format!("surety-{}", hex::encode(&digest[..6])))
    };
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => user.take_over(&dir)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(ClusterError::Folder { path: dir, source }),
    }
    // The temporary folder is everybody's: one that somebody else has put there would let them pose
    // as our server.
    let metadata = dir.symlink_metadata().map_err(ClusterError::folder(&dir))?;
    if !metadata.is_dir() || metadata.uid() != user.uid() {
        let source = io::Error::other("it exists already and is not ours");
        return Err(ClusterError::Folder { path: dir, source });
    }
    std::fs::set_permissions(&dir, Permissions::from_mode(0o700))
        .map_err(ClusterError::folder(&dir))?;
    Ok(dir)
}
