//! Verification: everything is computed again from the entries, and compared with what is stored
//! and with heads that were exported.
//!
//! The stored leaves, subtrees and heads are only believed as far as they agree. Who alters an
//! entry disagrees with its leaf; who alters the leaf as well, with the heads from there on; who
//! makes all of these anew, with the exported ones. That is the only thing that a superuser cannot
//! make again, and the only trace that a log leaves that was cut at its end or emptied.

use std::collections::HashMap;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::vec::IntoIter;

use sqlx::PgConnection;

use super::entries::Entry;
use super::findings::{Finding, MAX_TOLD, Report};
use super::heads::{self, Head};
use super::merkle::{Frontier, Hash, Place};
use super::reading;
use super::tree::{STORED_LEVELS, counted, hash_of, stored};

/// The leaves that are read at a time: what verification holds in memory, whatever the size.
const CHUNK: u64 = 4_096;

/// Verifies the whole log, against these exported heads, too. To be called in one read-only
/// transaction with one snapshot. Reads every row once, 4,096 at a time: it takes as much memory
/// for ten thousand entries as for ten million, but for the exported heads, which are kept.
///
/// # Errors
///
/// When the database refuses.
pub async fn verify(conn: &mut PgConnection, exported: &[Head]) -> sqlx::Result<Report> {
    let mut exported = exported.to_vec();
    exported.sort_by_key(|head| head.size);
    let mut walk = Walk { exported, ..Walk::default() };
    loop {
        let first = walk.tree.size();
        let leaves = leaves(&mut *conn, first).await?;
        let Some(last) = leaves.last() else { break };
        let size = last.position + 1;
        let heads = heads::within(&mut *conn, first, size).await?;
        let subtrees = subtrees(&mut *conn, first, size).await?;
        if walk.compare(leaves, subtrees, heads).is_break() {
            break;
        }
    }
    walk.end(heads::newest(&mut *conn).await?);
    let size = walk.tree.size();
    let mut report = walk.report;
    if count_subtrees_beyond(&mut *conn, size).await? > 0 {
        report.add(Finding::SubtreesBeyond { sealed: size });
    }
    for seq in never_sealed(&mut *conn).await? {
        report.add(Finding::NeverSealed { seq });
    }
    if let Some(seq) = sealed_last_and_gone(&mut *conn).await? {
        report.add(Finding::LastRemoved { seq });
    }
    report.unsealed = counted(count_unsealed(conn).await?);
    Ok(report)
}

/// The tree as the leaves make it, from the first to the last.
#[derive(Default)]
struct Walk {
    tree: Frontier,
    report: Report,
    exported: Vec<Head>,
    /// The next of the exported ones.
    next_exported: usize,
    /// The size of the last head that agreed.
    agreed: u64,
    /// The size of the last exported head that agreed.
    exported_agreed: u64,
    /// The next head's `previous`.
    chain: Hash,
    /// The size of the last head.
    last_head: u64,
}

impl Walk {
    /// Adds the leaves of one chunk, and compares what is complete with each of them. Breaks where
    /// the positions make no sense any more.
    fn compare(
        &mut self,
        leaves: Vec<Leaf>,
        mut subtrees: HashMap<Place, Hash>,
        heads: Vec<Head>,
    ) -> ControlFlow<()> {
        let mut heads = heads.into_iter().peekable();
        for leaf in leaves {
            let missing = leaf.position.saturating_sub(self.tree.size());
            if missing > CHUNK {
                self.report.add(Finding::LeafRemoved { position: self.tree.size() });
                return ControlFlow::Break(());
            }
            for _ in 0..missing {
                self.report.add(Finding::LeafRemoved { position: self.tree.size() });
                // In its place stands the hash of nothing, so that the others keep theirs.
                self.grow(Hash::default(), &mut subtrees, &mut heads);
            }
            self.compare_entry(&leaf);
            // The stored hash, so that one altered entry is one finding: the heads tell whether it
            // is the one that was sealed.
            self.grow(leaf.hash, &mut subtrees, &mut heads);
        }
        ControlFlow::Continue(())
    }

    fn grow(
        &mut self,
        leaf: Hash,
        subtrees: &mut HashMap<Place, Hash>,
        heads: &mut Peekable<IntoIter<Head>>,
    ) {
        let mut broken = Vec::new();
        self.tree.push(leaf, |place, hash| {
            if place.level % STORED_LEVELS == 0 && subtrees.remove(&place) != Some(hash) {
                broken.push(place);
            }
        });
        for Place { level, index } in broken {
            let (first, last) = (index << level, ((index + 1) << level) - 1);
            self.report.add(Finding::Subtree { first, last });
        }
        self.report.sealed = self.tree.size();
        while let Some(head) = heads.next_if(|head| head.size <= self.tree.size()) {
            self.compare_head(&head);
        }
        self.compare_exported();
    }

    fn compare_entry(&mut self, leaf: &Leaf) {
        let (seq, position) = (leaf.entry_seq, leaf.position);
        match &leaf.entry {
            None => self.report.add(Finding::Removed { seq, position }),
            Some(entry) if entry.leaf_hash() != leaf.hash => {
                self.report.add(Finding::Altered { seq, position });
            }
            Some(entry) if entry.subject().number() != leaf.subject => {
                self.report.add(Finding::OtherSubject { position });
            }
            Some(_) => {}
        }
    }

