//! Names of kinds and queues that somebody knows: what an operator typed is compared with them.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::{queues, workers};
use crate::enqueue::kinds;
use crate::error::QueueError;

/// A name that is less like it is no suggestion.
const LIKENESS: f64 = 0.6;

/// Names that are in use, or were declared by a program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnownNames {
    /// Kinds that a program has declared, or that a worker knows.
    pub kinds: BTreeSet<String>,
    /// Queues of such kinds or of workers, and those with unfinished jobs, a pause or limits.
    pub queues: BTreeSet<String>,
}

impl KnownNames {
    /// Reads the names.
    ///
    /// # Errors
    ///
    /// [`QueueError::Database`].
    pub async fn read(conn: &mut PgConnection) -> Result<Self, QueueError> {
        let mut known = Self::default();
        for kind in kinds::list(conn).await? {
            known.kinds.insert(kind.kind);
            known.queues.insert(kind.queue);
        }
        for worker in workers::list(&mut *conn).await? {
            known.kinds.extend(worker.kinds);
            known.queues.extend(worker.queues);
        }
        known.queues.extend(queues::list(conn).await?.into_iter().map(|it| it.queue));
        Ok(known)
    }

    /// A sentence for each of these kinds that nobody knows.
    pub fn doubts_about_kinds<'a>(&self, kinds: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        doubts("kind", kinds, &self.kinds)
    }

    /// A sentence for each of these queues that nobody knows.
    pub fn doubts_about_queues<'a>(
        &self,
        queues: impl IntoIterator<Item = &'a str>,
    ) -> Vec<String> {
        doubts("queue", queues, &self.queues)
    }
}

fn doubts<'a>(
    what: &str,
    names: impl IntoIterator<Item = &'a str>,
    known: &BTreeSet<String>,
) -> Vec<String> {
    let unknown = names.into_iter().filter(|name| !known.contains(*name));
    let doubt = |name: &str| {
        let likeness = |other: &&String| strsim::normalized_damerau_levenshtein(other, name);
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let name = name.escape_debug();
        match nearest.filter(|nearest| likeness(nearest) >= LIKENESS) {
            Some(nearest) => format!("nobody knows a {what} {name}: did you mean {nearest}?"),
            None => format!("nobody knows a {what} {name}"),
        }
    };
    unknown.map(doubt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_told_with_the_nearest_known_name() {
        let queues = ["bank", "default", "money"].map(str::to_owned).into();
        let known = KnownNames { queues, ..KnownNames::default() };
        let doubts = known.doubts_about_queues(["bank", "defualt", "elsewhere", "\u{1b}[2J"]);
        assert_eq!(
            doubts,
            [
                "nobody knows a queue defualt: did you mean default?",
                "nobody knows a queue elsewhere",
                "nobody knows a queue \\u{1b}[2J",
            ]
        );
        assert_eq!(known.doubts_about_kinds(["bank"]), ["nobody knows a kind bank"]);
    }
}
