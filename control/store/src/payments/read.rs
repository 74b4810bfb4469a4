//! Reading payments.

use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, Network, PaymentId, UsdMicros};

use super::{AuthorisationKey, Failure, PaymentRow, PaymentState};
use crate::sightings::Reader;
use crate::{During, Store, StoreError, Tx};

macro_rules! select_payments {
    ($tail:literal) => {
        concat!(
            "select id, network, asset, payer, nonce, pay_to, amount_micros, valid_after, valid_before, signature,
               request, request_hash, product, product_key, account_id, state, failure_code, failure_message,
               tx_hash, block_number, block_hash, credits, response, created_at, updated_at, credited_at, finalized_at
             from payments ",
            $tail
        )
    };
}

pub(super) async fn payment_for_update(tx: &mut Tx, id: PaymentId) -> Result<PaymentRow, StoreError> {
    let row = sqlx::query(select_payments!("where id = $1 for update"))
        .bind(id.0)
        .fetch_optional(tx.conn())
        .await
        .during("lock payment")?
        .ok_or(StoreError::NotFound("payment"))?;
    payment_row(&row)
}

impl Store {
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn payment_find(&self, id: PaymentId) -> Result<Option<PaymentRow>, StoreError> {
        let row = sqlx::query(select_payments!("where id = $1"))
            .bind(id.0)
            .fetch_optional(self.pool())
            .await
            .during("find payment")?;
        row.as_ref().map(payment_row).transpose()
    }

    /// # Errors
    /// `NotFound`.
    pub async fn payment_fetch(&self, id: PaymentId) -> Result<PaymentRow, StoreError> {
        self.payment_find(id).await?.ok_or(StoreError::NotFound("payment"))
    }

    /// The payment that a proof belongs to, whatever it is presented for now.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn payment_by_authorisation(
        &self,
        key: &AuthorisationKey,
    ) -> Result<Option<PaymentRow>, StoreError> {
        let row =
            sqlx::query(select_payments!("where network = $1 and asset = $2 and payer = $3 and nonce = $4"))
                .bind(key.network.as_str())
                .bind(key.asset.to_string())
                .bind(key.payer.to_string())
                .bind(key.nonce.as_slice())
                .fetch_optional(self.pool())
                .await
                .during("find payment by authorisation")?;
        row.as_ref().map(payment_row).transpose()
    }

    /// The newest payment of an account for a product whose outcome is open (A09).
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn payment_unfinished_for(
        &self,
        account: AccountId,
        product: &str,
        product_key: &str,
    ) -> Result<Option<PaymentRow>, StoreError> {
        let row = sqlx::query(select_payments!(
            "where account_id = $1 and product = $2 and product_key = $3 and state in ('verified', 'settling')
             order by created_at desc limit 1"
        ))
        .bind(account.0)
        .bind(product)
        .bind(product_key)
        .fetch_optional(self.pool())
        .await
        .during("find unfinished payment")?;
        row.as_ref().map(payment_row).transpose()
    }

    /// Payments whose outcome is open, least recently moved first: what a sweep hints.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn payments_unfinished(&self, limit: i64) -> Result<Vec<PaymentId>, StoreError> {
        let rows = sqlx::query(
            "select id from payments where state in ('verified', 'settling') order by updated_at limit $1",
        )
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list unfinished payments")?;
        ids(&rows)
    }

    /// Payments that ended and whose money is on the canonical chain all the same: the hint that said so was lost.
    /// Looks back over authorisations that ended in the last week of the chain's own, scanned, time; later than
    /// that nothing can use them. Not those whose money an operator gave away.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn payments_to_revive(&self, limit: i64) -> Result<Vec<PaymentId>, StoreError> {
        let rows = sqlx::query(
            "select p.id from
               (select network, extract(epoch from max(block_time))::bigint as scanned from chain_blocks
                group by network) c
             join payments p on p.network = c.network and p.state in ('failed', 'expired')
               and p.valid_before > c.scanned - 7 * 86400
             join sightings s on s.network = p.network and s.asset = p.asset and s.payer = p.payer
               and s.nonce = p.nonce and s.pay_to = p.pay_to and s.amount_micros = p.amount_micros and s.canonical
             where not exists (select from suspense_resolutions r where s.in_suspense and r.sighting = s.network
               || '/0x' || encode(s.block_hash, 'hex') || '/' || s.log_index || '/#' || s.turn)
             order by p.id limit $1",
        )
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list payments to revive")?;
        ids(&rows)
    }

    /// Credited payments whose block is at or below `finalized` and whose exposure still counts.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn payments_to_finalize(
        &self,
        network: Network,
        finalized: i64,
        limit: i64,
    ) -> Result<Vec<PaymentId>, StoreError> {
        let rows = sqlx::query(
            "select id from payments where network = $1 and state = 'credited' and finalized_at is null
               and block_number <= $2 order by block_number limit $3",
        )
        .bind(network.as_str())
        .bind(finalized)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list payments to finalize")?;
        ids(&rows)
    }

    /// How many payments have an open outcome, for `/status` and the books.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn payments_in_flight(&self) -> Result<i64, StoreError> {
        sqlx::query("select count(*) from payments where state in ('verified', 'settling')")
            .fetch_one(self.pool())
            .await
            .and_then(|row| row.try_get(0))
            .during("count payments in flight")
    }
}

fn ids(rows: &[PgRow]) -> Result<Vec<PaymentId>, StoreError> {
    rows.iter().map(|row| Ok(PaymentId(row.try_get(0).during("read payment id")?))).collect()
}

fn payment_row(row: &PgRow) -> Result<PaymentRow, StoreError> {
    let read = Reader { row };
    let state: String = read.get("state")?;
    let state = PaymentState::ALL
        .into_iter()
        .find(|s| s.as_str() == state)
        .ok_or_else(|| StoreError::Corrupt(format!("payment state {state}")))?;
    let code: Option<String> = read.get("failure_code")?;
    let message: Option<String> = read.get("failure_message")?;
    Ok(PaymentRow {
        id: PaymentId(read.get("id")?),
        key: AuthorisationKey {
            network: read.network()?,
            asset: read.wallet("asset")?,
            payer: read.wallet("payer")?,
            nonce: read.bytes32("nonce")?,
        },
        pay_to: read.wallet("pay_to")?,
        amount: UsdMicros(read.get("amount_micros")?),
        valid_after: read.get("valid_after")?,
        valid_before: read.get("valid_before")?,
        signature: read.get("signature")?,
        request: read.get("request")?,
        request_hash: read.bytes32("request_hash")?,
        product: read.get("product")?,
        product_key: read.get("product_key")?,
        account: AccountId(read.get("account_id")?),
        state,
        failure: code.map(|code| Failure { code, message: message.unwrap_or_default() }),
        tx_hash: read.bytes32_opt("tx_hash")?,
        block_number: read.get("block_number")?,
        block_hash: read.bytes32_opt("block_hash")?,
        credits: read.get("credits")?,
        response: read.get("response")?,
        created_at: read.get("created_at")?,
        updated_at: read.get("updated_at")?,
        credited_at: read.get("credited_at")?,
        finalized_at: read.get("finalized_at")?,
    })
}
