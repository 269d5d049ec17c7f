//! Heads: the root of the tree after each batch, as it is kept, exported and read again.
//!
//! A head is one line of JSON with its fields in the order of their names, and `previous` is the
//! SHA-256 of the line before. So a chain of lines can be checked with `sha256sum` alone, and no
//! head, its time included, can be altered without altering all that follow.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::merkle::Hash;
use super::tree::{counted, hash_of, stored};

/// The size of a tree and its root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The moment at which it was made, in RFC 3339, in UTC.
    pub at: String,
    /// SHA-256 of the line of the head before; of the first one 64 zeros.
    #[serde(with = "hex")]
    pub previous: Hash,
    /// The root of the tree.
    #[serde(with = "hex")]
    pub root: Hash,
    /// The number of entries in the tree.
    pub size: u64,
}

/// The most characters of a line that can be a head.
pub const MAX_LINE_CHARS: usize = 400;

impl Head {
    /// The line that is exported, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }

    /// The `previous` of the next head.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.line()).into()
    }

    /// The head that a line holds.
    ///
    /// # Errors
    ///
    /// When it holds none.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// A head as it is stored.
struct Row {
    size: i64,
    root: Vec<u8>,
    at: String,
    previous: Vec<u8>,
}

impl From<Row> for Head {
    fn from(row: Row) -> Self {
        Self {
            at: row.at,
            previous: hash_of(&row.previous),
            root: hash_of(&row.root),
            size: counted(row.size),
        }
    }
}

/// The newest head; none while nothing is sealed.
///
/// # Errors
///
/// When the database refuses.
pub async fn newest(conn: &mut PgConnection) -> sqlx::Result<Option<Head>> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select
          size, root, previous,
          coalesce(to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '') as "at!"
        from audit.heads
        order by size desc
        limit 1
        "#,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Head::from))
}

/// The head of exactly this size, if there is one.
///
/// # Errors
///
/// When the database refuses.
pub async fn find(conn: &mut PgConnection, size: u64) -> sqlx::Result<Option<Head>> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select
          size, root, previous,
          coalesce(to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '') as "at!"
        from audit.heads
        where size = $1
        "#,
        stored(size),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Head::from))
}

/// The heads larger than `above` and at most as large as `size`, the smallest first.
pub(super) async fn within(
    conn: &mut PgConnection,
    above: u64,
    size: u64,
) -> sqlx::Result<Vec<Head>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
          size, root, previous,
          coalesce(to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '') as "at!"
        from audit.heads
        where size > $1 and size <= $2
        order by size
        "#,
        stored(above),
        stored(size),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Head::from).collect())
}

/// Keeps the head of a tree that has grown to this size.
pub(super) async fn add(
    conn: &mut PgConnection,
    size: u64,
    root: &Hash,
    previous: &Hash,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into audit.heads (size, root, previous) values ($1, $2, $3)",
        stored(size),
        root.as_slice(),
        previous.as_slice(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_one_line_that_is_read_back_and_nothing_else_is_a_head() {
        let head = Head {
            at: "2026-11-29T01:02:03.000004Z".to_owned(),
            previous: [0; 32],
            root: [0xab; 32],
            size: 10_000,
        };
        let line = head.line();
        let (zeros, root) = ("0".repeat(64), "ab".repeat(32));
        let expected = format!(
            "{{\"at\":\"2026-11-29T01:02:03.000004Z\",\"previous\":\"{zeros}\",\
             \"root\":\"{root}\",\"size\":10000}}"
        );
        assert_eq!(line, expected);
        assert!(line.len() < MAX_LINE_CHARS);
        assert_eq!(Head::parse(&line).expect("it is ours"), head);
        for wrong in ["", "{}", "[]", &line[..100], &line.replace("10000", "-1")] {
            assert!(Head::parse(wrong).is_err(), "{wrong}");
        }
    }
}
