use super::*;

const ASSET: Wallet = Wallet([0xaa; 20]);
const US: Wallet = Wallet([1; 20]);
const PAYER: Wallet = Wallet([2; 20]);
const OTHER: Wallet = Wallet([3; 20]);

fn log(tx: u8, log_index: u64, topics: Vec<Bytes32>, data: Vec<u8>) -> RawLog {
    RawLog {
        address: ASSET,
        topics,
        data,
        block_number: 7,
        block_hash: [7; 32],
        tx_hash: [tx; 32],
        log_index,
    }
}

fn used(tx: u8, log_index: u64, by: Wallet, nonce: u8) -> RawLog {
    log(tx, log_index, vec![authorization_used_topic(), wallet_topic(by), [nonce; 32]], Vec::new())
}

fn transfer(tx: u8, log_index: u64, (from, to): (Wallet, Wallet), amount: u64) -> RawLog {
    let topics = vec![transfer_topic(), wallet_topic(from), wallet_topic(to)];
    log(tx, log_index, topics, U256::from(amount).to_be_bytes_vec())
}

fn scan(logs: &[RawLog]) -> Result<Vec<Sighting>, RpcError> {
    let network = Network::BaseSepolia;
    let block =
        BlockLogs { network, asset: ASSET, block_number: 7, block_hash: [7; 32], timestamp: 70, logs };
    sightings(&block, &[US])
}

/// (log index, payer, nonce, amount)
fn short(found: &[Sighting]) -> Vec<(u64, Wallet, Option<u8>, i64)> {
    found.iter().map(|s| (s.log_index, s.payer, s.nonce().map(|n| n[0]), s.amount.0)).collect()
}

// B16: a batch, in whatever order the node lists it.
#[test]
fn each_authorisation_of_a_batch_is_paired_with_its_own_transfer() {
    let mut logs = Vec::new();
    for n in 0..200_u8 {
        let at = u64::from(n) * 2;
        logs.push(used(1, at, PAYER, n));
        logs.push(transfer(1, at + 1, (PAYER, if n % 3 == 0 { OTHER } else { US }), at + 1));
    }
    logs.reverse();
    let expected: Vec<_> = (0..200_u8)
        .filter(|n| n % 3 != 0)
        .map(|n| (u64::from(n) * 2 + 1, PAYER, Some(n), i64::from(n) * 2 + 1))
        .collect();
    assert_eq!(short(&scan(&logs).unwrap()), expected);
}

// A11: a token that says "used" and moves nothing.
#[test]
fn an_authorisation_without_its_transfer_is_no_payment() {
    assert_eq!(scan(&[used(1, 0, PAYER, 9)]).unwrap(), []);
    let next = [used(1, 0, PAYER, 9), used(1, 1, OTHER, 8), transfer(1, 2, (OTHER, US), 5)];
    assert_eq!(short(&scan(&next).unwrap()), [(2, OTHER, Some(8), 5)]);
    // Money of someone else, or in another transaction, does not make up for it.
    let others = [used(1, 0, PAYER, 9), transfer(1, 1, (OTHER, US), 5)];
    assert_eq!(short(&scan(&others).unwrap()), [(1, OTHER, None, 5)]);
    let later = [used(1, 0, PAYER, 9), transfer(2, 1, (PAYER, US), 5)];
    assert_eq!(short(&scan(&later).unwrap()), [(1, PAYER, None, 5)]);
}

#[test]
fn plain_transfers_are_reported_as_direct_and_those_of_nothing_are_not() {
    let logs =
        [transfer(1, 0, (PAYER, US), 5), transfer(1, 1, (PAYER, OTHER), 6), transfer(2, 2, (OTHER, US), 0)];
    let found = scan(&logs).unwrap();
    assert_eq!(short(&found), [(0, PAYER, None, 5)]);
    assert_eq!(found[0].evidence, Evidence::Direct);
    assert_eq!((found[0].timestamp, found[0].pay_to, found[0].tx_hash), (70, US, [1; 32]));
}

// B13.
#[test]
fn one_forged_log_condemns_the_whole_answer() {
    let good = transfer(1, 0, (PAYER, US), 5);
    let forge = |change: &dyn Fn(&mut RawLog)| {
        let mut log = good.clone();
        log.log_index = 1;
        change(&mut log);
        scan(&[good.clone(), log])
    };
    assert_eq!(forge(&|_| ()).unwrap().len(), 2);
    let forgeries: [&dyn Fn(&mut RawLog); 11] = [
        &|log| log.address = OTHER,
        &|log| log.block_hash = [8; 32],
        &|log| log.block_number = 8,
        &|log| log.log_index = 0,
        &|log| log.topics.truncate(2),
        &|log| log.topics.push([0; 32]),
        &|log| log.topics[0] = [0; 32],
        &|log| log.data.truncate(31),
        &|log| log.data.push(0),
        &|log| log.topics[1][0] = 1,
        &|log| log.data[0] = 1,
    ];
    for (at, forgery) in forgeries.into_iter().enumerate() {
        assert!(matches!(forge(forgery), Err(RpcError::Forged(_))), "forgery {at}");
    }
    let mut dirty = used(1, 1, PAYER, 9);
    dirty.topics[1][11] = 1;
    assert!(scan(&[good, dirty]).is_err());
}

#[test]
fn the_topics_are_those_of_the_standards() {
    assert_eq!(
        hex::encode(transfer_topic()),
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    );
    assert_eq!(
        hex::encode(authorization_used_topic()),
        "98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
    );
}
