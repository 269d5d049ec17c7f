//! Invariants: what holds in the database at every moment, each written as the query that finds
//! what breaks it.
//!
//! The queue lists its own; an application adds those of its tables, and those that join the two,
//! and checks all in one snapshot.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};

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
    /// it.
    pub violations: &'static str,
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
    /// Looks for rows that break the invariant.
    ///
    /// # Errors
    ///
    /// When the database refuses, or takes longer than it may.
    pub async fn check(self, conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
        let began = Instant::now();
        // Both parts are constants of this binary.
        let query = format!(
            "
            with violation (subject) as materialized ({})
            select
              (select count(*) from violation),
              array(select subject from violation order by subject limit {MAX_SAMPLES})
            ",
            self.violations
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
