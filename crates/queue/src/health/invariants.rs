//! Invariants: what holds in the database at every moment, each written as the query that finds
//! what breaks it.
//!
//! The queue lists its own; an application adds those of its tables, and those that join the two,
//! and checks all in one snapshot.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;

use crate::moments::first_uuid_at;

/// Sample rows shown of those that break an invariant.
pub const MAX_SAMPLES: i64 = 5;

/// Something that holds at every moment, also while everything runs.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// A stable name, for scripts.
    pub name: &'static str,
    /// The statement that holds.
    pub claim: &'static str,
    /// The guarantees of the design that fall with it, by number, or a word.
    pub protects: &'static str,
    /// The place to look at when it is broken.
    pub hint: &'static str,
    /// The meaning of rows that are found.
    pub weight: Weight,
    /// A query with one text column: what breaks the invariant, one row each, in words that lead to
    /// it. Comments in it, `/*new … new*/`, narrow it to what is new: see [`Recent::Same`].
    pub violations: &'static str,
    /// The check of what is new.
    pub recent: Recent,
}

/// The rows that a check looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All that there are.
    Everything,
    /// Those that were written since this moment, to the second, and what they belong to.
    Since(OffsetDateTime),
}

/// The check of what was written since a moment.
#[derive(Clone, Copy, Debug)]
pub enum Recent {
    /// The same query, with what stands in its comments `/*new … new*/`; one without such comments
    /// reads little, however much there is. In them `{since}` stands for the moment, and
    /// `{since_id}` for the least UUID of version 7 of then.
    Same,
    /// Another query of the same form, with `{since}` and `{since_id}`: for which what is new is
    /// reached by another way.
    Query(&'static str),
    /// None: all rows are needed to tell.
    LeftOut,
}

/// The meaning of rows that the query of an invariant finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// A guarantee is broken.
    Guarantee,
    /// No guarantee is broken, but somebody should look.
    Notice,
}

/// The result of checking an invariant.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The invariant that was checked.
    pub invariant: Invariant,
    /// The number of rows that break it.
    pub violations: i64,
    /// Some of them, at most [`MAX_SAMPLES`].
    pub samples: Vec<String>,
    /// The time that the check took.
    pub took: Duration,
}

impl Invariant {
    /// Looks for rows that break the invariant, among all that there are.
    ///
    /// # Errors
    ///
    /// When the database refuses, or takes longer than it may.
    pub async fn check(self, conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
        self.find(conn, self.violations).await
    }

    /// Looks for rows that break the invariant, in this scope; none when it is left out there.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub async fn check_in(
        self,
        conn: &mut PgConnection,
        scope: Scope,
    ) -> Result<Option<Finding>, sqlx::Error> {
        let (since, query) = match (scope, self.recent) {
            (Scope::Everything, _) => return self.check(conn).await.map(Some),
            (Scope::Since(_), Recent::LeftOut) => return Ok(None),
            (Scope::Since(since), Recent::Query(query)) => (since, query),
            (Scope::Since(since), Recent::Same) => (since, self.violations),
        };
        let id = format!("'{}'::uuid", first_uuid_at(since));
        let since = format!("to_timestamp({})", since.unix_timestamp());
        let query = query.replace("/*new", "").replace("new*/", "");
        let query = query.replace("{since_id}", &id).replace("{since}", &since);
        self.find(conn, &query).await.map(Some)
    }

    async fn find(self, conn: &mut PgConnection, violations: &str) -> Result<Finding, sqlx::Error> {
        let began = Instant::now();
        // All parts are constants of this binary, and a moment that it has written.
        let query = format!(
            "
            with violation (subject) as materialized ({violations})
            select
              (select count(*) from violation),
              array(select subject from violation order by subject limit {MAX_SAMPLES})
            "
        );
        let (violations, samples) =
            sqlx::query_as(AssertSqlSafe(query)).persistent(false).fetch_one(conn).await?;
        Ok(Finding { invariant: self, violations, samples, took: began.elapsed() })
    }
}

impl Finding {
    /// Tells whether a guarantee is broken.
    pub fn is_failure(&self) -> bool {
        match self.invariant.weight {
            Weight::Guarantee => self.violations > 0,
            Weight::Notice => false,
        }
    }
}
