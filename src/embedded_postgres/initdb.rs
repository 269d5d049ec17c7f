//! Makes a new cluster. It is made beside its final place and renamed when complete, so that a
//! cluster which exists is a whole one.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;

use super::cluster::Durability;
use super::error::ClusterError;
use super::folder::Folder;
use super::locate::Binaries;
use super::server_user::ServerUser;

/// How unfinished clusters are named. Each run takes its own name: an initdb whose parent was
/// killed may still be writing into the one before.
const UNFINISHED_PREFIX: &str = "postgres.new-";

/// Makes the cluster of this folder, unless it has one.
///
/// # Errors
///
/// [`ClusterError::Initdb`], [`ClusterError::Spawn`] and [`ClusterError::Folder`].
pub(super) async fn create_if_missing(
    folder: &Folder,
    binaries: &Binaries,
    user: &ServerUser,
    durability: Durability,
) -> Result<(), ClusterError> {
    remove_unfinished(folder.dir());
    let pgdata = folder.pgdata();
    if pgdata.join("PG_VERSION").exists() {
        return Ok(());
    }
    let unfinished = folder.dir().join(format!("{UNFINISHED_PREFIX}{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(ClusterError::folder(&unfinished))?;
    user.take_over(&unfinished)?;
    run_initdb(&unfinished, binaries, user, durability).await?;
    std::fs::rename(&unfinished, &pgdata).map_err(ClusterError::folder(&pgdata))?;
    if durability == Durability::Durable {
        // The rename is only on disk when the folder that holds the name is.
        File::open(folder.dir())
            .and_then(|dir| dir.sync_all())
            .map_err(ClusterError::folder(folder.dir()))?;
    }
    Ok(())
}

async fn run_initdb(
    into: &Path,
    binaries: &Binaries,
    user: &ServerUser,
    durability: Durability,
) -> Result<(), ClusterError> {
    let program = binaries.program("initdb");
    let mut command = user.command(&program, into);
    command
        .arg("-D")
        .arg(into)
        // The socket lies in a closed folder; TCP asks for the password.
        .args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"])
        // Without the encoding, the locale C would mean SQL_ASCII.
        .args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if durability == Durability::Throwaway {
        command.arg("--no-sync");
    }
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ClusterError::Spawn { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(into);
    let said = last_words(&String::from_utf8_lossy(&output.stderr));
    Err(ClusterError::Initdb { data_dir: into.to_owned(), said })
}

/// Sweeps up after an initdb that was cut short. What cannot be removed now is tried again at the
/// next start.
fn remove_unfinished(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The line of a program's complaints that names the cause: the last that says so, or just the
/// last.
pub(super) fn last_words(output: &str) -> String {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    let cause = lines()
        .rfind(|line| ["FATAL:", "PANIC:", "error:"].iter().any(|mark| line.contains(mark)))
        .or_else(|| lines().next_back());
    cause.unwrap_or("it said nothing").to_owned()
}
