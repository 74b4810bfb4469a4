//! The child anvil: Base Sepolia's id, our USDC at its address, accounts of our own, state that survives.
//!
//! What anvil 1.7 keeps over a restart: blocks, transactions, receipts and logs of the whole history, and the
//! state at the tip. What it does not keep: state *at* older blocks (`eth_call` there fails).
//! A chain that is killed outright loses the blocks since its last dump, which looks like a reorganisation.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::SolCall;
use serde_json::{Value, json};

use crate::account::Account;
use crate::children::{Child, Keeper, Role};
use crate::error::LabError;
use crate::keys::{Keys, signer};
use crate::layout::Layout;
use crate::tools::Programs;
use crate::{CHAIN_ID, LabConfig, Progress};

mod saved;

const TOKEN: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");
/// `faucet` in TestUsdc.sol: right-aligned in slot 0.
const FAUCET_SLOT: U256 = U256::ZERO;
const ARTEFACT: &str = include_str!("../../../chain/contracts/TestUsdc.json");
/// 1,000,000 USDC; minted again when less than a tenth is left.
const FAUCET_UNITS: u64 = 1_000_000_000_000;
const ETHER: u128 = 1_000_000_000_000_000_000;
const GAS_ETHER: u128 = 10_000;
const READY_SECS_MAX: u64 = 60;
const MINT_SECS_MAX: u64 = 60;
const POLL: Duration = Duration::from_millis(50);
/// A free port found may be taken before anvil binds it.
const PORT_ATTEMPTS: usize = 5;

sol! {
    function mint(address to, uint256 value) external;
    function balanceOf(address account) external view returns (uint256);
}

/// What starting the chain needs.
pub(crate) struct Chain<'a> {
    pub(crate) config: &'a LabConfig,
    pub(crate) layout: &'a Layout,
    pub(crate) account: &'a Account,
    pub(crate) programs: &'a Programs,
    pub(crate) keys: &'a Keys,
}

