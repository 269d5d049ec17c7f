//! Browsing: pages of all transactions, orders and accounts, by filters that combine.
//!
//! A page walks one index, newest first or by name, and looks at [`MAX_LOOKED_AT`] rows at most,
//! however few of them match: a rare combination of filters takes more pages, and never a scan. So
//! a page may be empty and still say where to go on.
//!
//! - [`transactions`], [`orders`]: newest first.
//! - [`accounts`]: by name, owner or currency; with the entries of one, and of one transfer.
//!
//! These are for people who look. A page shows what has committed; unlike
//! [`transactions::list`](super::transactions::list) it waits for nobody, and may miss what commits
//! late.

pub mod accounts;
pub mod orders;
pub mod transactions;

use super::transactions::SLACK;

/// The most rows that one page looks at.
pub const MAX_LOOKED_AT: i64 = 5_000;

/// A page of something.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor that the next page goes on from; none if there is no next page.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// A page of `rows`, of which one more than `limit` was asked for; the rows themselves if none
    /// is left over, so that it takes the end of the walk to know where to go on.
    fn full(mut rows: Vec<T>, limit: u16, cursor: impl Fn(&T) -> C) -> Result<Self, Vec<T>> {
        if rows.len() <= usize::from(limit) {
            return Err(rows);
        }
        rows.truncate(usize::from(limit));
        let next = rows.last().map(cursor);
        Ok(Self { rows, next })
    }
}
