//! Archives: moving old transfers between accounts of providers into files, and proving files.
//!
//! An archive is one transaction, which commits after its file is on disk under its name. A process
//! that is killed before leaves the ledger as it was, and perhaps a file that the database does not
//! know; it may be deleted.

use std::collections::HashMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::Actor;
use crate::audit::reading::{self, Filter};
use crate::audit::{self, Subject};
use crate::payments::archives::checking::{self, CheckedFile};
use crate::payments::archives::format::{
    ArchivedTransfer, CarriedForward, FileWriter, WrittenFile,
};
use crate::payments::archives::making::{self, Making};
use crate::payments::archives::{self, Archive};
use crate::queue::commits::commit;

pub use crate::payments::archives::making::MakingError;

/// The shortest time for which transfers are kept in the database.
pub const KEEP_AT_LEAST: Duration = Duration::days(31);
/// The most transfers that may be asked for.
pub const MAX_PER_FILE: u32 = 1_000_000;
/// The most archives of one [`list`].
pub const MAX_LISTED: u16 = 1_000;

const ACTION: &str = "ledger.archive";
/// Transfers that are compared with their transactions at once.
const COMPARED_AT_ONCE: usize = 5_000;

/// The transfers that are wanted in files.
#[derive(Clone, Copy, Debug)]
pub struct NewArchive<'a> {
    /// The time for which they stay in the database, at least [`KEEP_AT_LEAST`].
    pub keep: Duration,
    /// About so many in one file, at most [`MAX_PER_FILE`].
    pub per_file: u32,
    /// The folder of the files.
    pub folder: &'a Path,
}

/// An archive as callers see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ArchiveView {
    /// The number, from 1.
    pub number: i32,
    /// Its transfers are dated before this.
    #[serde(with = "time::serde::rfc3339")]
    pub dated_before: OffsetDateTime,
    /// The number of its transfers.
    pub transfers: i64,
    /// The name of its file.
    pub file: String,
    /// The SHA-256 of its file, as hexadecimal digits.
    pub sha256: String,
    /// The moment at which it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
}

impl From<Archive> for ArchiveView {
    fn from(archive: Archive) -> Self {
        Self {
            number: archive.number,
            dated_before: archive.dated_before,
            transfers: archive.transfers,
            file: archive.file_name,
            sha256: hex::encode(archive.file_sha256),
            made_at: archive.made_at,
        }
    }
}

/// The archives, newest first: at most `limit`, which is capped at [`MAX_LISTED`], of those before
/// `before`.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    before: Option<i32>,
    limit: u16,
) -> sqlx::Result<Vec<ArchiveView>> {
    let found = archives::list(conn, before, limit.min(MAX_LISTED)).await?;
    Ok(found.into_iter().map(ArchiveView::from).collect())
}

/// The number of transfers that are older than `keep`: what there is to archive. Changes nothing.
///
/// # Errors
///
/// When the database refuses.
pub async fn count(conn: &mut PgConnection, keep: Duration) -> sqlx::Result<i64> {
    let mut tx = conn.begin().await?;
    let count = making::count(&mut tx, keep.max(KEEP_AT_LEAST)).await?;
    tx.rollback().await?;
    Ok(count)
}

/// Makes the next archive: writes its file, and removes its transfers from the ledger. None when no
/// transfer is old enough.
///
/// The transfers and the hash of their file are told to the audit log by the same commit.
///
/// # Errors
///
/// [`MakingError`]. Nothing was changed, unless the connection broke at the commit: the file is
/// left then, and [`list`] says whether it is an archive.
pub async fn create_next(
    conn: &mut PgConnection,
    new: NewArchive<'_>,
    actor: &Actor,
) -> Result<Option<ArchiveView>, MakingError> {
    let most = new.per_file.clamp(1, MAX_PER_FILE);
    let mut tx = conn.begin().await?;
    let Some(header) = making::begin(&mut tx, new.keep.max(KEEP_AT_LEAST), most).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    let file = FileWriter::begin(new.folder)?;
    let (making, written) = Making::write(&mut tx, header, file).await?;
    let archive = ArchiveView {
        number: making.header().number,
        dated_before: making.header().dated_before,
        transfers: making.transfers() as i64,
        file: written.name.clone(),
        sha256: hex::encode(written.sha256),
        made_at: making.header().made_at,
    };
    if let Err(error) = remove(&mut tx, &making, &written, &archive, actor).await {
        tx.rollback().await?;
        fs::remove_file(&written.path)?;
        return Err(error);
    }
    commit(tx).await?;
    Ok(Some(archive))
}

