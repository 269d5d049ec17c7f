//! Fetches PostgreSQL binaries when the machine has none.

use std::path::PathBuf;

use super::error::ClusterError;

/// Fetches binaries of this major version (or of our choice) into the cache and returns their `bin` folder.
///
/// # Errors
///
/// [`ClusterError::Download`].
pub(super) async fn fetch(
    major: Option<u32>,
    say: impl FnOnce(&str),
) -> Result<PathBuf, ClusterError> {
    let _ = (major, say);
    Err(ClusterError::NoBinaries { reason: "downloading is not built yet".to_owned() })
}

/// The `bin` folders that earlier runs have fetched.
pub(super) fn cached_bin_dirs() -> Vec<PathBuf> {
    Vec::new()
}

/// What to type on this platform to install PostgreSQL.
pub(super) fn install_advice() -> &'static str {
    "install PostgreSQL"
}