    fn compare_head(&mut self, head: &Head) {
        let size = head.size;
        match head.root == self.tree.root() {
            true => self.agreed = size,
            false => self.report.add(Finding::HeadRoot { agreed: self.agreed, size }),
        }
        if head.previous != self.chain {
            self.report.add(Finding::HeadChain { size });
        }
        self.chain = head.hash();
        self.last_head = size;
        self.report.heads += 1;
    }

    fn compare_exported(&mut self) {
        while let Some(head) = self.exported.get(self.next_exported) {
            if head.size > self.tree.size() {
                return;
            }
            if head.root == self.tree.root() {
                self.exported_agreed = head.size;
            } else {
                let (at, agreed, size) = (head.at.clone(), self.exported_agreed, head.size);
                self.report.add(Finding::Exported { at, agreed, size });
            }
            self.report.exported_heads += 1;
            self.next_exported += 1;
        }
    }

    /// Compares with heads for more leaves than there are.
    fn end(&mut self, newest: Option<Head>) {
        let sealed = self.tree.size();
        match newest {
            Some(head) if head.size > sealed => {
                self.report.add(Finding::Truncated { sealed, had: head.size });
            }
            Some(_) | None if self.last_head < sealed => {
                self.report.add(Finding::Headless { position: self.last_head });
            }
            Some(_) | None => {}
        }
        let beyond = &self.exported[self.next_exported..];
        self.report.exported_heads += beyond.len() as u64;
        if let Some(head) = beyond.last() {
            let (at, had) = (head.at.clone(), head.size);
            self.report.add(Finding::ExportedTruncated { at, sealed, had });
        }
    }
}

/// A leaf, and its entry if that is there.
struct Leaf {
    position: u64,
    entry_seq: i64,
    hash: Hash,
    subject: i64,
    entry: Option<Entry>,
}

/// The leaves from this position on, one chunk of them.
async fn leaves(conn: &mut PgConnection, first: u64) -> sqlx::Result<Vec<Leaf>> {
    let rows = sqlx::query!(
        "
        select position, entry_seq, leaf_hash, subject
        from audit.leaves
        where position >= $1
        order by position
        limit $2
        ",
        stored(first),
        stored(CHUNK),
    )
    .fetch_all(&mut *conn)
    .await?;
    let numbers: Vec<i64> = rows.iter().map(|row| row.entry_seq).collect();
    let mut entries = reading::find_many(conn, &numbers).await?;
    let leaves = rows.into_iter().map(|row| Leaf {
        position: counted(row.position),
        entry_seq: row.entry_seq,
        hash: hash_of(&row.leaf_hash),
        subject: row.subject,
        entry: entries.remove(&row.entry_seq),
    });
    Ok(leaves.collect())
}

/// The stored nodes that are complete with the leaves from `first` on, but not before, and are so
/// in a tree of this size; in the order in which it completes them.
async fn subtrees(
    conn: &mut PgConnection,
    first: u64,
    size: u64,
) -> sqlx::Result<HashMap<Place, Hash>> {
    let mut subtrees = HashMap::new();
    for level in (STORED_LEVELS..63).step_by(STORED_LEVELS as usize) {
        if size >> level == 0 {
            break;
        }
        let rows = sqlx::query!(
            "
            select index, hash
            from audit.subtrees
            where level = $1 and index >= $2 and index < $3
            ",
            level as i16,
            stored(first >> level),
            stored(size >> level),
        )
        .fetch_all(&mut *conn)
        .await?;
        let place = |index| Place { level, index: counted(index) };
        subtrees.extend(rows.iter().map(|row| (place(row.index), hash_of(&row.hash))));
    }
    Ok(subtrees)
}

/// The number of stored nodes that no tree of this size has.
async fn count_subtrees_beyond(conn: &mut PgConnection, size: u64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from audit.subtrees where index >= ($1::bigint >> level)"#,
        stored(size),
    )
    .fetch_one(conn)
    .await
}

/// Entries that have no leaf and cannot get one any more; a few of them.
async fn never_sealed(conn: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "
        select entry.seq
        from audit.entries as entry
        cross join audit.sealer
        where entry.seq <= sealer.top
          and not exists (select from audit.leaves as leaf where leaf.entry_seq = entry.seq)
          and not exists (
            select
            from unnest(sealer.gap_first, sealer.gap_last) as gap (first, last)
            where entry.seq between gap.first and gap.last
          )
        order by entry.seq
        limit $1
        ",
        MAX_TOLD as i64 + 1,
    )
    .fetch_all(conn)
    .await
}

/// The entry up to which the log was sealed, if it has no leaf.
async fn sealed_last_and_gone(conn: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "
        select top
        from audit.sealer
        where top > 0
          and not exists (select from audit.leaves as leaf where leaf.entry_seq = sealer.top)
        "
    )
    .fetch_optional(conn)
    .await
}

async fn count_unsealed(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from audit.unsealed()"#)
        .fetch_one(conn)
        .await
}