/// Removes the transfers of an archive from the ledger, and tells the audit log.
async fn remove(
    conn: &mut PgConnection,
    making: &Making,
    written: &WrittenFile,
    archive: &ArchiveView,
    actor: &Actor,
) -> Result<(), MakingError> {
    making.remove(&mut *conn, written).await?;
    let entry = actor.entry(ACTION, Subject::new("archive", archive.number));
    audit::record(conn, &[entry.data(&json!(archive))]).await?;
    Ok(())
}

/// The proof of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileProof {
    /// Its path.
    pub file: String,
    /// The number of its archive; null where it cannot be read.
    pub number: Option<i32>,
    /// The number of its transfers.
    pub transfers: u64,
    /// All that is wrong with it; empty if it holds.
    pub problems: Vec<String>,
}

/// Files that are proved one after another, in the order of their numbers, so that each can be
/// compared with the ones before.
#[derive(Debug, Default)]
pub struct Prover {
    /// The number and the hash of the last one.
    last: Option<(i32, String)>,
    /// True while they began with the first, and none was left out.
    is_whole: bool,
    /// The closing of each account in the last file that it is in, and the number of that.
    closings: HashMap<Uuid, (CarriedForward, i32)>,
}

impl Prover {
    /// Proves a file by itself and by those before it; with a database also that it is the archive
    /// that the database and the audit log know, and that each of its transfers is what its
    /// transaction says.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn prove(
        &mut self,
        path: &Path,
        conn: Option<&mut PgConnection>,
    ) -> sqlx::Result<FileProof> {
        let name = path.display().to_string();
        let file = match checking::check(path) {
            Ok(file) => file,
            Err(error) => {
                // What follows has nothing to be compared with.
                *self = Self::default();
                let problems = vec![error.to_string()];
                return Ok(FileProof { file: name, number: None, transfers: 0, problems });
            }
        };
        let mut problems = self.follow(&file);
        if let Some(conn) = conn {
            problems.extend(compare_record(&mut *conn, &file).await?);
            problems.extend(compare_transactions(conn, &file).await?);
        }
        let number = Some(file.header.number);
        Ok(FileProof { file: name, number, transfers: file.transfers.len() as u64, problems })
    }

    /// Compares the file with those before it.
    fn follow(&mut self, file: &CheckedFile) -> Vec<String> {
        let number = file.header.number;
        let mut problems = Vec::new();
        match &self.last {
            None => self.is_whole = number == 1,
            Some((last, hash)) if last.checked_add(1) == Some(number) => {
                if file.header.previous_sha256.as_ref() != Some(hash) {
                    problems.push(format!("archive {last} had another file when this was made"));
                }
            }
            Some(_) => self.is_whole = false,
        }
        for account in file.accounts.values() {
            let before = self.closings.get(&account.id).map(|(closing, _)| *closing);
            let before = before.or(self.is_whole.then_some(CarriedForward::default()));
            // Where files are missing in between, its opening may be later.
            let follows = before.is_none_or(|before| match self.is_whole {
                true => before == account.opening,
                false => before.version < account.closing.version,
            });
            if !follows {
                problems.push(format!("account {} does not go on from before", account.id));
            }
            self.closings.insert(account.id, (account.closing, number));
        }
        self.last = Some((number, hex::encode(file.sha256)));
        problems
    }

    /// Compares what the accounts of the database carry forward with how the files leave them: all
    /// of them if all archives were proved, else those whose last archive was.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn compare_accounts(&self, conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
        let newest = archives::list(&mut *conn, None, 1).await?.pop().map(|it| it.number);
        let is_all = self.is_whole && self.last.as_ref().map(|(number, _)| *number) == newest;
        let mut rows = sqlx::query!(
            "
            select account_id, version, balance, archive
            from payments.carried_forward
            order by account_id
            "
        )
        .fetch(conn);
        let mut problems = Vec::new();
        let mut compared = 0;
        while let Some(row) = rows.try_next().await? {
            let account = row.account_id;
            let forward = CarriedForward { version: row.version, balance: row.balance };
            match self.closings.get(&account) {
                Some((_, number)) if row.archive > *number && !is_all => compared += 1,
                Some((closing, number)) => {
                    compared += 1;
                    if (row.archive, forward) != (*number, *closing) {
                        problems.push(format!("account {account} carries another balance forward"));
                    }
                }
                None if is_all => problems.push(format!("account {account} is in no file")),
                None => {}
            }
        }
        if compared < self.closings.len() {
            let missing = self.closings.len() - compared;
            problems.push(format!("{missing} accounts of the files carry nothing forward"));
        }
        Ok(problems)
    }

    /// True when all files so far began with the first archive, and none was left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// Compares a file with the record of its archive, and with the audit log.
