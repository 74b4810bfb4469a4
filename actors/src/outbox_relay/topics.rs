//! What each topic means.

use std::str::FromStr;

use store::outbox::OutboxRow;

use crate::{Actors, deploy, lease, payment, project};

/// Why a row stays where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    /// A newer version of this program may know it.
    #[error("no such topic")]
    UnknownTopic,
    #[error("the payload has no usable id")]
    BadPayload,
}

/// Hints whoever the row is for. The hint carries no facts: the actor reads them again.
pub(super) fn deliver(actors: &Actors, row: &OutboxRow) -> Result<(), Undelivered> {
    match row.topic.as_str() {
        "project.step" => actors.project.hint(id(row)?, project::Request::Step),
        "deploy.step" => actors.deploy.hint(id(row)?, deploy::Request::Step),
        "payment.step" => actors.payment.hint(id(row)?, payment::Request::Step),
        "project.purge" => actors.project.hint(id(row)?, project::Request::Erase),
        // The rows of `notices` wait for whoever delivers them; nobody has to be told.
        "notices.written" => {}
        "lease.changed" => actors.lease.hint(id(row)?, lease::Request::Step),
        _ => return Err(Undelivered::UnknownTopic),
    }
    Ok(())
}

fn id<T: FromStr>(row: &OutboxRow) -> Result<T, Undelivered> {
    let text = row.payload.get("id").and_then(serde_json::Value::as_str);
    text.and_then(|text| text.parse().ok()).ok_or(Undelivered::BadPayload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use types::{OsEntropy, PaymentId};

    fn row(payload: serde_json::Value) -> OutboxRow {
        OutboxRow { seq: 1, topic: "payment.step".into(), payload, trace_id: None, attempts: 0 }
    }

    #[test]
    fn a_row_names_its_entity_by_the_text_of_its_id() {
        let payment = PaymentId::new(&OsEntropy);
        assert_eq!(id::<PaymentId>(&row(json!({ "id": payment }))).ok(), Some(payment));
        for bad in [json!({}), json!({ "id": 7 }), json!({ "id": "prj_1" }), json!([])] {
            assert!(matches!(id::<PaymentId>(&row(bad)), Err(Undelivered::BadPayload)));
        }
    }
}
