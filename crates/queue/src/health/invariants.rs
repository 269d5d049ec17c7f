//! Invariants: what holds in the database at every moment, each written as the query that finds
//! what breaks it.
//!
//! The queue lists its own; an application adds those of its tables, and those that join the two,
//! and checks all in one snapshot.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};

/// How many of the rows that break an invariant are shown.
pub const MAX_SAMPLES: i64 = 5;

/// Something that holds at every moment, also while everything runs.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// A stable name, for scripts.
    pub name: &'static str,
    /// What holds.
    pub claim: &'static str,
    /// What falls with it: the guarantees of the design by number, or a word.
    pub protects: &'static str,
    /// Where to look when it is broken.
    pub hint: &'static str,
    /// What it means when rows are found.
    pub weight: Weight,
    /// A query with one text column: what breaks the invariant, one row each, in words that lead to
    /// it.
    pub violations: &'static str,
}

/// What it means when the query of an invariant finds rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// A guarantee is broken.
    Guarantee,
    /// No guarantee is broken, but somebody should look.
    Notice,
}

/// What a check of an invariant found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was checked.
    pub invariant: Invariant,
    /// How many rows break it.
    pub violations: i64,
    /// Some of them, at most [`MAX_SAMPLES`].
    pub samples: Vec<String>,
    /// How long the check took.
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
    /// Whether a guarantee is broken.
    pub fn is_failure(&self) -> bool {
        match self.invariant.weight {
            Weight::Guarantee => self.violations > 0,
            Weight::Notice => false,
        }
    }
}
