//! Checks the books: the journal against itself, payments and purchases against the journal, leases against
//! purchases, and all that was seen of the chain against the chain, every block of it read anew.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::{ChainDeps, Chains};
use billing::lease::{Holding, fold};
use chain::rpc::{BlockAt, RpcError};
use chain::scan::{ScanQuery, Sighting};
use futures::stream::{self, StreamExt};
use store::Store;
use store::accounts::{accounts_with_purchases, lease_find, purchases_live, refunds_of_account};
use store::ledger::{Finding, LedgerReport, verify};
use store::sightings::SightingRow;
use types::{Code, Problem, UsdMicros};

use crate::Plane;
use crate::tiers::down;

const ACCOUNTS_PAGE: i64 = 500;
/// Blocks asked for at once: a few seconds of a public node, which may halve the range again.
const BLOCKS_MAX: i64 = 2_000;
const CHUNKS_AT_ONCE: usize = 4;
/// How often a difference is looked at again before it is one, and after what pause: a watcher that works
/// meanwhile catches up within a second or two.
const LOOKS_AGAIN: u32 = 3;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(700);

/// What an audit found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct BooksReport {
    /// Zero when the books are right.
    pub differences: u64,
    pub transfers: i64,
    pub accounts: i64,
    pub sealed: i64,
    pub unsealed: i64,
    pub roots: i64,
    pub leases_checked: u64,
    /// Deposits compared with the chain's own logs.
    pub deposits_checked: u64,
    /// Payments whose outcome is open: not a difference.
    pub in_flight: i64,
    /// Differences found, the first of them in words.
    pub findings: Vec<Finding>,
}

impl Plane {
    /// Audits everything.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `CHAIN_UNAVAILABLE`: the books could not be read, which says nothing about them.
    pub async fn books_verify(&self) -> Result<BooksReport, Problem> {
        books_verify(&self.deps().store, &self.deps().chains).await
    }
}

/// Audits everything that `store` and `chains` show; needs no actors, so it works beside a running server and
/// without.
///
/// # Errors
/// As [`Plane::books_verify`].
pub async fn books_verify(store: &Store, chains: &Chains) -> Result<BooksReport, Problem> {
    let mut ledger = verify(store).await.map_err(down)?;
    let mut report = BooksReport {
        transfers: ledger.transfers,
        accounts: ledger.accounts,
        sealed: ledger.sealed,
        unsealed: ledger.unsealed,
        roots: ledger.roots,
        in_flight: ledger.in_flight,
        ..BooksReport::default()
    };
    report.leases_checked = leases(store, &mut ledger).await?;
    for chain in chains.0.values() {
        report.deposits_checked += deposits(store, chain, &mut ledger).await?;
    }
    report.differences = ledger.differences;
    report.findings = ledger.findings;
    Ok(report)
}

/// Every lease and every refund is what the account's purchases amount to.
async fn leases(store: &Store, report: &mut LedgerReport) -> Result<u64, Problem> {
    let (mut checked, mut after) = (0, None);
    loop {
        let page = accounts_with_purchases(store, after, ACCOUNTS_PAGE).await.map_err(down)?;
        let Some(last) = page.last() else { return Ok(checked) };
        after = Some(*last);
        for account in page {
            checked += 1;
            let purchases = purchases_live(store, account).await.map_err(down)?;
            let due = fold(&purchases);
            let lease = lease_find(store, account).await.map_err(down)?;
            let refunded: BTreeMap<_, _> = refunds_of_account(store, account)
                .await
                .map_err(down)?
                .into_iter()
                .filter(|(_, amount)| *amount != UsdMicros::ZERO)
                .collect();
            let right = lease == due.holding.as_ref().map(Holding::lease) && refunded == due.refunds;
            // A purchase between two of these reads is not a difference: look again.
            let moved = || async { purchases_live(store, account).await.map(|p| p.len() != purchases.len()) };
            if !right && !moved().await.map_err(down)? {
                report.add(
                    "lease",
                    format!("{account}: the lease or its refunds do not follow from its purchases"),
                );
            }
        }
    }
}

