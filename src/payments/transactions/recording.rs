//! Recording: the one place where it is decided whether a transaction is new, known or in conflict.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{NewTransaction, TransactionError};
use crate::ids::TransactionId;

/// The result of recording a [`NewTransaction`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// The transaction was not known, and is stored now. Exactly one of any number of deliveries
    /// gets this.
    New(TransactionId),
    /// The transaction was known, with the same content.
    Duplicate,
    /// The id was known with other content. The stored transaction is untouched; the conflict is
    /// kept.
    Conflict,
}

impl Recorded {
    /// The result in one word, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New(_) => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
        }
    }
}

/// Records all of these, each once, and says in their order what became of them.
///
/// However many there are, it takes one statement if all are new, one more if some were known, and
/// one more if there are conflicts.
///
/// # Errors
///
/// [`TransactionError::Database`]; the caller's transaction is then of no more use.
pub async fn record_many(
    conn: &mut PgConnection,
    transactions: &[&NewTransaction],
) -> Result<Vec<Recorded>, TransactionError> {
    let recording = Recording::of(transactions);
    let columns = recording.columns();
    let rows = sqlx::query!(
        r#"
        select transaction_id as "transaction_id!", id as "id!: TransactionId"
        from payments.record_unknown($1, $2, $3, $4, $5, $6)
        "#,
        &columns.transaction_ids as &[&str],
        &columns.source_accounts as &[&str],
        &columns.destination_accounts as &[&str],
        &columns.amounts,
        &columns.currencies as &[&str],
        &columns.bodies as &[&[u8]],
    )
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Inserted = rows.into_iter().map(|row| (row.transaction_id, row.id)).collect();
    match recording.outcomes_if_new(&inserted) {
        Some(outcomes) => Ok(outcomes),
        None => recording.outcomes(conn, &inserted).await,
    }
}

/// The numbers of those that were inserted, by the provider's id.
pub type Inserted = HashMap<String, TransactionId>;

/// The recording of transactions in its steps, for a statement that inserts more than them:
/// `payments.record_unknown` takes the [columns](Self::columns), and gives what it has inserted;
/// what became of each follows from that.
#[derive(Debug)]
pub struct Recording<'a> {
    transactions: &'a [&'a NewTransaction],
    firsts: Vec<&'a NewTransaction>,
}

/// The arguments of `payments.record_unknown`: the first transaction of each id, in the order of
/// the ids.
#[derive(Debug)]
pub struct Columns<'a> {
    pub transaction_ids: Vec<&'a str>,
    pub source_accounts: Vec<&'a str>,
    pub destination_accounts: Vec<&'a str>,
    pub amounts: Vec<Decimal>,
    pub currencies: Vec<&'a str>,
    pub bodies: Vec<&'a [u8]>,
}

impl<'a> Recording<'a> {
    /// The recording of these.
    pub fn of(transactions: &'a [&'a NewTransaction]) -> Self {
        Self { transactions, firsts: first_of_each_id(transactions) }
    }

    /// Those that are to be inserted, unless they are known.
    pub fn columns(&self) -> Columns<'a> {
        let column = |field: fn(&NewTransaction) -> &str| -> Vec<&'a str> {
            self.firsts.iter().map(|transaction| field(transaction)).collect()
        };
        Columns {
            transaction_ids: column(|it| &it.transaction_id),
            source_accounts: column(|it| &it.source_account),
            destination_accounts: column(|it| &it.destination_account),
            amounts: self.firsts.iter().map(|it| it.money.amount().as_decimal()).collect(),
            currencies: column(|it| it.money.currency().code()),
            bodies: self.firsts.iter().map(|it| it.body.as_ref()).collect(),
        }
    }

    /// The result of each, if all were inserted.
    pub fn outcomes_if_new(&self, inserted: &Inserted) -> Option<Vec<Recorded>> {
        let number = |it: &&NewTransaction| Recorded::New(inserted[&it.transaction_id]);
        let are_all_new = inserted.len() == self.transactions.len();
        are_all_new.then(|| self.transactions.iter().map(number).collect())
    }

    /// The result of each, by a statement that finds those that were not inserted, and one that
    /// keeps conflicts, if there are any.
    ///
    /// # Errors
    ///
    /// As [`record_many`].
    pub async fn outcomes(
        &self,
        conn: &mut PgConnection,
        inserted: &Inserted,
    ) -> Result<Vec<Recorded>, TransactionError> {
        let mut known = contents_of_others(conn, &self.firsts, inserted).await?;
        let mut outcomes = Vec::with_capacity(self.transactions.len());
        let mut conflicts = Vec::new();
        for transaction in self.transactions {
            let id = transaction.transaction_id.as_str();
            outcomes.push(match (known.get(id), inserted.get(id)) {
                (Some(content), _) if *content == Content::of(transaction) => Recorded::Duplicate,
                (Some(_), _) => {
                    conflicts.push(*transaction);
                    Recorded::Conflict
                }
                (None, Some(new)) => {
                    // What follows with the same id, within these, is measured against this one.
                    known.insert(id.to_owned(), Content::of(transaction));
                    Recorded::New(*new)
                }
                (None, None) => return Err(TransactionError::Vanished),
            });
        }
        keep_conflicts(conn, &conflicts).await?;
        Ok(outcomes)
    }
}

