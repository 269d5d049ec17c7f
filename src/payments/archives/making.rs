//! Making an archive: the choice of its transfers, and its file.
//!
//! All in one transaction, which sees what is old as it will be for good: nothing of it changes any
//! more, and who commits late adds to what comes after it.

use std::collections::BTreeMap;
use std::io;

use futures_util::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::checking::{self, CheckError};
use super::format::{
    ArchivedAccount, ArchivedEntry, ArchivedTransfer, CarriedForward, End, FORMAT, FileWriter,
    Header, Line, MAX_TRANSFERS, WrittenFile,
};
use crate::ids::first_uuid_at;

/// Ids of transfers tell the time by the clocks of workers, which are less than this ahead of the
/// database's.
const CLOCKS_DIFFER: Duration = Duration::DAY;

/// An archive that cannot be made. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum MakingError {
    /// The oldest entries of an account are not all of transfers between accounts of providers, or
    /// some are missing.
    #[error("the entries of account {0} that are old enough are not its first ones without a gap")]
    Gap(Uuid),
    /// The clock of the database is in doubt, and with it the age of everything.
    #[error("the database's clock is in doubt; 'app doctor' says since when")]
    ClockInDoubt,
    /// There are old transfers, and none of them is a whole one between accounts of providers.
    #[error("what is old enough is not of providers, or broken: see 'app verify'")]
    NothingWhole,
    /// More transfers than a file may have are dated before the end that was chosen.
    #[error("more than {MAX_TRANSFERS} transfers would be in one file; ask for fewer per file")]
    TooMany,
    /// The file on disk is not what was written.
    #[error("the file that was written does not hold")]
    Damaged(#[from] CheckError),
    /// Rows are missing that were there a moment ago.
    #[error("the ledger changed meanwhile: {0}")]
    Changed(&'static str),
    /// The file could not be written.
    #[error("the file cannot be written")]
    File(#[from] io::Error),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The transfers of an archive, whose file is being written.
#[derive(Debug)]
pub struct Making {
    pub(super) header: Header,
    pub(super) transfers: Vec<Uuid>,
    pub(super) accounts: BTreeMap<Uuid, ArchivedAccount>,
}

/// Takes the right to make the next archive until the transaction ends, and begins it: with
/// transfers that are older than `keep`, about `most` of them. None when there are none.
///
/// # Errors
///
/// [`MakingError::ClockInDoubt`]; or the database refuses, or does not give the right within its
/// time for locks.
pub async fn begin(
    conn: &mut PgConnection,
    keep: Duration,
    most: u32,
) -> Result<Option<Header>, MakingError> {
    sqlx::query("lock table payments.archives in share row exclusive mode")
        .execute(&mut *conn)
        .await?;
    prepare(&mut *conn).await?;
    let known = sqlx::query!(
        r#"
        select
          coalesce(max(number), 0) as "last!",
          max(dated_before) as dated_before,
          (select encode(file_sha256, 'hex') from payments.archives order by number desc limit 1)
            as sha256,
          current_database()::text as "database!",
          clock_timestamp() as "now!",
          exists (select from queue.retention where held_back > 0) as "is_in_doubt!"
        from payments.archives
        "#
    )
    .fetch_one(&mut *conn)
    .await?;
    if known.is_in_doubt {
        return Err(MakingError::ClockInDoubt);
    }
    let cut = known.now - keep;
    let Some(dated_before) = end_of_next(conn, known.dated_before, cut, most).await? else {
        return Ok(None);
    };
    Ok(Some(Header {
        format: FORMAT.to_owned(),
        database: known.database,
        number: known.last + 1,
        dated_before,
        made_at: known.now,
        previous_sha256: known.sha256,
    }))
}

/// Settings for statements that read and delete many rows by their indexes.
async fn prepare(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "
        set local statement_timeout = '10min';
        set local enable_seqscan = off;
        set local enable_hashjoin = off;
        set local enable_mergejoin = off;
        ",
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The moment before which about `most` transfers are dated, and at most `cut`, where those before
/// `archived` are in archives.
async fn end_of_next(
    conn: &mut PgConnection,
    archived: Option<OffsetDateTime>,
    cut: OffsetDateTime,
    most: u32,
) -> sqlx::Result<Option<OffsetDateTime>> {
    // Transfers of orders stay, and are not walked through again for each archive.
    let start = archived.map_or(Uuid::nil(), |before| first_uuid_at(before - CLOCKS_DIFFER));
    let row = sqlx::query!(
        r#"
        with old as materialized (
          select created_at
          from payments.transfers_of_providers
          where id >= $4 and id < $1 and created_at < $2
          order by id
          limit $3::bigint + 1
        )
        select
          min(created_at) as first,
          (select created_at from old offset $3::bigint) as next
        from old
        "#,
        first_uuid_at(cut + CLOCKS_DIFFER),
        cut,
        i64::from(most),
        start,
    )
    .fetch_one(conn)
    .await?;
    // Ids of a few are not in the order of their dates, and many may have one date.
    let end = |first| row.next.map_or(cut, |next| next.max(first + Duration::MICROSECOND));
    Ok(row.first.map(end))
}

/// The number of transfers that are older than `keep`, to tell what there is to do.
///
/// # Errors
///
/// When the database refuses.
pub async fn count(conn: &mut PgConnection, keep: Duration) -> sqlx::Result<i64> {
    prepare(&mut *conn).await?;
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
    let cut = now.fetch_one(&mut *conn).await? - keep;
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from payments.transfers_of_providers
        where id < $1 and created_at < $2
        "#,
        first_uuid_at(cut + CLOCKS_DIFFER),
        cut,
    )
    .fetch_one(conn)
    .await
}

impl Making {
    /// Writes the archive's transfers and accounts into the file, and ends it.
    ///
    /// # Errors
    ///
    /// [`MakingError`].
    pub async fn write(
        conn: &mut PgConnection,
        header: Header,
        mut file: FileWriter,
    ) -> Result<(Self, WrittenFile), MakingError> {
        let mut making = Self { header, transfers: Vec::new(), accounts: BTreeMap::new() };
        file.write(&Line::Header(making.header.clone()))?;
        making.write_transfers(&mut *conn, &mut file).await?;
        if making.transfers.is_empty() {
            return Err(MakingError::NothingWhole);
        }
        making.open_accounts(conn).await?;
        for account in making.accounts.values() {
            file.write(&Line::Account(account.clone()))?;
        }
        file.write(&Line::End(End {
            transfers: making.transfers.len() as u64,
            accounts: making.accounts.len() as u64,
        }))?;
        let written = file.finish(&making.header)?;
        // What the ledger forgets is what a reader of the file finds.
        let proved = checking::check(&written.path)?;
        if proved.sha256 != written.sha256 {
            return Err(MakingError::Changed("its file is another"));
        }
        Ok((making, written))
    }

    /// The number of transfers.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.transfers.len()
    }

    /// The archive's number, and what else its file begins with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    async fn write_transfers(
        &mut self,
        conn: &mut PgConnection,
        file: &mut FileWriter,
    ) -> Result<(), MakingError> {
        let mut rows = sqlx::query!(
            r#"
            select
              transfer.id as "id!", transfer.transaction_id as number,
              transfer.amount as "amount!", transfer.currency as "currency!",
              transfer.created_at as "created_at!",
              transaction.transaction_id as "transaction_id?",
              source.account_id as source, source.account_version as source_version,
              source.balance_after as source_balance, transfer.source_name as "source_name!",
              destination.account_id as destination,
              destination.account_version as destination_version,
              destination.balance_after as destination_balance,
              transfer.destination_name as "destination_name!"
            from payments.transfers_of_providers as transfer
            join payments.entries as source
              on source.transfer_id = transfer.id
                and source.account_id = transfer.source_account_id
            join payments.entries as destination
              on destination.transfer_id = transfer.id
                and destination.account_id = transfer.destination_account_id
            left join payments.transactions as transaction
              on transaction.id = transfer.transaction_id
            where transfer.id < $1 and transfer.created_at < $2
            order by transfer.id
            "#,
            first_uuid_at(self.header.dated_before + CLOCKS_DIFFER),
            self.header.dated_before,
        )
        .fetch(conn);
        while let Some(row) = rows.try_next().await? {
            if self.transfers.len() >= MAX_TRANSFERS as usize {
                return Err(MakingError::TooMany);
            }
            let source = ArchivedEntry {
                account: row.source,
                version: row.source_version,
                balance_after: row.source_balance,
            };
            let destination = ArchivedEntry {
                account: row.destination,
                version: row.destination_version,
                balance_after: row.destination_balance,
            };
            self.enter(&source, -row.amount, &row.source_name, &row.currency);
            self.enter(&destination, row.amount, &row.destination_name, &row.currency);
            self.transfers.push(row.id);
            file.write(&Line::Transfer(ArchivedTransfer {
                id: row.id,
                transaction: row.number,
                transaction_id: row.transaction_id,
                amount: row.amount,
                currency: row.currency,
                at: row.created_at,
                source,
                destination,
            }))?;
        }
        Ok(())
    }

    /// Counts an entry in the opening of its account, which is corrected by what the account has
    /// carried forward, and keeps the newest one as the closing.
    fn enter(&mut self, entry: &ArchivedEntry, amount: Decimal, name: &str, currency: &str) {
        let closing = CarriedForward { version: entry.version, balance: entry.balance_after };
        let account = self.accounts.entry(entry.account).or_insert_with(|| ArchivedAccount {
            id: entry.account,
            name: name.to_owned(),
            currency: currency.to_owned(),
            opening: CarriedForward::default(),
            closing,
        });
        // Below zero until the end: the number of entries and their sum.
        account.opening.version -= 1;
        account.opening.balance -= amount;
        if closing.version > account.closing.version {
            account.closing = closing;
        }
    }

    /// Compares what comes before the entries of each account with what it has carried forward.
    async fn open_accounts(&mut self, conn: &mut PgConnection) -> Result<(), MakingError> {
        let ids: Vec<Uuid> = self.accounts.keys().copied().collect();
        let rows = sqlx::query!(
            "
            select account_id, version, balance
            from payments.carried_forward
            where account_id = any ($1)
            ",
            &ids,
        );
        let mut carried: BTreeMap<Uuid, CarriedForward> = BTreeMap::new();
        for row in rows.fetch_all(conn).await? {
            let forward = CarriedForward { version: row.version, balance: row.balance };
            carried.insert(row.account_id, forward);
        }
        for account in self.accounts.values_mut() {
            account.opening.version += account.closing.version;
            account.opening.balance += account.closing.balance;
            let carried = carried.get(&account.id).copied().unwrap_or_default();
            if account.opening != carried {
                return Err(MakingError::Gap(account.id));
            }
        }
        Ok(())
    }
}
