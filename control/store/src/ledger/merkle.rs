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

#[cfg(test)]
mod tests {
    use super::*;

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
