//! The audit log: what became of money and what operators did, and the proof that nothing of it was
//! changed since.
//!
//! - [`entries`]: an entry, its canonical text, and writing many at once. [`reading`]: finding
//!   them.
//! - [`merkle`]: the tree of RFC 6962 over the entries, without a database. [`tree`]: its stored
//!   part.
//! - [`sealing`]: gives committed entries their positions in the tree, in batches; [`gaps`]: the
//!   numbers that may still appear.
//! - [`heads`]: the roots, as they are kept, exported and read again.
//! - [`export`]: heads to a file or an endpoint, out of the reach of who owns the database.
//! - [`proofs`]: that an entry is in the tree, to be checked without the database.
//! - [`verification`]: recomputes everything and finds what was altered, removed or reordered;
//!   [`findings`] tell of it.
//!
//! Guaranteed: an entry commits together with what it tells of. Whatever has committed is sealed
//! once, at a position that never changes, also when it commits late or the sealer is killed. Who
//! alters a sealed entry, whatever rights they have, has to alter all later heads as well, and
//! cannot alter those that were exported.
//!
//! Deliberately absent: which actions there are, and transactions, which `operations` and `jobs`
//! begin and commit.

pub mod entries;
pub mod export;
pub mod findings;
pub mod gaps;
pub mod heads;
pub mod merkle;
pub mod proofs;
pub mod reading;
pub mod sealing;
pub mod tree;
pub mod verification;

pub use self::entries::{Entry, NewEntry, Subject, log_transaction, record};
pub use self::heads::Head;
