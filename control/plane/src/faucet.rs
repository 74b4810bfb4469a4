//! Test money for new wallets.

use std::net::IpAddr;
use std::time::Duration;

use actors::kit::ActorError;
use actors::wallet::{Reply, Request, lane_of};
use chrono::TimeDelta;
use store::chain_txs::{ChainTxRow, Purpose};
use store::requests::{DripInsert, DripLimits, NewDrip, drip_dropped, drip_insert};
use types::{Code, LaneId, Mutation, Network, Problem, UsdMicros, Wallet};
use uuid::Uuid;

use crate::Plane;
use crate::caller::Caller;
use crate::pay::unavailable;

/// Two prototype purchases and a little.
///
/// # Source
/// Wire contract 01 section 4 and open question 11.
const DRIP: UsdMicros = UsdMicros(250_000);
const NETWORK: Network = Network::BaseSepolia;
const WALLET_REST: TimeDelta = TimeDelta::hours(24);
const CLIENT_HOURLY_MAX: i64 = 20;
/// How long the answer waits for its transaction to be mined; it is on its way in any case.
const WAIT_POLLS_MAX: u32 = 100;
const POLL: Duration = Duration::from_millis(100);
const POLLS_PER_HINT: u32 = 10;
const CALL: Duration = Duration::from_secs(15);

/// Money that was sent.
#[derive(Debug, Clone)]
pub struct Drip {
    pub tx_hash: [u8; 32],
    pub amount: UsdMicros,
    pub network: Network,
}

impl Plane {
    /// Sends test USDC to an address. Open to everybody, within limits by address and by client.
    ///
    /// # Errors
    /// `BAD_REQUEST` for what is no address; `FAUCET_DISABLED`; `RATE_LIMITED`; `CHAIN_UNAVAILABLE`.
    pub async fn faucet_drip(&self, caller: &Caller, address: &str) -> Result<Drip, Problem> {
        let wallet: Wallet = address.parse().map_err(|e: types::BadWallet| {
            Problem::new(Code::BadRequest, e.to_string()).detail("field", "address")
        })?;
        let faucet = self.deps().chains.get(NETWORK).and_then(|chain| chain.faucet.as_ref());
        let faucet =
            faucet.ok_or_else(|| Problem::new(Code::FaucetDisabled, "this server has no faucet"))?.address();
        let id = self.drip_allow(caller, wallet).await?;
        let lane = lane_of(NETWORK, faucet);
        self.drip_send(lane, id).await?;
        let tx_hash = self.drip_mined(lane, id).await?;
        tracing::info!(%wallet, tx.hash = %hex::encode(tx_hash), "faucet drip");
        Ok(Drip { tx_hash, amount: DRIP, network: NETWORK })
    }

    async fn drip_allow(&self, caller: &Caller, wallet: Wallet) -> Result<Uuid, Problem> {
        let deps = self.deps();
        let id = deps.entropy.uuid();
        let new = NewDrip { id, wallet, client_ip: caller.client_ip.clone(), amount: DRIP };
        // Whoever is on this machine can read the faucet's key anyway: a limit would only stop tests and
        // benches.
        let local = caller.client_ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let ip_hourly_max = if local { None } else { Some(CLIENT_HOURLY_MAX) };
        let limits = DripLimits { wallet_rest: WALLET_REST, ip_hourly_max };
        let mut tx = deps.store.begin().await.map_err(unavailable)?;
        let outcome = drip_insert(&mut tx, &new, limits, self.now()).await.map_err(unavailable)?;
        let limited = |message: &str, secs: i64| {
            Err(Problem::new(Code::RateLimited, message).extra("retry_after", secs))
        };
        match outcome {
            DripInsert::Allowed => {
                tx.commit().await.map_err(unavailable)?;
                Ok(id)
            }
            DripInsert::WalletLimited { retry_after_secs } => {
                limited("this address had its drip; one a day is given", retry_after_secs)
            }
            DripInsert::ClientLimited { retry_after_secs } => {
                limited("too many drips were asked for from here", retry_after_secs)
            }
        }
    }

    async fn drip_send(&self, lane: LaneId, id: Uuid) -> Result<(), Problem> {
        match self.actors().wallet.call(lane, Request::Faucet { drip: id }, CALL).await {
            Ok(Reply::Sent { .. } | Reply::Done) => Ok(()),
            Ok(Reply::Refused { reason }) => {
                self.drip_drop(id).await;
                tracing::error!(reason, "the faucet cannot pay: fund it");
                Err(Problem::new(Code::FaucetDisabled, "the faucet is empty"))
            }
            // It may still be sent, so the drip stands.
            Err(ActorError::OutcomeUnknown) => Err(ActorError::OutcomeUnknown.into_problem()),
            Err(e) => {
                self.drip_drop(id).await;
                Err(e.into_problem().mutation(Mutation::NotStarted))
            }
        }
    }

    /// Nothing was signed, so the address may ask again.
    async fn drip_drop(&self, id: Uuid) {
        let dropped = async {
            let mut tx = self.deps().store.begin().await?;
            drip_dropped(&mut tx, id).await?;
            tx.commit().await
        };
        if let Err(e) = dropped.await {
            tracing::warn!(error = %e, "a drip that was not sent still counts");
        }
    }

    /// Waits for the receipt, so that a client that pays next finds its money; then answers in any case.
    async fn drip_mined(&self, lane: LaneId, id: Uuid) -> Result<[u8; 32], Problem> {
        let mut newest = None;
        for poll in 1..=WAIT_POLLS_MAX {
            let attempts = self.deps().store.chain_txs_of_intent(id).await.map_err(unavailable)?;
            if let Some(mined) = attempts.iter().find(|a| a.succeeded.is_some()) {
                return outcome(mined);
            }
            newest = attempts.last().map(|a| a.hash).or(newest);
            if poll % POLLS_PER_HINT == 0 {
                self.actors().wallet.hint(lane, Request::Step);
            }
            tokio::time::sleep(POLL).await;
        }
        newest.ok_or_else(|| Problem::new(Code::Timeout, "the drip was not sent in time"))
    }
}

fn outcome(mined: &ChainTxRow) -> Result<[u8; 32], Problem> {
    if mined.succeeded == Some(true) && mined.purpose == Purpose::Faucet {
        return Ok(mined.hash);
    }
    Err(Problem::new(Code::FaucetDisabled, "the faucet's transfer was refused by the chain"))
}
