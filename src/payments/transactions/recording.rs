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
/// one more if there are conflicts. Rows are written in order of their ids, so two callers with
/// overlapping ids wait for each other but never in a circle. A row that another open transaction
/// is inserting is waited for.
///
/// # Errors
///
/// [`TransactionError::Database`]; the caller's transaction is then of no more use.
pub async fn record_many(
    conn: &mut PgConnection,
    transactions: &[&NewTransaction],
) -> Result<Vec<Recorded>, TransactionError> {
    let firsts = first_of_each_id(transactions);
    let inserted = insert_unknown(conn, &firsts).await?;
    let mut outcomes = vec![Recorded::Duplicate; transactions.len()];
    if inserted.len() == transactions.len() {
        for (outcome, transaction) in outcomes.iter_mut().zip(transactions) {
            *outcome = Recorded::New(inserted[&transaction.transaction_id]);
        }
        return Ok(outcomes);
    }

    let mut known = contents_of_others(conn, &firsts, &inserted).await?;
    let mut conflicts = Vec::new();
    for (outcome, transaction) in outcomes.iter_mut().zip(transactions) {
        let id = transaction.transaction_id.as_str();
        *outcome = match (known.get(id), inserted.get(id)) {
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
        };
    }
    keep_conflicts(conn, &conflicts).await?;
    Ok(outcomes)
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

/// Inserts those whose id is not taken, and gives their numbers by id.
async fn insert_unknown(
    conn: &mut PgConnection,
    transactions: &[&NewTransaction],
) -> Result<HashMap<String, TransactionId>, TransactionError> {
    let column = |field: fn(&NewTransaction) -> &str| -> Vec<&str> {
        transactions.iter().map(|transaction| field(transaction)).collect()
    };
    let amounts: Vec<Decimal> =
        transactions.iter().map(|it| it.money.amount().as_decimal()).collect();
    let bodies: Vec<&[u8]> = transactions.iter().map(|it| it.body.as_ref()).collect();
    let rows = sqlx::query!(
        r#"
        insert into payments.transactions
          (transaction_id, source_account, destination_account, amount, currency, body)
        select *
        from unnest($1::text[], $2::text[], $3::text[], $4::numeric[], $5::text[], $6::bytea[])
        on conflict (transaction_id) do nothing
        returning id as "id: TransactionId", transaction_id
        "#,
        &column(|it| &it.transaction_id) as &[&str],
        &column(|it| &it.source_account) as &[&str],
        &column(|it| &it.destination_account) as &[&str],
        &amounts,
        &column(|it| it.money.currency().code()) as &[&str],
        &bodies as &[&[u8]],
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.transaction_id, row.id)).collect())
}

/// The stored contents of those that were not inserted, by id.
async fn contents_of_others(
    conn: &mut PgConnection,
    transactions: &[&NewTransaction],
    inserted: &HashMap<String, TransactionId>,
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
