//! Where a payment stands.

use chrono::{DateTime, Utc};
use store::payments::PaymentRow;
use types::{Code, Network, PaymentId, Problem, UsdMicros, Wallet};

use crate::Plane;
use crate::caller::Caller;
use crate::pay::unavailable;

/// A payment, as its account may see it.
#[derive(Debug, Clone)]
pub struct PaymentStatus {
    pub id: PaymentId,
    pub state: &'static str,
    pub network: Network,
    pub payer: Wallet,
    pub pay_to: Wallet,
    pub amount: UsdMicros,
    pub product: String,
    pub product_key: String,
    /// The facilitator's word and a sentence, when it failed or expired.
    pub failure: Option<(String, String)>,
    /// Where the chain showed its money; none before it was credited.
    pub tx_hash: Option<[u8; 32]>,
    pub block_number: Option<i64>,
    /// The answer to the request that it paid for, once credited.
    pub answer: Option<serde_json::Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub credited_at: Option<DateTime<Utc>>,
    pub finalized_at: Option<DateTime<Utc>>,
}

impl Plane {
    /// A payment of the caller's account.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED`; `RESOURCE_NOT_FOUND` for an unknown payment and for one of another account.
    pub async fn payment_get(&self, caller: &Caller, id: PaymentId) -> Result<PaymentStatus, Problem> {
        let (_, account) = self.account(caller).await?;
        let row = self.deps().store.payment_find(id).await.map_err(unavailable)?;
        row.filter(|row| row.account == account)
            .map(PaymentStatus::from)
            .ok_or_else(|| Problem::new(Code::ResourceNotFound, format!("no payment {id} of this account")))
    }
}

impl From<PaymentRow> for PaymentStatus {
    fn from(row: PaymentRow) -> Self {
        Self {
            id: row.id,
            state: row.state.as_str(),
            network: row.key.network,
            payer: row.key.payer,
            pay_to: row.pay_to,
            amount: row.amount,
            product: row.product,
            product_key: row.product_key,
            failure: row.failure.map(|f| (f.code, f.message)),
            tx_hash: row.tx_hash,
            block_number: row.block_number,
            answer: row.response,
            created_at: row.created_at,
            updated_at: row.updated_at,
            credited_at: row.credited_at,
            finalized_at: row.finalized_at,
        }
    }
}
