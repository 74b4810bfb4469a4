//! What only a lab does.

use crate::operation::{Kind, Operation, Param, has};

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    id: "lab.clock",
    path: "/lab/clock",
    params: &[Param::body(
        "advance_secs",
        Kind::Integer,
        "Seconds to move forwards; 0 only reads the clock.",
    )],
    answer: &[has("now", Kind::Time), has("shift_secs", Kind::Integer), has("chain_moved", Kind::Boolean)],
    summary: "Move a lab's clock forwards.",
    doc: "Leases age by it, on every node and for good. The chain's time and signatures do not follow. \
          Answered on a lab only, and only to programs on its own machine.",
    cli: Some(&["lab", "clock"]),
    ..Operation::CHANGE
}];
