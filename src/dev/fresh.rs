//! `app dev --fresh`: deletes the data of the starts before.
//!
//! Only what `app dev` made in its own data folder: the database in the private cluster, the books
//! of the simulated bank, and the mails. The cluster stays, so nothing is deleted that another
//! server uses, and the pasted URL stays good.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, bail};

use super::bank::BOOKS;
use super::mail::MAILS;
use crate::dev::messages::print;
use crate::terminal;
use surety_postgres::embedded::Cluster;

/// Deletes the database and the bank's books, if there are any and somebody consents.
pub(super) async fn delete_data(
    cluster: &Cluster,
    database: &str,
    is_consented: bool,
) -> anyhow::Result<()> {
    let books = cluster.data_dir().join(BOOKS);
    if !cluster.has_database(database).await? && !books.exists() {
        return Ok(());
    }
    let place = cluster.data_dir().display();
    if !is_consented && !consents(&place.to_string())? {
        bail!("nothing was deleted");
    }
    cluster.drop_database(database).await?;
    let mails = cluster.data_dir().join(MAILS);
    for (path, removed) in
        [(&books, std::fs::remove_file(&books)), (&mails, std::fs::remove_dir_all(&mails))]
    {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} stays", path.display()));
            }
            _ => {}
        }
    }
    print(&format!("  ok  all data in {place} is deleted\n"));
    Ok(())
}

/// Asks on a terminal; anywhere else only `--yes` is consent.
fn consents(place: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("--fresh deletes all data in {place}: add --yes to do it");
    }
    Ok(terminal::says_yes_to(&format!("This deletes all data in {place}."))?)
}
