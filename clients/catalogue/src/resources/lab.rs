//! What only a lab does.

use crate::operation::{Kind, Operation, Param, has};

pub(super) const OPERATIONS: &[Operation] = &[CLOCK, MAIL];

const CLOCK: Operation = Operation {
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
};

const MAIL: Operation = Operation {
    id: "lab.mail",
    path: "/lab/mail",
    params: &[
        Param::query("to", Kind::Text, "Only what went to this address."),
        Param::query("after", Kind::Integer, "The seq after which to go on."),
    ],
    answer: &[has("mail", Kind::List)],
    summary: "Show the mail that a lab kept.",
    doc: "Oldest first. A lab sends nothing: links and codes are read here. Answered on a lab only, and only to \
          programs on its own machine.",
    cli: Some(&["lab", "mail"]),
    ..Operation::READ
};
