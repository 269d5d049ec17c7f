//! The mail of `app dev`: files in the data folder, or the server that `APP_SMTP_URL` names.
//!
//! In a database that `app dev` did not make, users may have real addresses, and mails to them are
//! no business of files here.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use anyhow::Context as _;

use super::Args;
use super::database::Database;

/// The folder in the data folder that keeps mails.
pub(super) const MAILS: &str = "mails";
/// Where there is neither a mail server nor a database of our own.
const NO_MAIL: &str = "none, as the database was given; or --smtp-url";

/// The way that mails go.
pub(super) struct Mail {
    /// Where they go to, for people.
    pub(super) place: String,
}

impl Mail {
    /// Has the workers keep mails as files, unless they have a mail server or the database is
    /// somebody else's.
    pub(super) fn open(args: &mut Args, database: &Database) -> anyhow::Result<Self> {
        if args.worker.mail.has_server() {
            return Ok(Self { place: "by the server of APP_SMTP_URL".to_owned() });
        }
        let Some(data_dir) = database.data_dir() else {
            return Ok(Self { place: NO_MAIL.to_owned() });
        };
        let folder = data_dir.join(MAILS);
        // They hold addresses: for us alone.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        let place = format!("kept as files in {}", folder.display());
        args.worker.mail.folder = Some(folder);
        Ok(Self { place })
    }
}
