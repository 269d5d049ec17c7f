//! The user that runs the server. PostgreSQL refuses to run as root, so root hands its programs to
//! another user.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::ClusterError;
use super::process;

/// Variables that a PostgreSQL program may inherit. All others are withheld: `LANG` and `LC_*`
/// because an unknown locale makes initdb fail, `PG*` because they redirect it, and the rest
/// because the server has no use for our secrets.
const INHERITED_ENV: [&str; 5] =
    ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "TMPDIR"];

/// The user who runs PostgreSQL's programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ServerUser {
    /// We are an ordinary user and do it ourselves.
    Ourselves,
    /// We are root, and switch to this one.
    Other {
        /// Its name, or its number when it has none.
        name: String,
        /// Its number.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

impl ServerUser {
    /// The user for the cluster in `pgdata`: for root the owner of that folder, if it exists, else
    /// `postgres`, else `nobody`; for everybody else themselves.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoServerUser`].
    pub(super) fn of(pgdata: &Path) -> Result<Self, ClusterError> {
        if !process::is_root() {
            return Ok(Self::Ourselves);
        }
        if let Ok(owner) = pgdata.metadata()
            && owner.uid() != 0
        {
            let name = user_name(owner.uid());
            return Ok(Self::Other { name, uid: owner.uid(), gid: owner.gid() });
        }
        ["postgres", "nobody"].into_iter().find_map(named).ok_or(ClusterError::NoServerUser)
    }

    /// A command that runs `program` as this user, in a process group of its own (Ctrl-C in the
    /// terminal must not reach the server before our workers are drained), with a clean
    /// environment.
    pub(super) fn command(&self, program: &Path, working_dir: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(INHERITED_ENV.iter().filter_map(|key| Some((key, std::env::var_os(key)?))))
            .env("LC_ALL", "C")
            .current_dir(working_dir)
            .process_group(0)
            .stdin(Stdio::null());
        if let Self::Other { uid, gid, .. } = self {
            // This also drops root's supplementary groups.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Gives `path` to this user.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Folder`].
    pub(super) fn take_over(&self, path: &Path) -> Result<(), ClusterError> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).map_err(ClusterError::folder(path))
            }
        }
    }

    /// The user's number.
    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves => process::effective_uid(),
            Self::Other { uid, .. } => *uid,
        }
    }

    /// Fails unless this user can enter `dir`. Asked of the system itself, by trying: mode bits
    /// alone know nothing of access lists and mounts.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Untraversable`].
    pub(super) fn require_entry(&self, dir: &Path) -> Result<(), ClusterError> {
        let Self::Other { name, uid, gid } = self else { return Ok(()) };
        let entered = self
            .command(Path::new("/bin/sh"), Path::new("/"))
            .args(["-c", "cd -- \"$1\"", "sh"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if entered {
            return Ok(());
        }
        let path = first_closed_ancestor(dir, *uid, *gid).unwrap_or_else(|| dir.to_owned());
        Err(ClusterError::Untraversable { user: name.clone(), path })
    }
}

/// The name of user `uid` for messages; its number when it has no name.
pub(super) fn user_name(uid: u32) -> String {
    id_program(&["-un", &uid.to_string()]).unwrap_or_else(|| uid.to_string())
}

fn named(name: &str) -> Option<ServerUser> {
    let uid = id_program(&["-u", name])?.parse().ok()?;
    let gid = id_program(&["-g", name])?.parse().ok()?;
    Some(ServerUser::Other { name: name.to_owned(), uid, gid })
}

/// The answer of `id`. A program rather than a system call, because it asks every user database
/// that the machine has and is on every Unix.
fn id_program(args: &[&str]) -> Option<String> {
    let output = Command::new("id").args(args).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The outermost folder on the way to `dir` whose mode keeps this user out.
fn first_closed_ancestor(dir: &Path, uid: u32, gid: u32) -> Option<PathBuf> {
    let mut ancestors: Vec<&Path> = dir.ancestors().collect();
    ancestors.reverse();
    let closed = ancestors.into_iter().find(|ancestor| {
        ancestor.metadata().is_ok_and(|metadata| {
            let execute_bit = match (metadata.uid() == uid, metadata.gid() == gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            metadata.mode() & execute_bit == 0
        })
    });
    closed.map(Path::to_owned)
}
