//! The stored part of the tree: all leaves, and the nodes above them on every eighth level.

use sqlx::PgConnection;

use super::merkle::{Frontier, Hash, Place, node_hash, peaks};

/// The nodes of every so many levels are stored, as in tlog-tiles: the others are computed from at
/// most 128 of them.
pub const STORED_LEVELS: u32 = 8;

/// The hash with these bytes. What somebody gave another length is no hash, and becomes that of
/// nothing.
pub(super) fn hash_of(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or_default()
}

/// A number of the tree as the database has it.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of the database as the tree has it.
pub(super) fn counted(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The frontier of the tree at this size.
///
/// # Errors
///
/// When the database refuses, or lacks a part of the tree.
pub async fn frontier(conn: &mut PgConnection, size: u64) -> sqlx::Result<Frontier> {
    Ok(Frontier::new(size, nodes(conn, &peaks(size)).await?))
}

/// The hashes of the nodes at these places.
///
/// # Errors
///
/// When the database refuses, or lacks a part of the tree.
pub async fn nodes(conn: &mut PgConnection, places: &[Place]) -> sqlx::Result<Vec<Hash>> {
    let mut hashes = Vec::with_capacity(places.len());
    for place in places {
        hashes.push(node(&mut *conn, *place).await?);
    }
    Ok(hashes)
}

async fn node(conn: &mut PgConnection, Place { level, index }: Place) -> sqlx::Result<Hash> {
    let stored_level = level - level % STORED_LEVELS;
    let above = level - stored_level;
    let (first, after) = (stored(index << above), stored((index + 1) << above));
    let rows = match stored_level {
        0 => {
            sqlx::query_scalar!(
                "
                select leaf_hash
                from audit.leaves
                where position >= $1 and position < $2
                order by position
                ",
                first,
                after,
            )
            .fetch_all(conn)
            .await?
        }
        _ => {
            sqlx::query_scalar!(
                "
                select hash
                from audit.subtrees
                where level = $1 and index >= $2 and index < $3
                order by index
                ",
                stored_level as i16,
                first,
                after,
            )
            .fetch_all(conn)
            .await?
        }
    };
    if rows.len() != 1 << above {
        return Err(sqlx::Error::RowNotFound);
    }
    let mut hashes: Vec<Hash> = rows.iter().map(|row| hash_of(row)).collect();
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    hashes.pop().ok_or(sqlx::Error::RowNotFound)
}
