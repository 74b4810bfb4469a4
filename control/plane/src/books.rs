//! Checks the books: the journal against itself, payments and purchases against the journal, leases against
//! purchases, and every sighting against the chain, read anew.

use std::collections::BTreeMap;

use actors::{ChainDeps, Chains};
use billing::lease::{Holding, fold};
use chain::rpc::BlockAt;
use chain::scan::{ScanQuery, Sighting};
use store::Store;
use store::accounts::{accounts_with_purchases, lease_find, purchases_live, refunds_of_account};
use store::ledger::{Finding, LedgerReport, verify};
use store::sightings::SightingRow;
use types::{Code, Problem, UsdMicros};

use crate::Plane;
use crate::tiers::down;

const ACCOUNTS_PAGE: i64 = 500;
const SIGHTINGS_PAGE: i64 = 1_000;
/// Blocks asked for at once. Public nodes refuse more.
const BLOCKS_MAX: u64 = 500;

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

/// Every canonical sighting is on the chain as stored, and the chain shows no other in the same blocks.
async fn deposits(store: &Store, chain: &ChainDeps, report: &mut LedgerReport) -> Result<u64, Problem> {
    let (mut checked, mut after) = (0, (-1, i32::MAX));
    loop {
        let page = store.sightings_list(chain.network, after, SIGHTINGS_PAGE).await.map_err(down)?;
        let Some(last) = page.last() else { return Ok(checked) };
        after = (last.block_number, last.log_index);
        for run in runs(&page) {
            let shown = reread(chain, run).await?;
            checked += run.len() as u64;
            compare(run, &shown, report);
        }
    }
}

/// Splits sightings, which are in chain order, into runs that one question to the node covers.
fn runs(sightings: &[SightingRow]) -> Vec<&[SightingRow]> {
    let (mut runs, mut rest) = (Vec::new(), sightings);
    while let Some(first) = rest.first() {
        let end = first.block_number.saturating_add(BLOCKS_MAX.cast_signed());
        let (run, more) = rest.split_at(rest.partition_point(|s| s.block_number < end));
        runs.push(run);
        rest = more;
    }
    runs
}

async fn reread(chain: &ChainDeps, run: &[SightingRow]) -> Result<Vec<Sighting>, Problem> {
    let number = |row: Option<&SightingRow>| row.map_or(0, |s| s.block_number.unsigned_abs());
    let away = |e: chain::rpc::RpcError| {
        Problem::new(Code::ChainUnavailable, format!("the chain could not be read again: {e}"))
    };
    let head = chain.rpc.block_at(BlockAt::Latest).await.map_err(away)?.map_or(0, |head| head.number);
    // A chain that ends before the sightings shows none of them.
    let (from, to) = (number(run.first()), number(run.last()).min(head));
    if from > to {
        return Ok(Vec::new());
    }
    let asset = run.first().map(|s| s.asset).ok_or_else(|| Problem::new(Code::Internal, "an empty run"))?;
    let query = ScanQuery { from, to, asset, payees: chain.payees.clone() };
    chain.rpc.authorizations(&query).await.map_err(away)
}

/// The facts that make two sightings the same money.
type Money = ([u8; 32], i64, [u8; 32], Option<[u8; 32]>, types::Wallet, types::Wallet, i64);

fn compare(run: &[SightingRow], shown: &[Sighting], report: &mut LedgerReport) {
    let stored: BTreeMap<Money, String> = run
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
    for (_, name) in stored.iter().filter(|(money, _)| !on_chain.contains_key(*money)) {
        report.add("chain", format!("the chain does not show the money of {name}"));
    }
    for (money, block) in on_chain.iter().filter(|(money, _)| !stored.contains_key(*money)) {
        report.add("chain", format!("block {block} shows {} micros that were never seen", money.6));
    }
}
