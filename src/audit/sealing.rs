//! Sealing: giving committed entries their positions in the tree, in batches.
//!
//! One process seals at a time, by the lock of one row; the others find it taken and go on. A batch
//! is one transaction, so a process that dies leaves nothing half done. The numbers of entries say
//! in which order they were written and nothing of the order of their commits, so those that were
//! missing are looked for again until nothing can appear there: see [`gaps`](super::gaps). Nothing
//! in that depends on what transactions were numbered before a dump was restored elsewhere: entries
//! are found by their own numbers, and a bound that means nothing there at worst keeps a gap open.

use sqlx::PgConnection;

use super::entries::Entry;
use super::gaps::{Gap, Progress};
use super::heads::{self, Head};
use super::merkle::{Frontier, Hash};
use super::reading;
use super::tree::{self, STORED_LEVELS, stored};

/// The most entries of a batch: some tens of milliseconds, and a few megabytes.
pub const MAX_BATCH: u16 = 5_000;

/// The result of a look at the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seal {
    /// There was nothing to seal.
    Nothing,
    /// Another process is sealing.
    Taken,
    /// Entries were sealed.
    Sealed {
        /// The number of entries; with [`MAX_BATCH`] there may be more.
        entries: usize,
        /// The tree from now on.
        size: u64,
    },
}

/// Tells if a [`seal`] may have something to do. Reads two rows.
///
/// # Errors
///
/// When the database refuses.
pub async fn is_due(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let is_due = sqlx::query_scalar!(
        r#"
        select exists (select from audit.entries where seq > sealer.top)
          or cardinality(sealer.gap_first) > 0 as "is_due!"
        from audit.sealer
        "#,
    );
    Ok(is_due.fetch_optional(conn).await?.unwrap_or(false))
}

/// Seals what has committed and is not sealed, at most [`MAX_BATCH`] entries. To be called in a
/// transaction of its own, which is committed then.
///
/// # Errors
///
/// When the database refuses, or lacks a part of the tree; nothing may be committed then.
pub async fn seal(conn: &mut PgConnection) -> sqlx::Result<Seal> {
    let Some(mut progress) = lock(&mut *conn).await? else { return Ok(Seal::Taken) };
    let before = progress.clone();
    // Statements of their own and in this order: whoever ended before `oldest` was read is seen by
    // what follows, and `own` was drawn after the transaction that found the gaps had ended.
    let horizon = horizon(&mut *conn).await?;
    progress.bound_by(horizon.own);

    let limit = i64::from(MAX_BATCH);
    let mut entries = late(&mut *conn, &progress, limit).await?;
    let appeared: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    progress.fill(&appeared);
    if appeared.len() < usize::from(MAX_BATCH) {
        progress.close_before(horizon.oldest);
    }
    let left = limit - stored(appeared.len() as u64);
    let new = after(&mut *conn, progress.top, left).await?;
    progress.advance(&new.iter().map(|entry| entry.seq).collect::<Vec<_>>());
    entries.extend(new);

    if progress != before {
        store(&mut *conn, &progress).await?;
    }
    if entries.is_empty() {
        return Ok(Seal::Nothing);
    }
    let size = append(conn, &entries).await?;
    Ok(Seal::Sealed { entries: entries.len(), size })
}

/// The numbers of transactions at a moment.
struct Horizon {
    /// The number of this transaction.
    own: i64,
    /// All before this one have ended.
    oldest: i64,
}

/// The progress of sealing, locked; none while another process has the lock.
async fn lock(conn: &mut PgConnection) -> sqlx::Result<Option<Progress>> {
    let row = sqlx::query!(
        "select top, gap_first, gap_last, gap_bound from audit.sealer for update skip locked"
    );
    let Some(row) = row.fetch_optional(conn).await? else { return Ok(None) };
    let gaps = row.gap_first.iter().zip(&row.gap_last).zip(&row.gap_bound);
    let gaps = gaps.map(|((first, last), bound)| Gap { first: *first, last: *last, bound: *bound });
    Ok(Some(Progress { top: row.top, gaps: gaps.collect() }))
}

