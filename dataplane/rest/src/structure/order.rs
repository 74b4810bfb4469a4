//! What has to come before what.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;

/// The keys and everything that needs one of them, by `(user, used)`.
pub(super) fn closure(keys: &BTreeSet<String>, edges: &BTreeSet<(String, String)>) -> BTreeSet<String> {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (user, used) in edges {
        users.entry(used).or_default().push(user);
    }
    let mut found = keys.clone();
    let mut next: Vec<String> = keys.iter().cloned().collect();
    while let Some(key) = next.pop() {
        for user in users.get(key.as_str()).into_iter().flatten() {
            if found.insert((*user).to_owned()) {
                next.push((*user).to_owned());
            }
        }
    }
    found
}

/// Each after all that it uses; among equals in the given order. A circle, which the server does not make, comes last.
pub(super) fn sorted(nodes: Vec<Node>, edges: &BTreeSet<(String, String)>) -> Vec<Node> {
    let places: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.key.as_str(), at)).collect();
    let mut waits = vec![0_usize; nodes.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (user, used) in edges {
        if let (Some(user), Some(used)) = (places.get(user.as_str()), places.get(used.as_str())) {
            waits[*user] += 1;
            users[*used].push(*user);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|at| waits[*at] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for user in &users[at] {
            waits[*user] -= 1;
            if waits[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    order.extend((0..nodes.len()).filter(|at| waits[*at] > 0));
    drop(places);
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| nodes[at].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_comes_before_user_and_a_circle_loses_nothing() {
        let node = |key: &str| Node { key: key.into(), label: String::new(), sql: None };
        let edge = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let edges = BTreeSet::from([edge("a", "c"), edge("c", "b"), edge("x", "y"), edge("y", "x")]);
        let order = sorted(["x", "a", "b", "c", "y"].map(node).into(), &edges);
        let keys: Vec<&str> = order.iter().map(|node| node.key.as_str()).collect();
        assert_eq!(keys, ["b", "c", "a", "x", "y"]);
    }
}