impl Chain<'_> {
    /// Starts anvil on its saved state, and makes sure of chain id, token, gas and the faucet's balance.
    pub(crate) async fn start(
        &self,
        keeper: &Keeper,
        say: Progress<'_>,
    ) -> Result<(Child, SocketAddr), LabError> {
        check_port(self.config.chain_listen, "chain")?;
        if saved::secure(self.layout, self.account)? == saved::Saved::TakenFromBackup {
            say("the chain's state was broken: continuing with the copy from the last start");
        }
        let (child, listen) = self.launch(keeper).await?;
        self.furnish(&rpc_url(listen)).await?;
        Ok((child, listen))
    }

    async fn launch(&self, keeper: &Keeper) -> Result<(Child, SocketAddr), LabError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let listen = free_port(self.config.chain_listen)?;
            match self.launch_at(listen, keeper).await {
                Ok(child) => return Ok((child, listen)),
                Err(LabError::ChildDied { tail, .. }) if tail.contains("in use") => {
                    if self.config.chain_listen.port() != 0 || attempt == PORT_ATTEMPTS {
                        return Err(port_in_use(listen, "chain"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn launch_at(&self, listen: SocketAddr, keeper: &Keeper) -> Result<Child, LabError> {
        let folder = self.layout.chain();
        let mut command = self.account.lasting_command(&self.programs.anvil, Role::Chain.death_signal());
        command
            .arg("--silent")
            .args(["--chain-id", &CHAIN_ID.to_string()])
            .args(["--block-time", &self.config.block_time_secs.max(1).to_string()])
            // Its well-known accounts would be rich strangers with public keys.
            .args(["--accounts", "0"])
            .args(["--host", &listen.ip().to_string(), "--port", &listen.port().to_string()])
            .args(["--state-interval", &saved::interval_secs(self.layout).to_string()])
            .arg("--state")
            .arg(saved::file(self.layout))
            .env("HOME", &folder)
            .env("TMPDIR", &folder);
        let child = Child::spawn(Role::Chain, command, keeper, self.layout).await?;
        let rpc = connect(&rpc_url(listen))?;
        let ready = async {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(READY_SECS_MAX);
            let mut last = String::new();
            while tokio::time::Instant::now() < deadline {
                match rpc.get_chain_id().await {
                    Ok(CHAIN_ID) => return Ok(()),
                    Ok(other) => return Err(LabError::Chain(format!("chain id {other}"))),
                    Err(error) => last = error.to_string(),
                }
                tokio::time::sleep(POLL).await;
            }
            let (what, log) = (Role::Chain.as_str(), child.log.clone());
            Err(LabError::NotReady { what, secs: READY_SECS_MAX, last, log })
        };
        tokio::select! {
            // Its death first: another process may answer on the same port.
            biased;
            death = child.death() => return Err(death),
            ready = ready => ready?,
        }
        Ok(child)
    }

    /// Brings the chain to what the lab promises; a chain that is already there is left alone.
    async fn furnish(&self, url: &str) -> Result<(), LabError> {
        let rpc = connect(url)?;
        let faucet = signer(&self.keys.faucet)?;
        let code = token_code()?;
        if rpc.get_code_at(TOKEN).await.map_err(chain_error)? != code {
            set(&rpc, "anvil_setCode", json!([TOKEN, code])).await?;
        }
        let owner = B256::left_padding_from(faucet.address().as_slice());
        let present = rpc.get_storage_at(TOKEN, FAUCET_SLOT).await.map_err(chain_error)?;
        if B256::from(present) != owner {
            set(&rpc, "anvil_setStorageAt", json!([TOKEN, B256::from(FAUCET_SLOT), owner])).await?;
        }
        for account in [faucet.address(), signer(&self.keys.fee_payer)?.address()] {
            let balance = rpc.get_balance(account).await.map_err(chain_error)?;
            if balance < U256::from(GAS_ETHER * ETHER / 10) {
                set(&rpc, "anvil_setBalance", json!([account, U256::from(GAS_ETHER * ETHER)])).await?;
            }
        }
        if faucet_units(&rpc, faucet.address()).await? < U256::from(FAUCET_UNITS / 10) {
            mint(url, faucet).await?;
        }
        Ok(())
    }
}

pub(crate) fn rpc_url(listen: SocketAddr) -> String {
    format!("http://{listen}")
}

/// Fails when the address is not loopback, or the port is named and taken.
pub(crate) fn check_port(listen: SocketAddr, what: &'static str) -> Result<(), LabError> {
    if !listen.ip().is_loopback() {
        return Err(LabError::NotLoopback { listen: listen.to_string(), what });
    }
    bind(listen, what).map(|_| ())
}

fn free_port(listen: SocketAddr) -> Result<SocketAddr, LabError> {
    bind(listen, "chain")?
        .local_addr()
        .map_err(|source| LabError::Io { what: "finding a port".to_owned(), source })
}

fn bind(listen: SocketAddr, what: &'static str) -> Result<TcpListener, LabError> {
    TcpListener::bind(listen).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => port_in_use(listen, what),
        _ => LabError::Io { what: format!("listening on {listen} for the {what}"), source },
    })
}

fn port_in_use(listen: SocketAddr, what: &'static str) -> LabError {
    LabError::PortInUse { host: listen.ip().to_string(), port: listen.port(), what }
}

fn connect(url: &str) -> Result<DynProvider, LabError> {
    let url = url.parse().map_err(|error| LabError::Chain(format!("{url}: {error}")))?;
    Ok(ProviderBuilder::default().connect_http(url).erased())
}

async fn set(rpc: &DynProvider, method: &'static str, parameters: Value) -> Result<(), LabError> {
    // The answer is null or true, by method; an error is an error in both.
    let _: Value = rpc.raw_request(method.into(), parameters).await.map_err(chain_error)?;
    Ok(())
}

async fn faucet_units(rpc: &DynProvider, faucet: Address) -> Result<U256, LabError> {
    let call = balanceOfCall { account: faucet }.abi_encode();
    let answer = rpc.call(TransactionRequest::default().with_to(TOKEN).with_input(call)).await;
    balanceOfCall::abi_decode_returns(&answer.map_err(chain_error)?).map_err(chain_error)
}

/// A real transaction, so that the supply has its `Transfer` event.
async fn mint(url: &str, faucet: PrivateKeySigner) -> Result<(), LabError> {
    let to = faucet.address();
    let url = url.parse().map_err(chain_error)?;
    let rpc = ProviderBuilder::new().wallet(EthereumWallet::from(faucet)).connect_http(url);
    rpc.client().set_poll_interval(POLL * 4);
    let call = mintCall { to, value: U256::from(FAUCET_UNITS) }.abi_encode();
    let request = TransactionRequest::default().with_to(TOKEN).with_input(call);
    let pending = rpc.send_transaction(request).await.map_err(chain_error)?;
    let receipt = tokio::time::timeout(Duration::from_secs(MINT_SECS_MAX), pending.get_receipt())
        .await
        .map_err(|_| LabError::Chain("no block within a minute".to_owned()))?
        .map_err(chain_error)?;
    if receipt.status() { Ok(()) } else { Err(LabError::Chain("the token refused to mint".to_owned())) }
}

fn token_code() -> Result<Bytes, LabError> {
    let unfit = |why: String| LabError::Corrupt { path: Path::new("TestUsdc.json").to_path_buf(), why };
    let artefact: Value = serde_json::from_str(ARTEFACT).map_err(|error| unfit(error.to_string()))?;
    let code = artefact["deployedBytecode"].as_str().unwrap_or_default();
    code.parse().map_err(|_| unfit("no deployedBytecode".to_owned()))
}

fn chain_error(error: impl std::fmt::Display) -> LabError {
    LabError::Chain(error.to_string())
}
