//! What a payment actor is asked.

/// Every request may be repeated. None carries facts: the rows and the chain do.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// The proof was just accepted: settle it.
    Settle,
    /// Something may have changed: go on from what rows and chain say.
    Step,
}