/// Every block that was ever scanned is asked again: what it shows is what is stored, no more and no less.
async fn deposits(store: &Store, chain: &ChainDeps, report: &mut LedgerReport) -> Result<u64, Problem> {
    let Some(cursor) = store.cursor_find(chain.network).await.map_err(down)? else { return Ok(0) };
    let chunks: Vec<Blocks> = chunks((cursor.first_block, cursor.next_block - 1)).collect();
    let mut read = stream::iter(chunks)
        .map(|blocks| async move { both(store, chain, blocks).await.map(|both| (blocks, both)) })
        .buffered(CHUNKS_AT_ONCE);
    let mut checked = 0;
    while let Some(next) = read.next().await {
        let (blocks, (stored, shown)) = next?;
        checked += stored.len() as u64;
        let mut differences = compare(&stored, &shown);
        for _ in 0..LOOKS_AGAIN {
            if differences.is_empty() {
                break;
            }
            // A reorganisation between the two reads is not a difference: look again.
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            let (stored, shown) = both(store, chain, blocks).await?;
            differences = compare(&stored, &shown);
        }
        differences.into_iter().for_each(|what| report.add("chain", what));
    }
    // Above the cursor there can be nothing: those blocks are not scanned.
    let beyond = store.sightings_between(chain.network, (cursor.next_block, i64::MAX)).await.map_err(down)?;
    let cursor = store.cursor_find(chain.network).await.map_err(down)?.map_or(0, |c| c.next_block);
    for seen in beyond.iter().filter(|s| s.block_number >= cursor) {
        report.add("chain", format!("{} is above the watcher's place", seen.source_id()));
    }
    Ok(checked)
}

/// Block numbers, both ends included.
type Blocks = (i64, i64);

fn chunks((first, last): Blocks) -> impl Iterator<Item = Blocks> {
    let size = usize::try_from(BLOCKS_MAX).unwrap_or(1);
    (first..=last).step_by(size).map(move |from| (from, last.min(from + BLOCKS_MAX - 1)))
}

/// What is stored of some blocks, and what the chain shows of them now.
async fn both(
    store: &Store,
    chain: &ChainDeps,
    blocks: Blocks,
) -> Result<(Vec<SightingRow>, Vec<Sighting>), Problem> {
    let stored = store.sightings_between(chain.network, blocks).await.map_err(down)?;
    Ok((stored, reread(chain, blocks).await?))
}

async fn reread(chain: &ChainDeps, (from, to): Blocks) -> Result<Vec<Sighting>, Problem> {
    let away =
        |e: RpcError| Problem::new(Code::ChainUnavailable, format!("the chain could not be read again: {e}"));
    let asset = chain::asset::usdc(chain.network).address;
    for look in 0.. {
        let head = chain.rpc.block_at(BlockAt::Latest).await.map_err(away)?.map_or(0, |head| head.number);
        // A chain that ends before these blocks shows nothing of them.
        let (from, to) = (from.unsigned_abs(), to.unsigned_abs().min(head));
        if from > to {
            break;
        }
        let query = ScanQuery { from, to, asset, payees: chain.payees.clone() };
        match chain.rpc.authorizations(&query).await {
            Err(RpcError::Moved) if look < LOOKS_AGAIN => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
            answer => return answer.map_err(away),
        }
    }
    Ok(Vec::new())
}

/// The facts that make two sightings the same money.
type Money = ([u8; 32], i64, [u8; 32], Option<[u8; 32]>, types::Wallet, types::Wallet, i64);

/// The differences, in words.
fn compare(stored: &[SightingRow], shown: &[Sighting]) -> Vec<String> {
    let stored: BTreeMap<Money, String> = stored
        .iter()
        .map(|s| {
            let money =
                (s.block_hash, i64::from(s.log_index), s.tx_hash, s.nonce, s.payer, s.pay_to, s.amount.0);
            (money, s.source_id())
        })
        .collect();
    let on_chain: BTreeMap<Money, u64> = shown
        .iter()
        .filter(|s| s.amount > UsdMicros::ZERO)
        .map(|s| {
            let log = i64::try_from(s.log_index).unwrap_or(i64::MAX);
            ((s.block_hash, log, s.tx_hash, s.nonce(), s.payer, s.pay_to, s.amount.0), s.block_number)
        })
        .collect();
    let missing = stored.iter().filter(|(money, _)| !on_chain.contains_key(*money));
    let unseen = on_chain.iter().filter(|(money, _)| !stored.contains_key(*money));
    let missing = missing.map(|(_, name)| format!("the chain does not show the money of {name}"));
    let unseen =
        unseen.map(|(money, block)| format!("block {block} shows {} micros that were never seen", money.6));
    missing.chain(unseen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_in_one_chunk() {
        let all: Vec<Blocks> = chunks((7, 7 + 2 * BLOCKS_MAX)).collect();
        assert_eq!(all[0], (7, 6 + BLOCKS_MAX));
        assert!(all.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1));
        assert_eq!(all[2], (7 + 2 * BLOCKS_MAX, 7 + 2 * BLOCKS_MAX));
        // Nothing is scanned yet.
        assert_eq!(chunks((7, 6)).count(), 0);
    }
}
