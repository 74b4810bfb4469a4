//! What the transactions of a lane do, rebuilt from rows whenever an attempt is signed.

use chain::asset::usdc;
use chain::lane::{Effect, erc20_transfer, ether_transfer, transfer_with_authorization};
use chain::x402::wire::Authorization;
use store::StoreError;
use store::chain_txs::{ChainTxRow, Purpose};
use store::payments::PaymentRow;
use store::requests::DripRow;
use types::{PaymentId, Wallet};
use uuid::Uuid;

use super::error::signer_error;
use crate::Deps;
use crate::kit::ActorError;

/// Gas of a plain transfer of ether.
pub(super) const CANCEL_GAS: u64 = 21_000;

/// Something to do on the chain once.
pub(super) enum Job {
    Settle(Box<PaymentRow>),
    Faucet(DripRow),
}

impl Job {
    /// The job behind an attempt; none for one that only filled a nonce.
    pub async fn of(deps: &Deps, attempt: &ChainTxRow) -> Result<Option<Self>, ActorError> {
        if let Some(payment) = deps.store.payment_find(PaymentId(attempt.intent)).await? {
            return Ok(Some(Self::Settle(Box::new(payment))));
        }
        Ok(deps.store.drip_find(attempt.intent).await?.map(Self::Faucet))
    }

    pub fn intent(&self) -> Uuid {
        match self {
            Self::Settle(payment) => payment.id.0,
            Self::Faucet(drip) => drip.id,
        }
    }

    pub fn purpose(&self) -> Purpose {
        match self {
            Self::Settle(_) => Purpose::Settle,
            Self::Faucet(_) => Purpose::Faucet,
        }
    }

    pub fn effect(&self, network: types::Network) -> Result<Effect, ActorError> {
        match self {
            Self::Settle(payment) => {
                let (authorization, signature) = (authorization(payment)?, &payment.signature);
                transfer_with_authorization(payment.key.asset, &authorization, signature)
                    .map_err(signer_error)
            }
            Self::Faucet(drip) => {
                erc20_transfer(usdc(network).address, drip.wallet, drip.amount).map_err(signer_error)
            }
        }
    }
}

/// Moves nothing to ourselves: uses up a nonce.
pub(super) fn nothing(address: Wallet) -> Effect {
    ether_transfer(address, 0)
}

fn authorization(payment: &PaymentRow) -> Result<Authorization, ActorError> {
    let secs = |name: &str, value: i64| {
        u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("payments.{name} is negative")))
    };
    Ok(Authorization {
        from: payment.key.payer,
        to: payment.pay_to,
        value: payment.amount,
        valid_after: secs("valid_after", payment.valid_after)?,
        valid_before: secs("valid_before", payment.valid_before)?,
        nonce: payment.key.nonce,
    })
}
