//! The database of a running `app dev`, for commands that are told of none: its URL, in a file of
//! the data folder that only its owner may read.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use surety_postgres::embedded::default_data_dir;

const FILE: &str = "database-url";

/// Says where the database is, until this is dropped.
pub(super) struct RunningFile(PathBuf);

impl RunningFile {
    /// Writes the file.
    pub(super) fn tell(data_dir: &Path, url: &str) -> std::io::Result<Self> {
        let file = data_dir.join(FILE);
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&file)?.write_all(url.as_bytes())?;
        Ok(Self(file))
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        // One that stays leads to a closed port, which is told.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The URL of the database of the `app dev` that runs with its usual data folder, or that of
/// `APP_DATA_DIR`, and the folder; none if none does, or it is somebody else's.
pub fn running_database() -> Option<(String, PathBuf)> {
    let set = std::env::var_os("APP_DATA_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let data_dir = set.or_else(|| default_data_dir().ok())?;
    let url = std::fs::read_to_string(data_dir.join(FILE)).ok()?;
    Some((url, data_dir))
}
