//! All that may happen in a step. Each module has a table of its operations; a step takes one by weight.

mod chain;
mod facts;
mod machines;
mod purchases;
mod ticks;

use futures::future::LocalBoxFuture;

use crate::Fault;
use crate::dice::Dice;
use crate::world::World;

/// What becomes of it, for the trace.
pub(crate) type Outcome = Result<String, Fault>;

pub(crate) struct Operation {
    pub name: &'static str,
    /// How often it happens, beside the others.
    pub weight: u64,
    /// Whether a node acts that may die over it.
    pub may_crash: bool,
    pub run: for<'w> fn(&'w mut World) -> LocalBoxFuture<'w, Outcome>,
}

const TABLES: [&[Operation]; 5] = [purchases::ALL, chain::ALL, ticks::ALL, machines::ALL, facts::ALL];

pub(crate) fn choose(dice: &mut Dice) -> &'static Operation {
    let all = || TABLES.into_iter().flatten();
    let mut left = dice.below(all().map(|operation| operation.weight).sum());
    for operation in all() {
        match left.checked_sub(operation.weight) {
            Some(rest) => left = rest,
            None => return operation,
        }
    }
    &purchases::ALL[0]
}

/// A line of a table.
macro_rules! operation {
    ($name:literal, $weight:literal, $may_crash:literal, $run:path) => {
        $crate::operations::Operation {
            name: $name,
            weight: $weight,
            may_crash: $may_crash,
            run: |world| Box::pin($run(world)),
        }
    };
}
pub(crate) use operation;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_comes_up() {
        let all: Vec<&str> = TABLES.into_iter().flatten().map(|operation| operation.name).collect();
        let mut dice = Dice::new(1);
        let seen: BTreeSet<&str> = (0..5_000).map(|_| choose(&mut dice).name).collect();
        assert_eq!(seen.len(), all.len());
    }
}