async fn horizon(conn: &mut PgConnection) -> sqlx::Result<Horizon> {
    sqlx::query_as!(
        Horizon,
        r#"
        select
          pg_current_xact_id()::text::bigint as "own!",
          pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "oldest!"
        "#,
    )
    .fetch_one(conn)
    .await
}

/// Entries that have appeared in gaps, by their numbers. Gap by gap: as a join with a limit, the
/// planner would as soon read all entries in their order and look for a gap around each.
async fn late(
    conn: &mut PgConnection,
    progress: &Progress,
    limit: i64,
) -> sqlx::Result<Vec<Entry>> {
    if progress.gaps.is_empty() {
        return Ok(Vec::new());
    }
    let (first, last): (Vec<i64>, Vec<i64>) =
        progress.gaps.iter().map(|gap| (gap.first, gap.last)).unzip();
    let mut query = reading::select(" from unnest(");
    query.push_bind(first).push("::bigint[], ").push_bind(last);
    query.push(
        "::bigint[]) as gap (first, last) cross join lateral ( \
           select * from audit.entries where seq between gap.first and gap.last \
           order by seq limit ",
    );
    query.push_bind(limit).push(") as entry order by entry.seq limit ").push_bind(limit);
    let rows: Vec<reading::Row> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// Entries with higher numbers, by their numbers.
async fn after(conn: &mut PgConnection, top: i64, limit: i64) -> sqlx::Result<Vec<Entry>> {
    let mut query = reading::select(" from audit.entries as entry where entry.seq > ");
    query.push_bind(top).push(" order by entry.seq limit ").push_bind(limit);
    let rows: Vec<reading::Row> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

async fn store(conn: &mut PgConnection, progress: &Progress) -> sqlx::Result<()> {
    let column = |of: fn(&Gap) -> i64| -> Vec<i64> { progress.gaps.iter().map(of).collect() };
    sqlx::query!(
        "update audit.sealer set top = $1, gap_first = $2, gap_last = $3, gap_bound = $4",
        progress.top,
        &column(|gap| gap.first),
        &column(|gap| gap.last),
        &column(|gap| gap.bound),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds the entries to the tree, and gives its size.
async fn append(conn: &mut PgConnection, entries: &[Entry]) -> sqlx::Result<u64> {
    let newest = heads::newest(&mut *conn).await?;
    let size = newest.as_ref().map_or(0, |head| head.size);
    let mut tree: Frontier = tree::frontier(&mut *conn, size).await?;
    let mut subtrees = Vec::new();
    let mut leaves = Vec::with_capacity(entries.len());
    for entry in entries {
        let leaf = entry.leaf_hash();
        leaves.push((tree.size(), entry, leaf));
        tree.push(leaf, |place, hash| {
            if place.level % STORED_LEVELS == 0 {
                subtrees.push((place, hash));
            }
        });
    }
    add_leaves(&mut *conn, &leaves).await?;
    sqlx::query!(
        "
        insert into audit.subtrees (level, index, hash)
        select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
        ",
        &subtrees.iter().map(|(place, _)| place.level as i16).collect::<Vec<_>>(),
        &subtrees.iter().map(|(place, _)| stored(place.index)).collect::<Vec<_>>(),
        &subtrees.iter().map(|(_, hash)| hash.as_slice()).collect::<Vec<_>>() as &[&[u8]],
    )
    .execute(&mut *conn)
    .await?;
    let previous = newest.as_ref().map(Head::hash).unwrap_or_default();
    heads::add(conn, tree.size(), &tree.root(), &previous).await?;
    Ok(tree.size())
}

async fn add_leaves(conn: &mut PgConnection, leaves: &[(u64, &Entry, Hash)]) -> sqlx::Result<()> {
    sqlx::query!(
        "
        insert into audit.leaves (position, entry_seq, leaf_hash, subject)
        select * from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[])
        ",
        &leaves.iter().map(|(position, _, _)| stored(*position)).collect::<Vec<_>>(),
        &leaves.iter().map(|(_, entry, _)| entry.seq).collect::<Vec<_>>(),
        &leaves.iter().map(|(_, _, hash)| hash.as_slice()).collect::<Vec<_>>() as &[&[u8]],
        &leaves.iter().map(|(_, entry, _)| entry.subject().number()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
