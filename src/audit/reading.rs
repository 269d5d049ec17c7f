//! Reading: lists of entries by a filter.

use std::collections::HashMap;

use sqlx::{PgConnection, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use super::entries::{Entry, Subject};
use super::tree::{counted, stored};

/// The filter of [`list`]; every part that is set must match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// The actor: all of it, as in `cli:ada`.
    pub actor: Option<String>,
    /// The action, or with a dot at its end all actions that begin with it: `queue.`.
    pub action: Option<String>,
    /// The sort of the subject.
    pub subject_kind: Option<String>,
    /// The name of the subject.
    pub subject_id: Option<String>,
    /// The earliest time.
    pub since: Option<OffsetDateTime>,
    /// The time before which it was.
    pub until: Option<OffsetDateTime>,
    /// True for what people and machines did, and not what the program did by itself.
    pub callers_only: bool,
    /// Of these also true for what was done at pages that ask for no sign-in, which no index knows:
    /// for a small log, of one who tries things out.
    pub local_pages_too: bool,
}

/// Entries that [`pace`] looks at, the newest ones.
const EXAMINED: i64 = 5_000;

/// The number of entries with each action in a minute: the last one, or at the pace of the newest
/// 5,000 entries if those took less.
///
/// # Errors
///
/// When the database refuses.
pub async fn pace(conn: &mut PgConnection) -> Result<HashMap<String, f64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with newest as materialized (
          select action, at from audit.entries order by seq desc limit $1
        ),
        told as (
          select
            count(*) = $1 and min(at) > now() - interval '1 minute' as is_cut,
            greatest(extract(epoch from now() - min(at))::float8, 0.001) as over_secs
          from newest
        )
        select
          action,
          count(*) * case when is_cut then 60 / over_secs else 1 end as "per_minute!"
        from newest
        cross join told
        where at > now() - interval '1 minute'
        group by action, is_cut, over_secs
        "#,
        EXAMINED,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.action, row.per_minute)).collect())
}

/// The columns of an [`Entry`].
const COLUMNS: &str = r#"
  entry.seq, entry.id,
  coalesce(
    to_char(entry.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), entry.at::text
  ) as at,
  entry.actor, entry.action, entry.subject_kind, entry.subject_id, host(entry.address) as address,
  entry.request_id, entry.trace_id, entry.reason, entry.before, entry.after, entry.data
"#;

/// An entry with its position; [`Entry`] itself has its fields in another order, to be hashed.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) seq: i64,
    id: Uuid,
    at: String,
    actor: String,
    action: String,
    subject_kind: String,
    subject_id: String,
    address: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    reason: Option<String>,
    before: Option<String>,
    after: Option<String>,
    data: Option<String>,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            action: row.action,
            actor: row.actor,
            address: row.address,
            after: row.after,
            at: row.at,
            before: row.before,
            data: row.data,
            id: row.id,
            reason: row.reason,
            request_id: row.request_id,
            seq: row.seq,
            subject_id: row.subject_id,
            subject_kind: row.subject_kind,
            trace_id: row.trace_id,
        }
    }
}

/// The beginning of a statement that selects entries, with further columns.
pub(super) fn select(columns: &str) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("select ");
    query.push(COLUMNS).push(columns);
    query
}

