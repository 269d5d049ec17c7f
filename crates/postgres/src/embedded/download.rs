//! Fetches PostgreSQL binaries when the machine has none: those of the postgresql_embedded family,
//! which its makers build for all our platforms and publish as GitHub releases, each archive with
//! its SHA-256 beside it.
//!
//! The checksum comes from where the archive comes from: it finds a damaged download, not a
//! dishonest one. Who must not trust that uses `--no-download` and the packages of the
//! distribution.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tokio::sync::oneshot;

use super::error::ClusterError;
use super::process;
use super::releases::{self, Publisher};

/// The version of new clusters: the newest major version that has had more than a year of
/// corrections.
const NEW_CLUSTER_MAJOR: u32 = 17;
/// To learn which minor version is the newest.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(20);
/// To fetch some 12 MB.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);

/// Fetches the newest binaries of this major version (of our choice, when there is no cluster yet)
/// into the cache and returns their `bin` folder. `say` gets a line before the network is touched.
///
/// # Errors
///
/// [`ClusterError::Download`] and [`ClusterError::Folder`].
pub(super) async fn fetch(
    major: Option<u32>,
    say: impl FnOnce(&str),
) -> Result<PathBuf, ClusterError> {
    let major = major.unwrap_or(NEW_CLUSTER_MAJOR);
    let cache = cache_dir().ok_or(ClusterError::NoDefaultFolder)?;
    std::fs::create_dir_all(&cache).map_err(ClusterError::folder(&cache))?;
    say(&format!(
        "no PostgreSQL on this machine: fetching version {major} from {} into {}, once",
        releases::HOME,
        cache.display()
    ));
    // A thread of its own, not one of the runtime's: that waits for its threads, and who presses
    // Ctrl-C would wait for the download.
    let (done, fetched) = oneshot::channel();
    std::thread::spawn(move || done.send(fetch_into(&cache, major)));
    let fetched = fetched.await.unwrap_or_else(|_| Err("the download has failed".to_owned()));
    fetched.map_err(|said| ClusterError::Download { version: major.to_string(), said })
}

fn fetch_into(cache: &Path, major: u32) -> Result<PathBuf, String> {
    let newest = Publisher::until(Instant::now() + LOOK_UP_TIMEOUT).newest(major)?;
    let archive = Publisher::until(Instant::now() + FETCH_TIMEOUT).archive(&newest)?;
    unpack(&archive, &cache.join(format!("postgresql-{}", newest.version)))
}

/// Unpacks an archive, which holds one folder, into `dir`, which appears whole or not at all, and
/// gives its `bin` folder.
fn unpack(archive: &[u8], dir: &Path) -> Result<PathBuf, String> {
    let bin = dir.join("bin");
    match unpack_into(archive, dir) {
        // Two at once: the other one was first.
        Err(error) if !bin.exists() => {
            return Err(format!("the archive cannot be unpacked into {}: {error}", dir.display()));
        }
        _ => {}
    }
    // An archive may close its folders to others, and root has another user run what is in them.
    open_folders(dir).map_err(|error| format!("{} cannot be opened: {error}", dir.display()))?;
    Ok(bin)
}

fn unpack_into(archive: &[u8], dir: &Path) -> std::io::Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    std::fs::create_dir_all(parent)?;
    let scratch = tempfile::tempdir_in(parent)?;
    tar::Archive::new(GzDecoder::new(archive)).unpack(scratch.path())?;
    let unpacked = std::fs::read_dir(scratch.path())?.next().transpose()?;
    let unpacked = unpacked.ok_or_else(|| std::io::Error::other("there is nothing in it"))?;
    std::fs::rename(unpacked.path(), dir)
}

fn open_folders(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

/// The `bin` folders that earlier runs have fetched.
pub(super) fn cached_bin_dirs() -> Vec<PathBuf> {
    let entries = cache_dir().and_then(|cache| std::fs::read_dir(cache).ok());
    let dirs = entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("postgresql-"));
    dirs.map(|entry| entry.path().join("bin")).collect()
}

