//! Settling x402 payments for others.

use crate::operation::{Kind, Operation, Param, has, may};

const VERSION: Param = Param::body("x402Version", Kind::Integer, "1 or 2, as the payment says itself.");
const PAYLOAD: Param =
    Param::body("paymentPayload", Kind::Object, "The payment as the client sent it, decoded.").required();
const REQUIREMENTS: Param =
    Param::body("paymentRequirements", Kind::Object, "The offer that it is to pay, of the same version.")
        .required();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "facilitator.supported",
        path: "/facilitator/supported",
        answer: &[has("kinds", Kind::List), has("extensions", Kind::List), has("signers", Kind::Object)],
        summary: "List what the facilitator settles.",
        doc: "Every x402 version, scheme and network that the other two calls say yes to.",
        ..Operation::READ
    },
    Operation {
        id: "facilitator.verify",
        path: "/facilitator/verify",
        params: &[VERSION, PAYLOAD, REQUIREMENTS],
        answer: &[
            has("isValid", Kind::Boolean),
            may("invalidReason", Kind::Text),
            may("invalidMessage", Kind::Text),
            may("payer", Kind::Text),
        ],
        summary: "Check an x402 payment.",
        doc: "Whether a payment to one of the served addresses could be settled now. Changes nothing, however often.",
        ..Operation::CHANGE
    },
    Operation {
        id: "facilitator.settle",
        path: "/facilitator/settle",
        params: &[VERSION, PAYLOAD, REQUIREMENTS],
        answer: &[
            has("success", Kind::Boolean),
            may("errorReason", Kind::Text),
            has("transaction", Kind::Text),
            has("network", Kind::Text),
            may("payer", Kind::Text),
        ],
        summary: "Settle an x402 payment.",
        doc: "Submits a payment to one of the served addresses and answers when the chain shows it. The same \
              payment again gets the same answer; settlement_pending means ask again.",
        ..Operation::CHANGE
    },
];
