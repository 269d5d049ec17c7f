//! Removing an archive's transfers from the ledger.
//!
//! In this order, which the database holds it to: the archive is recorded, accounts carry their
//! balances forward, entries go, and then the transfers that have none any more.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::format::WrittenFile;
use super::making::{Making, MakingError};

impl Making {
    /// Records the archive, and removes its transfers and their entries from the ledger. The caller
    /// commits.
    ///
    /// # Errors
    ///
    /// [`MakingError`].
    pub async fn remove(
        &self,
        conn: &mut PgConnection,
        file: &WrittenFile,
    ) -> Result<(), MakingError> {
        self.record(&mut *conn, file).await?;
        self.carry_forward(&mut *conn).await?;
        let entries = self.remove_entries(&mut *conn).await?;
        if entries != 2 * self.transfers.len() as u64 {
            return Err(MakingError::Changed("its entries are others"));
        }
        let transfers =
            sqlx::query!("delete from payments.transfers where id = any ($1)", &self.transfers)
                .execute(conn)
                .await?;
        match transfers.rows_affected() == self.transfers.len() as u64 {
            true => Ok(()),
            false => Err(MakingError::Changed("its transfers are others")),
        }
    }

    async fn record(&self, conn: &mut PgConnection, file: &WrittenFile) -> sqlx::Result<()> {
        sqlx::query!(
            "
            insert into payments.archives
              (number, dated_before, transfers, file_name, file_sha256, made_at)
            values ($1, $2, $3, $4, $5, $6)
            ",
            self.header.number,
            self.header.dated_before,
            self.transfers.len() as i64,
            file.name,
            &file.sha256,
            self.header.made_at,
        )
        .execute(&mut *conn)
        .await?;
        sqlx::query!(
            "
            insert into payments.archived_transactions (first, last, archive)
            select lower(numbers), upper(numbers) - 1, $1
            from (
              select range_agg(int8range(transaction_id, transaction_id, '[]')) as all_numbers
              from payments.transfers
              where id = any ($2) and transaction_id is not null
            ) as settled
            cross join unnest(all_numbers) as numbers
            ",
            self.header.number,
            &self.transfers,
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn carry_forward(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let ids: Vec<Uuid> = self.accounts.keys().copied().collect();
        let versions: Vec<i64> = self.accounts.values().map(|it| it.closing.version).collect();
        let balances: Vec<Decimal> = self.accounts.values().map(|it| it.closing.balance).collect();
        sqlx::query!(
            "
            insert into payments.carried_forward (account_id, version, balance, archive)
            select *, $4 from unnest($1::uuid[], $2::bigint[], $3::numeric[])
            on conflict (account_id) do update
            set version = excluded.version, balance = excluded.balance, archive = excluded.archive
            ",
            &ids,
            &versions,
            &balances,
            self.header.number,
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn remove_entries(&self, conn: &mut PgConnection) -> sqlx::Result<u64> {
        let ids: Vec<Uuid> = self.accounts.keys().copied().collect();
        let after: Vec<i64> = self.accounts.values().map(|it| it.opening.version).collect();
        let until: Vec<i64> = self.accounts.values().map(|it| it.closing.version).collect();
        let removed = sqlx::query!(
            "
            delete from payments.entries as entry
            using unnest($1::uuid[], $2::bigint[], $3::bigint[])
              as archived (account_id, after, until)
            where entry.account_id = archived.account_id
              and entry.account_version > archived.after
              and entry.account_version <= archived.until
            ",
            &ids,
            &after,
            &until,
        )
        .execute(conn)
        .await?;
        Ok(removed.rows_affected())
    }
}
