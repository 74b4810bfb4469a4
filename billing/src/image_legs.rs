//! Which transfers an image makes: its price is held when it is ordered, and captured or voided when it ended. Pure.

use serde_json::json;
use store::image_orders::{Asker, NewImageOrder};
use store::ledger::{AccountRef, Kind, NewTransfer};

/// The product and the revenue account of images.
pub const IMAGE: &str = "image";
/// Holds for images; named by their order, as what ends them.
pub const RESERVED: &str = "image_reserved";
pub const MADE: &str = "image_made";
pub const FAILED: &str = "image_failed";

/// Holds the price of an order.
pub fn reserve(order: &NewImageOrder) -> NewTransfer {
    leg(order, (RESERVED, Kind::Hold, "image_reserved"))
}

/// Moves what the hold of an order reserved.
pub fn capture(order: &NewImageOrder, hold: i64) -> NewTransfer {
    NewTransfer { hold_id: Some(hold), ..leg(order, (MADE, Kind::Capture, "image_generation")) }
}

/// Gives back what the hold of an order reserved.
pub fn void(order: &NewImageOrder, hold: i64) -> NewTransfer {
    NewTransfer { hold_id: Some(hold), ..leg(order, (FAILED, Kind::Void, "image_not_made")) }
}

fn leg(order: &NewImageOrder, (source, kind, reason): (&'static str, Kind, &'static str)) -> NewTransfer {
    let sides =
        (AccountRef::customer(order.account, order.currency), AccountRef::revenue(IMAGE, order.currency));
    let mut leg = NewTransfer::post((source, order.id.to_string()), sides, order.price, reason);
    leg.kind = kind;
    if let Asker::Project(project) = order.asker {
        leg.metadata = json!({ "project_id": project });
    }
    leg.referring_to("image_order", order.id)
}