/// The folder of fetched binaries: the XDG cache folder; for root one that other users can get
/// into.
fn cache_dir() -> Option<PathBuf> {
    if process::is_root() {
        return Some(PathBuf::from("/var/cache/surety"));
    }
    let set =
        |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("surety"))
}

/// The command that installs PostgreSQL on this platform.
pub(super) fn install_advice() -> String {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    match install_command(std::env::consts::OS, &os_release) {
        Some((command, needs_root)) => {
            let sudo = if needs_root && !process::is_root() { "sudo " } else { "" };
            format!("install it with '{sudo}{command}'")
        }
        None => "install it with your package manager".to_owned(),
    }
}

/// The command for an operating system and its `/etc/os-release`, and whether it wants to be run as
/// root.
fn install_command(os: &str, os_release: &str) -> Option<(&'static str, bool)> {
    if os == "macos" {
        return Some(("brew install postgresql@17", false));
    }
    let families: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .collect();
    let command = families.iter().find_map(|family| match *family {
        "debian" | "ubuntu" => Some("apt-get install -y postgresql"),
        "fedora" | "rhel" | "centos" => Some("dnf install -y postgresql-server"),
        "arch" => Some("pacman -S postgresql"),
        "alpine" => Some("apk add postgresql"),
        "suse" | "opensuse" => Some("zypper install postgresql-server"),
        _ => None,
    })?;
    Some((command, true))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::embedded::locate::{self, Download};

    #[test]
    fn the_install_command_is_that_of_the_platform() {
        let command = |os, release| install_command(os, release).map(|(command, _)| command);
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n";
        assert_eq!(command("linux", debian), Some("apt-get install -y postgresql"));
        let mint = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
        assert_eq!(command("linux", mint), Some("apt-get install -y postgresql"));
        let rocky = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n";
        assert_eq!(command("linux", rocky), Some("dnf install -y postgresql-server"));
        assert_eq!(command("linux", "ID=arch\n"), Some("pacman -S postgresql"));
        assert_eq!(command("linux", "ID=alpine\n"), Some("apk add postgresql"));
        assert_eq!(command("macos", ""), Some("brew install postgresql@17"));
        assert_eq!(command("linux", "ID=plan9\n"), None);
    }

    #[test]
    fn an_archive_is_unpacked_whole_executable_and_open_to_other_users() {
        use std::os::unix::fs::PermissionsExt as _;

        let scratch = tempfile::tempdir().unwrap();
        let built = scratch.path().join("postgresql-15.0.0-some-target");
        std::fs::create_dir_all(built.join("bin")).unwrap();
        std::fs::write(
            built.join("bin/postgres"),
            "#!/bin/sh\necho 'postgres (PostgreSQL) 15.0'\n",
        )
        .unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(built.join("bin/postgres"), mode).unwrap();
        let tar = Command::new("tar")
            .args(["-C", scratch.path().to_str().unwrap(), "-czf", "-"])
            .arg("postgresql-15.0.0-some-target")
            .output()
            .unwrap();
        assert!(tar.status.success());

        let dir = scratch.path().join("cache/postgresql-15.0.0");
        let bin = unpack(&tar.stdout, &dir).unwrap();
        let said = Command::new(bin.join("postgres")).output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&said).trim(), "postgres (PostgreSQL) 15.0");
        for folder in [&dir, &bin] {
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        }
        // Once more, as after two at once.
        assert_eq!(unpack(&tar.stdout, &dir).unwrap(), bin);
    }

    #[test]
    fn a_damaged_archive_leaves_nothing_to_run() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("postgresql-15.0.0");
        unpack(b"half an arch", &dir).expect_err("it is no archive");
        assert!(!dir.exists());
    }

    #[tokio::test]
    async fn refused_downloads_touch_nothing_when_there_are_binaries() {
        let found = locate::find_or_fetch(Path::new("/nonexistent"), Download::Refused, |line| {
            panic!("nothing is to be fetched: {line}")
        });
        assert!(found.await.is_ok(), "the tests need PostgreSQL's binaries");
    }
}
