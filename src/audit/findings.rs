//! Findings of a verification: what is not as it was.

use serde::Serialize;

/// The most findings that are told in words; all are counted.
pub const MAX_TOLD: usize = 20;

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// The number of entries in the tree.
    pub sealed: u64,
    /// The number of entries that are not in the tree yet.
    pub unsealed: u64,
    /// The number of heads that were compared.
    pub heads: u64,
    /// The number of exported heads that were compared.
    pub exported_heads: u64,
    /// The number of things that are not as they were.
    pub violations: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.violations += 1;
        if self.findings.len() < MAX_TOLD {
            self.findings.push(finding);
        }
    }
}

/// Something that is not as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The entry has another hash than its leaf.
    #[error(
        "entry {seq}, at position {position}, was altered: it is not what its leaf was made of"
    )]
    Altered {
        /// The number of the entry.
        seq: i64,
        /// The position of its leaf.
        position: u64,
    },
    /// The leaf is there, and the entry is not.
    #[error("entry {seq}, at position {position}, was removed")]
    Removed {
        /// The number of the entry.
        seq: i64,
        /// The position of its leaf.
        position: u64,
    },
    /// The leaf is not there.
    #[error("the leaf at position {position} was removed")]
    LeafRemoved {
        /// The position.
        position: u64,
    },
    /// The entry is there, and should have a leaf.
    #[error(
        "entry {seq} has no leaf, though the log was sealed beyond it: one of both was changed"
    )]
    NeverSealed {
        /// The number of the entry.
        seq: i64,
    },
    /// The leaf is found under another subject than its entry has.
    #[error("the leaf at position {position} names another subject than its entry")]
    OtherSubject {
        /// The position.
        position: u64,
    },
    /// A stored node is not what its leaves make.
    #[error("a leaf at positions {first} to {last}, or the node over them, was altered or moved")]
    Subtree {
        /// The first leaf of the node.
        first: u64,
        /// The last leaf of the node.
        last: u64,
    },
    /// A head has another root than the leaves make.
    #[error(
        "a leaf at positions {agreed} to {size} (not included) was altered, moved or put in, or \
         the head of {size} entries was altered"
    )]
    HeadRoot {
        /// The size of the last head before it that agrees; 0 if none does.
        agreed: u64,
        /// The size of the head.
        size: u64,
    },
    /// A head does not name the one before.
    #[error("the head of {size} entries does not name the one before: one of both was altered")]
    HeadChain {
        /// The size of the head.
        size: u64,
    },
    /// There are heads for more leaves than there are.
    #[error("the log ends after {sealed} entries, but it had {had}: the rest was removed")]
    Truncated {
        /// The number of leaves that are there.
        sealed: u64,
        /// The number of leaves that there were at least.
        had: u64,
    },
    /// The last entry that was sealed is not there any more.
    #[error("the log was sealed up to entry {seq}, whose leaf was removed")]
    LastRemoved {
        /// The number of the entry.
        seq: i64,
    },
    /// There are stored nodes over leaves that are not there.
    #[error("there are nodes over more than the {sealed} leaves that are there")]
    SubtreesBeyond {
        /// The number of leaves.
        sealed: u64,
    },
    /// The leaves go on beyond the last head.
    #[error("leaves from position {position} on have no head: it was removed, or they were put in")]
    Headless {
        /// The first such leaf.
        position: u64,
    },
    /// An exported head has another root than the leaves make.
    #[error(
        "not the log that was exported at {at}: an entry at positions {agreed} to {size} (not \
         included) was altered, removed, moved or put in, and everything after it made anew"
    )]
    Exported {
        /// The time of the exported head.
        at: String,
        /// The size of the last exported head before it that agrees; 0 if none does.
        agreed: u64,
        /// The size of the exported head.
        size: u64,
    },
    /// An exported head has more entries than there are.
    #[error("the log ends after {sealed} entries, but it had {had} at {at}: the rest was removed")]
    ExportedTruncated {
        /// The time of the exported head.
        at: String,
        /// The number of leaves that are there.
        sealed: u64,
        /// The number of leaves that there were.
        had: u64,
    },
}