/// The content that must be the same for a second delivery to be a duplicate: the meaning of the
/// fields, not their spelling (`1000.0` is `1000.00`).
#[derive(PartialEq, Eq)]
struct Content {
    source_account: String,
    destination_account: String,
    amount: Decimal,
    currency: String,
}

impl Content {
    fn of(transaction: &NewTransaction) -> Self {
        Self {
            source_account: transaction.source_account.clone(),
            destination_account: transaction.destination_account.clone(),
            amount: transaction.money.amount().as_decimal(),
            currency: transaction.money.currency().code().to_owned(),
        }
    }
}

/// The first transaction of each id, in byte order of the ids: the order in which every caller
/// inserts.
fn first_of_each_id<'a>(transactions: &[&'a NewTransaction]) -> Vec<&'a NewTransaction> {
    let mut firsts = transactions.to_vec();
    // Stable, so of those with one id the first stays first.
    firsts.sort_by(|a, b| a.transaction_id.cmp(&b.transaction_id));
    firsts.dedup_by(|later, first| later.transaction_id == first.transaction_id);
    firsts
}

/// The stored contents of those that were not inserted, by id.
async fn contents_of_others(
    conn: &mut PgConnection,
    transactions: &[&NewTransaction],
    inserted: &Inserted,
) -> Result<HashMap<String, Content>, TransactionError> {
    let others: Vec<&str> = transactions
        .iter()
        .map(|it| it.transaction_id.as_str())
        .filter(|id| !inserted.contains_key(*id))
        .collect();
    if others.is_empty() {
        return Ok(HashMap::new());
    }
    // A statement of its own, after the insert: its snapshot sees the row that the insert waited
    // for.
    let rows = sqlx::query!(
        r#"
        select transaction_id, source_account, destination_account, amount, currency
        from payments.transactions
        where transaction_id = any($1)
        "#,
        &others as &[&str],
    )
    .fetch_all(conn)
    .await?;
    let contents = rows.into_iter().map(|row| {
        let content = Content {
            source_account: row.source_account,
            destination_account: row.destination_account,
            amount: row.amount,
            currency: row.currency,
        };
        (row.transaction_id, content)
    });
    Ok(contents.collect())
}

/// Keeps each distinct body once, and counts how often it came.
async fn keep_conflicts(
    conn: &mut PgConnection,
    conflicts: &[&NewTransaction],
) -> Result<(), TransactionError> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let mut conflicts: Vec<([u8; 32], &NewTransaction)> =
        conflicts.iter().map(|it| (Sha256::digest(&it.body).into(), *it)).collect();
    fn key<'a>((hash, it): &([u8; 32], &'a NewTransaction)) -> (&'a str, [u8; 32]) {
        (&it.transaction_id, *hash)
    }
    conflicts.sort_by_key(key);
    let same = conflicts.chunk_by(|one, other| key(one) == key(other));
    let counts: Vec<i64> = same.map(|same| same.len() as i64).collect();
    conflicts.dedup_by_key(|it| key(it));
    let hashes: Vec<&[u8]> = conflicts.iter().map(|(hash, _)| hash.as_slice()).collect();
    let conflicts: Vec<&NewTransaction> = conflicts.iter().map(|(_, it)| *it).collect();
    let column = |field: fn(&NewTransaction) -> &str| -> Vec<&str> {
        conflicts.iter().map(|conflict| field(conflict)).collect()
    };
    let bodies: Vec<&[u8]> = conflicts.iter().map(|it| it.body.as_ref()).collect();
    let amounts: Vec<Decimal> = conflicts.iter().map(|it| it.money.amount().as_decimal()).collect();
    sqlx::query!(
        r#"
        insert into payments.transaction_conflicts as kept
          (
            transaction_id, body_sha256, body, received_count, source_account,
            destination_account, amount, currency
          )
        select *
        from unnest(
          $1::text[], $2::bytea[], $3::bytea[], $4::bigint[], $5::text[], $6::text[],
          $7::numeric[], $8::text[]
        )
        on conflict on constraint transaction_conflicts_body_key do update
        set received_count = kept.received_count + excluded.received_count,
            last_seen_at = clock_timestamp()
        "#,
        &column(|it| &it.transaction_id) as &[&str],
        &hashes as &[&[u8]],
        &bodies as &[&[u8]],
        &counts,
        &column(|it| &it.source_account) as &[&str],
        &column(|it| &it.destination_account) as &[&str],
        &amounts,
        &column(|it| it.money.currency().code()) as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}
