//! Finds the PostgreSQL binaries of this machine.
//!
//! `APP_PG_BIN` decides if it is set. Otherwise all usual places are looked at and the highest
//! version wins, except that a cluster which exists already needs the major version that made it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::download;
use super::error::ClusterError;
use super::folder;
use super::server_user::ServerUser;

/// The oldest major version that the migrations were tried with.
const OLDEST_MAJOR: u32 = 15;

/// Folders of the usual packages; `*` stands for one path component.
const PACKAGE_DIRS: [&str; 14] = [
    // Debian, Ubuntu
    "/usr/lib/postgresql/*/bin",
    // Fedora, RHEL and the PostgreSQL project's own RPMs
    "/usr/pgsql-*/bin",
    "/usr/lib64/pgsql/postgresql-*/bin",
    // Alpine
    "/usr/libexec/postgresql*",
    // openSUSE, Gentoo
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql-*/bin",
    // Homebrew: Apple silicon, Intel, Linux
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    // Postgres.app, MacPorts
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/local/lib/postgresql*/bin",
    // EnterpriseDB's installers
    "/Library/PostgreSQL/*/bin",
    "/opt/PostgreSQL/*/bin",
    // Built from source
    "/usr/local/pgsql/bin",
];

/// A folder with `initdb` and `postgres`, and the version of the latter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binaries {
    dir: PathBuf,
    version: Version,
}

/// Major and minor, as `postgres --version` says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Version {
    major: u32,
    minor: u32,
}

/// The permission to fetch binaries when there are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Download {
    /// Yes.
    Allowed,
    /// No: `--no-download`.
    Refused,
}

impl Binaries {
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Major and minor version, `15.14`.
    pub fn version(&self) -> String {
        format!("{}.{}", self.version.major, self.version.minor)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The binaries in `dir`, if `user` can run them; else what is wrong.
    fn probe(dir: &Path, user: &ServerUser) -> Result<Self, String> {
        for name in ["initdb", "postgres"] {
            if !dir.join(name).is_file() {
                return Err(format!("there is no {name}"));
            }
        }
        let output = user
            .command(&dir.join("postgres"), Path::new("/"))
            .arg("--version")
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| format!("postgres cannot be run: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let version = parse_version(&said).ok_or_else(|| {
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            format!("postgres --version says {said:?} {complaint}")
        })?;
        Ok(Self { dir: dir.to_owned(), version })
    }
}

/// The binaries to run the cluster in `data_dir` with: found on this machine or, if that is allowed
/// and there are none, fetched. `say` gets a line before something is fetched.
///
/// # Errors
///
/// [`ClusterError::NoBinaries`], [`ClusterError::OtherMajor`], [`ClusterError::UnusableBinaries`]
/// and [`ClusterError::Download`].
pub async fn find_or_fetch(
    data_dir: &Path,
    download: Download,
    say: impl FnOnce(&str),
) -> Result<Binaries, ClusterError> {
    let user = ServerUser::of(&folder::pgdata_of(data_dir))?;
    let needed = folder::major_of(data_dir);
    match find(data_dir, needed, &user) {
        Err(missing @ (ClusterError::NoBinaries { .. } | ClusterError::OtherMajor { .. })) => {
            match download {
                Download::Refused => Err(missing),
                Download::Allowed => {
                    let dir = download::fetch(needed, say).await?;
                    Binaries::probe(&dir, &user)
                        .map_err(|why| ClusterError::UnusableBinaries { dir, why })
                }
            }
        }
        found => found,
    }
}

fn find(data_dir: &Path, needed: Option<u32>, user: &ServerUser) -> Result<Binaries, ClusterError> {
    if let Some(dir) = std::env::var_os("APP_PG_BIN").filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        return match Binaries::probe(&dir, user) {
            Ok(binaries) => select(vec![binaries], data_dir, needed),
            Err(why) => Err(ClusterError::UnusableBinaries { dir, why }),
        };
    }
    let mut found: Vec<Binaries> = Vec::new();
    for dir in candidate_dirs() {
        // By the program, not by its folder: `/usr/local/bin` may hold links to the real place.
        let Ok(program) = dir.join("postgres").canonicalize() else { continue };
        let dir = program.parent().expect("a program lies in a folder");
        if found.iter().all(|known| known.dir != dir)
            && let Ok(binaries) = Binaries::probe(dir, user)
        {
            found.push(binaries);
        }
    }
    select(found, data_dir, needed)
}

