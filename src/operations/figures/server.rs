//! The database server.

use sqlx::PgConnection;

use crate::metrics::instruments::{
    PG_CONNECTIONS, PG_CONNECTIONS_MAX, PG_DATABASE_SIZE, PG_DEAD_ROWS, PG_LIVE_ROWS,
    PG_REPLICATION_LAG, PG_TRANSACTIONS, PG_XMIN_AGE,
};
use crate::metrics::{Family, Point};
use crate::operations::health::horizon;

/// Sessions by state, and the oldest transaction that holds back vacuum: of sessions of this
/// database, of prepared transactions, and of walsenders whose standby says so.
pub(super) async fn sessions(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let states = sqlx::query!(
        r#"
        select coalesce(state, 'unknown') as "state!", count(*) as "sessions!"
        from pg_stat_activity
        where backend_type = 'client backend'
        group by 1
        "#
    )
    .fetch_all(&mut *conn)
    .await?;
    let row = sqlx::query!(
        r#"
        select
          current_setting('max_connections')::float8 as "max!",
          coalesce(
            (select extract(epoch from max(clock_timestamp() - prepared)) from pg_prepared_xacts), 0
          )::float8 as "prepared_secs!"
        "#
    )
    .fetch_one(&mut *conn)
    .await?;
    let holders = horizon::holders(conn).await?;
    let xmin_secs = holders.iter().map(|holder| holder.secs).fold(row.prepared_secs, f64::max);
    let points = states.iter().map(|row| {
        let state = row.state.replace(' ', "_").replace(['(', ')'], "");
        Point::of(&[&state], row.sessions as f64)
    });
    Ok(vec![
        Family::new(&PG_CONNECTIONS, points.collect()),
        Family::single(&PG_CONNECTIONS_MAX, row.max),
        Family::single(&PG_XMIN_AGE, xmin_secs),
    ])
}

/// The ten tables with the most dead rows, partitions apart: these are written once.
pub(super) async fn tables(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let tables = sqlx::query!(
        r#"
        select
          format('%s.%s', schemaname, pg_stat_user_tables.relname) as "name!",
          n_dead_tup as "dead!", n_live_tup as "live!"
        from pg_stat_user_tables
        join pg_class on pg_class.oid = relid
        where not relispartition
        order by n_dead_tup desc, 1
        limit 10
        "#
    )
    .fetch_all(conn)
    .await?;
    let dead = tables.iter().map(|table| Point::of(&[&table.name], table.dead as f64));
    let live = tables.iter().map(|table| Point::of(&[&table.name], table.live as f64));
    Ok(vec![Family::new(&PG_DEAD_ROWS, dead.collect()), Family::new(&PG_LIVE_ROWS, live.collect())])
}

pub(super) async fn database(conn: &mut PgConnection) -> Result<Vec<Family>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select
          pg_database_size(oid)::float8 as "bytes!",
          xact_commit as "committed!", xact_rollback as "rolled_back!",
          coalesce(
            (
              select max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))
              from pg_stat_replication
              where not pg_is_in_recovery()
            ),
            0
          )::float8 as "lag_bytes!"
        from pg_database
        join pg_stat_database on datid = oid
        where pg_database.datname = current_database()
        "#
    )
    .fetch_one(conn)
    .await?;
    let transactions = vec![
        Point::of(&["committed"], row.committed as f64),
        Point::of(&["rolled_back"], row.rolled_back as f64),
    ];
    Ok(vec![
        Family::single(&PG_DATABASE_SIZE, row.bytes),
        Family::new(&PG_TRANSACTIONS, transactions),
        Family::single(&PG_REPLICATION_LAG, row.lag_bytes),
    ])
}
