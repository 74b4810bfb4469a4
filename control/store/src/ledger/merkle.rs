//! A Merkle tree over hashes, as in RFC 6962 section 2.1: leaves and nodes are told apart by their first
//! byte.

use sha2::{Digest, Sha256};

/// The root over at least one leaf.
pub(super) fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => Sha256::new().chain_update([0]).chain_update(leaf).finalize().into(),
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            Sha256::new()
                .chain_update([1])
                .chain_update(root(left))
                .chain_update(root(right))
                .finalize()
                .into()
        }
    }
}

/// One step up: the sibling, and on which side it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Left([u8; 32]),
    Right([u8; 32]),
}

impl Step {
    /// `L` or `R` and the hash in hex.
    pub fn to_text(self) -> String {
        match self {
            Self::Left(hash) => format!("L{}", hex::encode(hash)),
            Self::Right(hash) => format!("R{}", hex::encode(hash)),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let hash = |text: &str| hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        match text.split_at_checked(1)? {
            ("L", rest) => hash(rest).map(Self::Left),
            ("R", rest) => hash(rest).map(Self::Right),
            _ => None,
        }
    }
}

/// The way from a leaf up to the root, as [`root`] makes it. Empty for a place beyond the leaves.
pub(super) fn way(leaves: &[[u8; 32]], place: usize) -> Vec<Step> {
    if leaves.len() < 2 || place >= leaves.len() {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut steps, sibling) = if place < left.len() {
        (way(left, place), Step::Right(root(right)))
    } else {
        (way(right, place - left.len()), Step::Left(root(left)))
    };
    steps.push(sibling);
    steps
}

/// The root that a leaf leads to.
pub(super) fn climb(leaf: [u8; 32], way: &[Step]) -> [u8; 32] {
    let join = |left: [u8; 32], right: [u8; 32]| -> [u8; 32] {
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
    };
    way.iter().fold(root(&[leaf]), |node, step| match *step {
        Step::Left(sibling) => join(sibling, node),
        Step::Right(sibling) => join(node, sibling),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_leads_to_the_root_and_no_other_does() {
        for count in 1..20_u8 {
            let leaves: Vec<[u8; 32]> = (0..count).map(|n| [n; 32]).collect();
            for (place, leaf) in leaves.iter().enumerate() {
                let way = way(&leaves, place);
                assert_eq!(climb(*leaf, &way), root(&leaves), "{place} of {count}");
                assert_ne!(climb([0xff; 32], &way), root(&leaves));
                let read: Vec<Step> = way.iter().map(|step| Step::parse(&step.to_text()).unwrap()).collect();
                assert_eq!(read, way);
            }
        }
        assert_eq!(Step::parse("X00"), None);
        assert_eq!(Step::parse(""), None);
    }

    #[test]
    fn the_root_moves_with_every_leaf_and_with_their_order() {
        let leaves: Vec<[u8; 32]> = (0..7).map(|n| [n; 32]).collect();
        let all = root(&leaves);
        for n in 0..leaves.len() {
            let mut other = leaves.clone();
            other[n][31] ^= 1;
            assert_ne!(root(&other), all, "leaf {n}");
            assert_ne!(root(&leaves[..n]), all);
        }
        let mut swapped = leaves.clone();
        swapped.swap(2, 5);
        assert_ne!(root(&swapped), all);
        // A node must not pass for a leaf.
        assert_ne!(root(&[root(&leaves[..1])]), root(&leaves[..1]));
    }

    #[test]
    fn the_tree_splits_at_the_largest_power_of_two_below_its_size() {
        let leaves: Vec<[u8; 32]> = (0..5).map(|n| [n; 32]).collect();
        let joined =
            Sha256::new().chain_update([1]).chain_update(root(&leaves[..4])).chain_update(root(&leaves[4..]));
        assert_eq!(root(&leaves), <[u8; 32]>::from(joined.finalize()));
    }
}