/// The best of what was found.
fn select(
    found: Vec<Binaries>,
    data_dir: &Path,
    needed: Option<u32>,
) -> Result<Binaries, ClusterError> {
    let versions: Vec<String> = found.iter().map(Binaries::version).collect();
    let fits = |binaries: &Binaries| match needed {
        Some(major) => binaries.version.major == major,
        None => binaries.version.major >= OLDEST_MAJOR,
    };
    // Of equals the last is taken; the first should be, as the surest places are looked at first.
    let best = found.into_iter().rev().filter(fits).max_by_key(|binaries| binaries.version);
    if let Some(best) = best {
        return Ok(best);
    }
    match (needed, versions.is_empty()) {
        (_, true) => Err(ClusterError::NoBinaries { reason: "--no-download was given".to_owned() }),
        (Some(needed), false) => Err(ClusterError::OtherMajor {
            data_dir: data_dir.to_owned(),
            needed,
            found: versions.join(", "),
        }),
        (None, false) => Err(ClusterError::NoBinaries {
            reason: format!(
                "only {}, older than {OLDEST_MAJOR}; --no-download was given",
                versions.join(", ")
            ),
        }),
    }
}

fn candidate_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    dirs.extend(pg_config_bindir());
    dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    dirs.extend(PACKAGE_DIRS.iter().flat_map(|pattern| expand(pattern)));
    dirs.extend(download::cached_bin_dirs());
    dirs
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into())
}

/// The folders that a pattern of [`PACKAGE_DIRS`] names: at most one component holds a `*`.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let (parent, prefix) = before.rsplit_once('/').expect("every pattern is an absolute path");
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .map(|name| PathBuf::from(format!("{parent}/{name}{after}")))
        .collect()
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`; a beta has no minor: `19beta1`.
fn parse_version(said: &str) -> Option<Version> {
    let number = said.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = |text: &str| -> Option<u32> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse().ok()
    };
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some(Version { major: digits(major)?, minor: digits(minor).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(dir: &str, major: u32, minor: u32) -> Binaries {
        Binaries { dir: dir.into(), version: Version { major, minor } }
    }

    #[test]
    fn the_highest_version_is_taken_for_a_new_cluster() {
        let found = vec![binaries("/a", 15, 14), binaries("/b", 17, 2), binaries("/c", 17, 6)];
        let best = select(found, Path::new("/data"), None).expect("three fit");
        assert_eq!(best.dir(), Path::new("/c"));
    }

    #[test]
    fn an_existing_cluster_decides_the_major_version() {
        let found = vec![binaries("/a", 15, 14), binaries("/b", 17, 2)];
        let best = select(found, Path::new("/data"), Some(15)).expect("one fits");
        assert_eq!(best.dir(), Path::new("/a"));
    }

    #[test]
    fn a_missing_major_version_is_named_with_what_there_is() {
        let found = vec![binaries("/a", 15, 14), binaries("/b", 17, 2)];
        let error = select(found, Path::new("/data"), Some(16)).expect_err("no 16");
        let said = error.to_string();
        assert!(said.contains("made by PostgreSQL 16"), "{said}");
        assert!(said.contains("15.14, 17.2"), "{said}");
    }

    #[test]
    fn too_old_binaries_are_not_run() {
        let error = select(vec![binaries("/a", 12, 3)], Path::new("/data"), None);
        assert!(matches!(error, Err(ClusterError::NoBinaries { .. })));
    }

    #[test]
    fn versions_are_read_as_the_distributions_print_them() {
        let read = |said| parse_version(said).map(|version| (version.major, version.minor));
        assert_eq!(read("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some((15, 14)));
        assert_eq!(read("postgres (PostgreSQL) 18.4"), Some((18, 4)));
        assert_eq!(read("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(read("bash: postgres: not found"), None);
    }
}