/// The newest `limit` entries that match, newest first; with `before`, only those with a lower
/// number.
///
/// An entry that commits late appears among others that are listed already.
///
/// # Errors
///
/// When the database refuses.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<i64>,
    limit: u16,
) -> sqlx::Result<Vec<Entry>> {
    let mut query = select(" from audit.entries as entry where true");
    push_filter(&mut query, filter);
    if let Some(before) = before {
        query.push(" and entry.seq < ").push_bind(before);
    }
    query.push(" order by entry.seq desc limit ").push_bind(i64::from(limit));
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// The most entries that one page of [`browse`] looks at, however few of them match.
const MAX_LOOKED_AT: i64 = 5_000;

/// The newest entries that match, at most `limit` of those with a number below `before`, and the
/// number that the next page goes on below; none if there is no next page. A page looks at a
/// bounded number of entries, so that it may be empty and still say where to go on.
///
/// # Errors
///
/// When the database refuses.
pub async fn browse(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<i64>,
    limit: u16,
) -> sqlx::Result<(Vec<Entry>, Option<i64>)> {
    let bound = match is_indexed(filter) {
        true => None,
        false => nth_below(&mut *conn, before).await?,
    };
    let mut query = select(" from audit.entries as entry where true");
    push_filter(&mut query, filter);
    query.push(" and entry.seq < ").push_bind(before.unwrap_or(i64::MAX));
    query.push(" and entry.seq >= ").push_bind(bound.unwrap_or_default());
    // The index of callers is in the order of their names: it is read and sorted, as a walk down
    // the numbers would pass all that the program has written.
    let is_sorted = filter.callers_only && !filter.local_pages_too;
    let order = if is_sorted { "entry.seq + 0" } else { "entry.seq" };
    query.push(" order by ").push(order).push(" desc limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    let has_more = rows.len() > usize::from(limit);
    let entries: Vec<Entry> = rows.into_iter().take(limit.into()).map(Entry::from).collect();
    let next = match has_more {
        true => entries.last().map(|entry| entry.seq),
        false => bound,
    };
    Ok((entries, next))
}

/// Tells if an index leads to few more entries than match.
fn is_indexed(filter: &Filter) -> bool {
    (filter.callers_only && !filter.local_pages_too)
        || filter.actor.as_deref().is_some_and(is_caller)
        || (filter.subject_kind.is_some() && filter.subject_id.is_some())
}

/// The number of the last entry that a page looks at; none if there are not as many.
async fn nth_below(conn: &mut PgConnection, before: Option<i64>) -> sqlx::Result<Option<i64>> {
    let nth = sqlx::query_scalar::<_, i64>(
        "select seq from audit.entries where seq < $1 order by seq desc offset $2 limit 1",
    );
    nth.bind(before.unwrap_or(i64::MAX)).bind(MAX_LOOKED_AT - 1).fetch_optional(conn).await
}

/// Tells if this is a person or a machine, of whose entries there is an index.
fn is_caller(actor: &str) -> bool {
    ["cli:", "user", "key:"].iter().any(|prefix| actor.starts_with(prefix))
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(actor) = &filter.actor {
        query.push(" and entry.actor = ").push_bind(actor);
    }
    if filter.callers_only && filter.local_pages_too {
        query.push(" and left(entry.actor, 4) in ('cli:', 'user', 'key:', 'page')");
    } else if filter.callers_only || filter.actor.as_deref().is_some_and(is_caller) {
        // As the index `entries_of_callers` says it: only that makes it eligible.
        query.push(" and left(entry.actor, 4) in ('cli:', 'user', 'key:')");
    }
    if let Some(action) = &filter.action {
        match action.ends_with('.') {
            true => query.push(" and starts_with(entry.action, ").push_bind(action).push(")"),
            false => query.push(" and entry.action = ").push_bind(action),
        };
    }
    if let (Some(kind), Some(id)) = (&filter.subject_kind, &filter.subject_id) {
        // Of what is sealed, the leaves know by an index; the rest is little.
        let number = Subject::new(kind, id).number();
        query
            .push(" and entry.seq = any(array(select entry_seq from audit.leaves where subject = ");
        query.push_bind(number);
        query.push(" union all select seq from audit.unsealed()))");
    }
    if let Some(kind) = &filter.subject_kind {
        query.push(" and entry.subject_kind = ").push_bind(kind);
    }
    if let Some(id) = &filter.subject_id {
        query.push(" and entry.subject_id = ").push_bind(id);
    }
    if let Some(since) = filter.since {
        query.push(" and entry.at >= ").push_bind(since);
    }
    if let Some(until) = filter.until {
        query.push(" and entry.at < ").push_bind(until);
    }
}

/// The entry with this number, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, seq: i64) -> sqlx::Result<Option<Entry>> {
    let mut query = select(" from audit.entries as entry where entry.seq = ");
    let row: Option<Row> = query.push_bind(seq).build_query_as().fetch_optional(conn).await?;
    Ok(row.map(Entry::from))
}

/// The entries with these numbers that are there, by number.
pub(super) async fn find_many(
    conn: &mut PgConnection,
    numbers: &[i64],
) -> sqlx::Result<HashMap<i64, Entry>> {
    let mut query = select(" from audit.entries as entry where entry.seq = any(");
    query.push_bind(numbers).push(")");
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.seq, row.into())).collect())
}

/// A sealed entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Its position in the tree.
    pub position: u64,
    /// The entry.
    pub entry: Entry,
}

/// The sealed entries about a subject, the earliest first: at most `limit` of those in the tree of
/// this size.
///
/// # Errors
///
/// When the database refuses.
pub async fn sealed_about(
    conn: &mut PgConnection,
    subject: &Subject,
    size: u64,
    limit: u16,
) -> sqlx::Result<Vec<Sealed>> {
    let mut query = select(
        ", leaf.position from audit.leaves as leaf join audit.entries as entry \
         on entry.seq = leaf.entry_seq where leaf.subject = ",
    );
    query.push_bind(subject.number());
    query.push(" and entry.subject_kind = ").push_bind(&subject.kind);
    query.push(" and entry.subject_id = ").push_bind(&subject.id);
    query.push(" and leaf.position < ").push_bind(stored(size));
    query.push(" order by leaf.position limit ").push_bind(i64::from(limit));
    let rows: Vec<SealedRow> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(Sealed::from).collect())
}

#[derive(sqlx::FromRow)]
struct SealedRow {
    position: i64,
    #[sqlx(flatten)]
    entry: Row,
}

impl From<SealedRow> for Sealed {
    fn from(row: SealedRow) -> Self {
        Self { position: counted(row.position), entry: row.entry.into() }
    }
}