async fn compare_record(conn: &mut PgConnection, file: &CheckedFile) -> sqlx::Result<Vec<String>> {
    let (number, hash) = (file.header.number, hex::encode(file.sha256));
    let Some(archive) = archives::find(&mut *conn, number).await? else {
        return Ok(vec![format!("the database has no archive {number}")]);
    };
    let mut problems = Vec::new();
    if archive.file_sha256 != file.sha256 {
        let known = hex::encode(&archive.file_sha256);
        problems.push(format!("archive {number} of the database has the hash {known}"));
    }
    let is_of_file = (archive.transfers, archive.dated_before)
        == (file.transfers.len() as i64, file.header.dated_before);
    if !is_of_file || archives::transactions_of(&mut *conn, number).await? != numbers_of(file) {
        problems.push(format!("archive {number} of the database has other transactions"));
    }
    let filter = Filter {
        subject_kind: Some("archive".to_owned()),
        subject_id: Some(number.to_string()),
        ..Filter::default()
    };
    let entries = reading::list(conn, &filter, None, 10).await?;
    let is_told = entries.iter().filter(|entry| entry.action == ACTION).any(|entry| {
        let data: Option<serde_json::Value> =
            entry.data.as_ref().and_then(|data| serde_json::from_str(data).ok());
        data.is_some_and(|data| data["sha256"] == hash.as_str())
    });
    if !is_told {
        problems.push(format!("the audit log does not know this file of archive {number}"));
    }
    Ok(problems)
}

/// The numbers of the transactions of a file, as ranges in rising order.
fn numbers_of(file: &CheckedFile) -> Vec<RangeInclusive<i64>> {
    let mut numbers: Vec<i64> = file.transfers.iter().filter_map(|it| it.transaction).collect();
    numbers.sort_unstable();
    let ranges = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    ranges.map(|range| range[0]..=range[range.len() - 1]).collect()
}

/// Compares each transfer with the transaction that it settled.
async fn compare_transactions(
    conn: &mut PgConnection,
    file: &CheckedFile,
) -> sqlx::Result<Vec<String>> {
    let name = |account: &Uuid| file.accounts.get(account).map(|account| account.name.as_str());
    let settling: Vec<&ArchivedTransfer> =
        file.transfers.iter().filter(|transfer| transfer.transaction.is_some()).collect();
    let mut problems = Vec::new();
    for transfers in settling.chunks(COMPARED_AT_ONCE) {
        let numbers: Vec<i64> = transfers.iter().filter_map(|it| it.transaction).collect();
        let rows = sqlx::query!(
            "
            select id, transaction_id, source_account, destination_account, amount, currency
            from payments.transactions
            where id = any ($1) and status = 'COMPLETED'
            ",
            &numbers,
        );
        let rows = rows.fetch_all(&mut *conn).await?;
        let known: HashMap<i64, _> = rows.into_iter().map(|row| (row.id, row)).collect();
        let misfits = transfers.iter().filter(|transfer| {
            let row = transfer.transaction.and_then(|number| known.get(&number));
            !row.is_some_and(|row| {
                transfer.transaction_id.as_ref() == Some(&row.transaction_id)
                    && name(&transfer.source.account) == Some(&row.source_account)
                    && name(&transfer.destination.account) == Some(&row.destination_account)
                    && (transfer.amount, &transfer.currency) == (row.amount, &row.currency)
            })
        });
        problems.extend(misfits.map(|it| format!("transfer {} is not its transaction's", it.id)));
    }
    Ok(problems)
}
