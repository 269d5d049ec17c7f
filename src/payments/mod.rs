//! The money: what providers tell us, who holds it, and the ledger between them.
//!
//! The cast:
//!
//! - [`transactions`]: a provider's payment events, recorded once each (G2) and moved once to their outcome.
//!
//! Every function takes a `&mut PgConnection` and neither begins nor commits: the two edges, `http` and `jobs`, do, so
//! that one function there shows all that commits together.
//!
//! Deliberately absent: HTTP, jobs, and any call to another system.

pub mod transactions;
