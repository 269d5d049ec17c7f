//! The Merkle tree of RFC 6962 (section 2.1, the same in RFC 9162), without a database.
//!
//! A leaf is SHA-256 of 0x00 and its bytes, a node SHA-256 of 0x01 and its two children, so that
//! neither can be taken for the other. The left child has as many leaves as the largest power of
//! two that is smaller than those of the node. Node (level, index) is the root of the perfect
//! subtree of the leaves from `index * 2^level` on.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf with these bytes.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// The hash of a node with these children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The place of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The logarithm of the number of its leaves.
    pub level: u32,
    /// The number of the node on its level.
    pub index: u64,
}

/// A tree that grows at its end, by its perfect subtrees alone: as many as the size has bits set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    /// From the largest subtree, which is the leftmost, to the smallest.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree of this size, with the hashes of the nodes at [`peaks`].
    pub fn new(size: u64, peaks: Vec<Hash>) -> Self {
        debug_assert_eq!(peaks.len(), size.count_ones() as usize);
        Self { size, peaks }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, and tells `on_node` of each node that is complete with it, the lowest first.
    pub fn push(&mut self, leaf: Hash, mut on_node: impl FnMut(Place, Hash)) {
        let (mut hash, mut level) = (leaf, 0);
        while self.size >> level & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            on_node(Place { level, index: self.size >> level }, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root; SHA-256 of nothing for the empty tree.
    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}

/// The hash over subtrees of falling size.
fn fold(peaks: &[Hash]) -> Hash {
    let mut peaks = peaks.iter().rev();
    match peaks.next() {
        None => Sha256::digest([]).into(),
        Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// The perfect subtrees that a tree of this size consists of, the leftmost first.
pub fn peaks(size: u64) -> Vec<Place> {
    peaks_of(0, size)
}

/// The same for the leaves from `from` on, which must be a multiple of what is left of them.
fn peaks_of(from: u64, to: u64) -> Vec<Place> {
    let (mut places, mut at) = (Vec::new(), from);
    while at < to {
        let level = (to - at).ilog2();
        places.push(Place { level, index: at >> level });
        at += 1 << level;
    }
    places
}

/// The siblings of a leaf on its way to the root of a tree of this size, the nearest first: each is
/// the hash over the nodes at these places. Empty if the tree has no such leaf.
pub fn siblings(position: u64, size: u64) -> Vec<Vec<Place>> {
    let (mut from, mut to) = (0, size);
    let mut siblings = Vec::new();
    if position >= size {
        return siblings;
    }
    while to - from > 1 {
        let middle = from + (to - from).next_power_of_two() / 2;
        if position < middle {
            siblings.push(peaks_of(middle, to));
            to = middle;
        } else {
            siblings.push(peaks_of(from, middle));
            from = middle;
        }
    }
    siblings.reverse();
    siblings
}

/// The audit path of a leaf, from the hashes of the nodes of [`siblings`].
pub fn path(siblings: &[Vec<Hash>]) -> Vec<Hash> {
    siblings.iter().map(|peaks| fold(peaks)).collect()
}

/// Tells if a tree of this size and root has the leaf at this position, by its audit path (RFC
/// 9162, section 2.1.3.2).
pub fn is_included(leaf: Hash, position: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if position >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (position, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The definition of RFC 6962, word by word.
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&defined(left), &defined(right))
            }
        }
    }

    fn leaf(number: usize) -> Hash {
        leaf_hash(&number.to_be_bytes())
    }

    #[test]
    fn the_known_hashes_of_rfc_6962_come_out() {
        // From the tests of the Certificate Transparency log (google/certificate-transparency).
        assert_eq!(
            hex::encode(Frontier::default().root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let mut tree = Frontier::default();
        let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"];
        for input in inputs {
            tree.push(leaf_hash(&hex::decode(input).expect("it is hex")), |_, _| {});
        }
        tree.push(
            leaf_hash(&hex::decode("606162636465666768696a6b6c6d6e6f").expect("it is hex")),
            |_, _| {},
        );
        assert_eq!(
            hex::encode(tree.root()),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn every_leaf_of_every_size_has_a_path_and_no_other_leaf_or_place_does() {
        let leaves: Vec<Hash> = (0..70).map(leaf).collect();
        let (mut tree, mut nodes) = (Frontier::default(), HashMap::new());
        for (count, hash) in leaves.iter().enumerate() {
            nodes.insert(Place { level: 0, index: count as u64 }, *hash);
            tree.push(*hash, |place, hash| {
                nodes.insert(place, hash);
            });
            let size = tree.size();
            assert_eq!(tree.root(), defined(&leaves[..=count]));
            let peaks = peaks(size).iter().map(|place| nodes[place]).collect();
            assert_eq!(Frontier::new(size, peaks), tree);
            for position in 0..size {
                let siblings: Vec<Vec<Hash>> = siblings(position, size)
                    .iter()
                    .map(|places| places.iter().map(|place| nodes[place]).collect())
                    .collect();
                let path = path(&siblings);
                let included = |leaf_at: usize, position| {
                    is_included(leaves[leaf_at], position, size, &path, &tree.root())
                };
                assert!(included(position as usize, position), "{position} of {size}");
                assert!(!included((position as usize + 1) % 70, position));
                assert!(!included(position as usize, position + 1));
                if let Some((_, shorter)) = path.split_last() {
                    let root = tree.root();
                    assert!(!is_included(
                        leaves[position as usize],
                        position,
                        size,
                        shorter,
                        &root
                    ));
                }
            }
        }
    }
}
