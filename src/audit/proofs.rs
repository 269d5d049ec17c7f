//! Proofs that entries are in the tree, and checking them without the database.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::entries::Subject;
use super::heads::{self, Head};
use super::merkle::{self, Hash, is_included, leaf_hash, siblings};
use super::{reading, tree};

/// The most entries of one proof; the earliest ones are proven.
pub const MAX_PROVEN: u16 = 50;

/// Entries about a subject, each with the audit path from its leaf to the root of one head.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// The entries, the earliest first.
    pub entries: Vec<ProvenEntry>,
    /// The head whose tree has them.
    pub head: Head,
}

/// An entry and its audit path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProvenEntry {
    /// The canonical text of the entry, which is JSON: what is hashed.
    pub entry: String,
    /// The hashes beside the way from the leaf to the root, the nearest first.
    #[serde(with = "hex_path")]
    pub path: Vec<Hash>,
    /// The position of the leaf, from 0.
    pub position: u64,
}

/// Hashes as hexadecimal text.
mod hex_path {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    use super::Hash;

    pub(super) fn serialize<S: Serializer>(
        path: &[Hash],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.iter().map(hex::encode).collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Hash>, D::Error> {
        let texts = Vec::<String>::deserialize(source)?;
        let hash = |text: &String| {
            let mut hash = Hash::default();
            hex::decode_to_slice(text, &mut hash).map(|()| hash).map_err(de::Error::custom)
        };
        texts.iter().map(hash).collect()
    }
}

/// The proof of the sealed entries about a subject, at most [`MAX_PROVEN`], in the tree of the
/// newest head, or of the head of this size. None if there is no such head, or no such entry in its
/// tree yet. Reads a few hundred rows, whatever the size.
///
/// # Errors
///
/// When the database refuses, or lacks a part of the tree.
pub async fn prove(
    conn: &mut PgConnection,
    subject: &Subject,
    size: Option<u64>,
) -> sqlx::Result<Option<Proof>> {
    let head = match size {
        None => heads::newest(&mut *conn).await?,
        Some(size) => heads::find(&mut *conn, size).await?,
    };
    let Some(head) = head else { return Ok(None) };
    let sealed = reading::sealed_about(&mut *conn, subject, head.size, MAX_PROVEN).await?;
    let mut entries = Vec::with_capacity(sealed.len());
    for reading::Sealed { position, entry } in sealed {
        let mut beside = Vec::new();
        for places in siblings(position, head.size) {
            beside.push(tree::nodes(&mut *conn, &places).await?);
        }
        let path = merkle::path(&beside);
        entries.push(ProvenEntry { entry: entry.canonical(), path, position });
    }
    Ok((!entries.is_empty()).then_some(Proof { entries, head }))
}

/// The reason that a proof proves nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// There is no entry in it.
    #[error("it holds no entry")]
    Empty,
    /// The path of an entry leads to another root.
    #[error("the entry at position {0} is not in the tree of its head")]
    NotIncluded(u64),
    /// The head is none of those that were exported.
    #[error("no exported head has {0} entries: ask for a proof with the size of one that was")]
    NotExported(u64),
    /// An exported head of that size has another root.
    #[error("the exported head of {0} entries has another root: the log was changed")]
    OtherRoot(u64),
}

impl Proof {
    /// Checks the proof by itself, and its head against exported ones if there are any.
    ///
    /// # Errors
    ///
    /// [`ProofError`].
    pub fn check(&self, exported: Option<&[Head]>) -> Result<(), ProofError> {
        let Head { size, root, .. } = &self.head;
        if self.entries.is_empty() {
            return Err(ProofError::Empty);
        }
        for ProvenEntry { entry, path, position } in &self.entries {
            if !is_included(leaf_hash(entry.as_bytes()), *position, *size, path, root) {
                return Err(ProofError::NotIncluded(*position));
            }
        }
        let Some(exported) = exported else { return Ok(()) };
        let mut of_this_size = exported.iter().filter(|head| head.size == *size).peekable();
        if of_this_size.peek().is_none() {
            return Err(ProofError::NotExported(*size));
        }
        match of_this_size.all(|head| head.root == *root) {
            true => Ok(()),
            false => Err(ProofError::OtherRoot(*size)),
        }
    }
}
