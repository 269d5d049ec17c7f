//! The ledger: money is conserved, whatever is posted and by how many at once (G7).

mod concurrency;
mod enforcement;
mod model;
mod rules;
