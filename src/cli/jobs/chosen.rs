//! Jobs by number: as arguments, from a file, from stdin.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::operations::jobs::JobId;

/// Jobs by number.
#[derive(clap::Args, Debug, Default)]
pub(super) struct Chosen {
    /// The numbers of jobs.
    #[arg(value_name = "JOB")]
    ids: Vec<i64>,

    /// A file with numbers of jobs, between spaces or line by line; - for stdin.
    #[arg(long, value_name = "FILE")]
    id_file: Option<PathBuf>,
}

impl Chosen {
    /// None if no number was given and no file.
    pub(super) fn read(self) -> anyhow::Result<Option<Vec<JobId>>> {
        if self.ids.is_empty() && self.id_file.is_none() {
            return Ok(None);
        }
        let mut ids = self.ids;
        if let Some(file) = &self.id_file {
            let mut text = String::new();
            match file.as_os_str() == "-" {
                true => std::io::stdin().read_to_string(&mut text).map(drop),
                false => std::fs::read_to_string(file).map(|read| text = read),
            }
            .with_context(|| format!("the numbers of jobs cannot be read: {}", file.display()))?;
            for word in text.split_whitespace() {
                let id = word.parse().with_context(|| {
                    format!("{word:?} in {} is not the number of a job", file.display())
                })?;
                ids.push(id);
            }
        }
        // Each once, in the order given.
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok(Some(ids.into_iter().map(JobId).collect()))
    }
}
