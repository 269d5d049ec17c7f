//! Retention of events, and the readers that hold it up.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// Drops events that happened more than `keep_days` days ago, among the next `limit` after the one
/// of this number: those that every reader has taken and of which no delivery is left. The database
/// itself refuses to drop others, and any of the last thirty days. While the queue's history is
/// held back because the clock is in doubt, none is dropped. Gives the number of those dropped, and
/// the last event that was looked at; none when all those behind it are kept.
///
/// # Errors
///
/// When the database refuses.
pub async fn prune(
    conn: &mut PgConnection,
    keep_days: u16,
    after: i64,
    limit: u16,
) -> sqlx::Result<(i64, Option<i64>)> {
    let row = sqlx::query!(
        r#"
        with kept as materialized (select queue.old_before($1) as since),
        looked_at as materialized (
          select seq, xid, occurred_at from events.events where seq > $2 order by seq limit $3
        ),
        pruned as (
          delete from events.events
          using looked_at, kept
          where events.seq = looked_at.seq
            and looked_at.occurred_at < kept.since
            and not events.is_needed(looked_at.seq, looked_at.xid)
          returning events.seq
        )
        select
          (select count(*) from pruned) as "pruned!",
          max(seq) filter (where occurred_at < (select since from kept)) as last
        from looked_at
        "#,
        i32::from(keep_days),
        after,
        i64::from(limit),
    )
    .fetch_one(conn)
    .await?;
    Ok((row.pruned, row.last))
}

/// Drops snapshots that every reader has passed, at most `limit`; all of them when there is no
/// reader. Gives their number.
///
/// # Errors
///
/// When the database refuses.
pub async fn prune_snapshots(conn: &mut PgConnection, limit: u16) -> sqlx::Result<u64> {
    let pruned = sqlx::query!(
        "
        delete from events.snapshots
        where seq in (
          select seq
          from events.snapshots
          -- By index, and no further than the last of the readers: one that was stopped long ago
          -- may have millions before it.
          where pg_snapshot_xmax(snapshot) <= coalesce(
            (select pg_snapshot_xmax(seen) from events.readers order by 1 limit 1),
            '9223372036854775807'
          )
          order by pg_snapshot_xmax(snapshot)
          limit $1
        )
        ",
        i64::from(limit),
    );
    Ok(pruned.execute(conn).await?.rows_affected())
}

/// A reader that has events before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingReader {
    /// Its name.
    pub name: String,
    /// The moment of the first event that it has not taken.
    pub since: OffsetDateTime,
}

/// The readers that have events before them, those of the oldest first; at most `limit`.
///
/// # Errors
///
/// When the database refuses.
pub async fn waiting_readers(
    conn: &mut PgConnection,
    limit: u16,
) -> sqlx::Result<Vec<WaitingReader>> {
    sqlx::query_as!(
        WaitingReader,
        r#"
        select reader.name, event.occurred_at as "since!"
        from events.readers as reader
        cross join lateral (
          select occurred_at
          from events.events
          where xid >= pg_snapshot_xmax(reader.seen)
          order by xid
          limit 1
        ) as event
        order by event.occurred_at, reader.name
        limit $1
        "#,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}
