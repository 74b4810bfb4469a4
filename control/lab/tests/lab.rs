//! The lab on real servers: it continues, it cleans up after a kill, and it refuses with advice.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report; helpers are not seen as tests")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::Filter;
use lab::{Lab, LabConfig, LabEndpoints, LabError};
use tokio_postgres::NoTls;

/// Set in the process that a test starts from its own binary, to be killed.
const VICTIM: &str = "RUN402_LAB_TEST_VICTIM";

/// A data directory that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("run402-lab-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tools() -> PathBuf {
    let chosen = std::env::var_os("RUN402_TOOLS_DIR").map(PathBuf::from);
    chosen.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"))
}

fn config(data: &Path) -> LabConfig {
    let chain_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    LabConfig { data: data.to_path_buf(), tools: Some(tools()), chain_listen, block_time_secs: 1 }
}

async fn start(data: &Path) -> Lab {
    Lab::start(config(data), &|line| eprintln!("{line}")).await.unwrap()
}

async fn refused(config: LabConfig) -> LabError {
    // Spawned, as a server may do: the future has to be `Send`.
    tokio::spawn(async move { Lab::start(config, &|_| {}).await }).await.unwrap().map(|_| ()).unwrap_err()
}

async fn sql(url: &str, statement: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let messages = client.simple_query(statement).await.unwrap();
    let row = |message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The faucet's token balance, the number of blocks, and the number of `Transfer` logs in all of them.
async fn chain_facts(endpoints: &LabEndpoints) -> (U256, u64, usize) {
    let rpc = ProviderBuilder::new().connect_http(endpoints.chain_rpc.parse().unwrap());
    let token: Address = endpoints.token_address.parse().unwrap();
    let faucet: Address = endpoints.faucet_address.parse().unwrap();
    let mut call = vec![0x70, 0xa0, 0x82, 0x31];
    call.extend(faucet.into_word());
    let request = alloy::rpc::types::TransactionRequest::default().to(token).input(call.into());
    let units = U256::from_be_slice(&rpc.call(request).await.unwrap());
    let blocks = rpc.get_block_number().await.unwrap();
    assert!(rpc.get_block_by_number(1.into()).await.unwrap().is_some(), "old blocks are readable");
    let logs = rpc.get_logs(&Filter::new().address(token).from_block(0)).await.unwrap();
    (units, blocks, logs.len())
}

#[tokio::test]
async fn a_second_start_continues_where_the_first_stopped() {
    let scratch = Scratch::new("continue");
    let first = start(&scratch.0).await;
    let before = first.endpoints().clone();
    sql(&before.control_url, "create table kept (word text); insert into kept values ('still here')").await;
    sql(&before.cell_url, "create table kept (word text); insert into kept values ('here too')").await;
    assert_eq!(sql(&before.cell_url, "show max_locks_per_transaction").await, ["256"]);
    let (units, blocks, logs) = chain_facts(&before).await;
    assert_eq!((units, logs), (U256::from(1_000_000_000_000_u64), 1));
    assert_eq!(lab::running(&scratch.0).unwrap().as_ref(), Some(&before));
    first.stop().await.unwrap();
    assert_eq!(lab::running(&scratch.0).unwrap(), None);
    assert!(!scratch.0.join("endpoints.json").exists());

    let second = start(&scratch.0).await;
    let after = second.endpoints().clone();
    assert_eq!(after.payee_address, before.payee_address);
    assert_eq!(sql(&after.control_url, "select word from kept").await, ["still here"]);
    assert_eq!(sql(&after.cell_url, "select word from kept").await, ["here too"]);
    let (units, later_blocks, logs) = chain_facts(&after).await;
    assert_eq!((units, logs), (U256::from(1_000_000_000_000_u64), 1));
    assert!(later_blocks >= blocks, "{later_blocks} after {blocks}");
    second.stop().await.unwrap();

    let books = Lab::start_books_only(config(&scratch.0), &|_| {}).await.unwrap();
    assert_eq!(sql(&books.endpoints().control_url, "select word from kept").await, ["still here"]);
    assert_eq!(books.endpoints().cell_url, "");
    assert_eq!(chain_facts(books.endpoints()).await.0, units);
    books.stop().await.unwrap();
}

#[tokio::test]
async fn objects_need_the_key_and_survive() {
    let scratch = Scratch::new("objects");
    let lab = start(&scratch.0).await;
    let endpoints = lab.endpoints();
    let url = format!("{}/{}/x", endpoints.s3_endpoint, endpoints.s3_bucket);
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(scratch.0.join("s3").join(&endpoints.s3_bucket).is_dir());
    lab.stop().await.unwrap();
    assert!(reqwest::get(&url).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn secrets_are_closed_and_the_cell_asks_everyone_for_a_password() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("secrets");
    let lab = start(&scratch.0).await;
    for name in ["keys.json", "endpoints.json"] {
        let mode = scratch.0.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let shown = format!("{:?}", lab.endpoints());
    assert!(!shown.contains(&lab.endpoints().payee_private_key) && !shown.contains("postgres://"), "{shown}");
    let (before, after) = lab.endpoints().cell_url.split_once('@').unwrap();
    let (user, _) = before.rsplit_once(':').unwrap();
    let refused =
        tokio_postgres::connect(&format!("{user}:wrong@{after}"), NoTls).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("28P01"));
    lab.stop().await.unwrap();
}

/// Not a test of its own: the process that `the_next_start_ends_the_orphans_of_a_killed_lab` kills.
#[tokio::test]
async fn victim() {
    let Some(data) = std::env::var_os(VICTIM) else { return };
    let lab = start(Path::new(&data)).await;
    println!("ready");
    let failure = lab.failed().await;
    panic!("a child ended: {failure}");
}

fn start_victim(data: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "victim", "--nocapture"]).env(VICTIM, data).stdout(Stdio::null());
    command.spawn().unwrap()
}

async fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !is_true() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn recorded_pids(data: &Path) -> Vec<u64> {
    let text = std::fs::read(data.join("children.json")).unwrap();
    let records: serde_json::Value = serde_json::from_slice(&text).unwrap();
    records.as_array().unwrap().iter().map(|record| record["pid"].as_u64().unwrap()).collect()
}

fn is_running(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn the_next_start_ends_the_orphans_of_a_killed_lab() {
    let scratch = Scratch::new("orphans");
    let mut victim = start_victim(&scratch.0);
    wait_until("the victim runs", || scratch.0.join("endpoints.json").exists()).await;
    let endpoints = lab::running(&scratch.0).unwrap().unwrap();
    sql(&endpoints.control_url, "create table kept (word text); insert into kept values ('committed')").await;
    let blocks = chain_facts(&endpoints).await.1;
    let orphans = recorded_pids(&scratch.0);
    assert_eq!(orphans.len(), 3);
    assert!(orphans.iter().all(|pid| is_running(*pid)));

    victim.kill().unwrap();
    victim.wait().unwrap();
    let next = start(&scratch.0).await;
    assert!(orphans.iter().all(|pid| !is_running(*pid)), "no server of the killed lab is left");
    assert!(recorded_pids(&scratch.0).iter().all(|pid| !orphans.contains(pid)));
    assert_eq!(sql(&next.endpoints().control_url, "select word from kept").await, ["committed"]);
    let (_, later_blocks, logs) = chain_facts(next.endpoints()).await;
    assert!(later_blocks >= blocks && logs == 1, "anvil saved its state when its parent died");
    next.stop().await.unwrap();
}

/// Field 22 of `/proc/<pid>/stat`.
fn start_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

/// Starts a lab over a `children.json` that names a `sleep`, and tells whether the sleep survived it.
async fn survives_a_start(name: &str, recorded_start: impl FnOnce(u64) -> u64) -> bool {
    let scratch = Scratch::new(name);
    start(&scratch.0).await.stop().await.unwrap();
    let mut sleep = Command::new("sleep").arg("600").spawn().unwrap();
    let start_time = recorded_start(start_time(sleep.id()));
    let records = serde_json::json!([{ "role": "chain", "pid": sleep.id(), "start_time": start_time }]);
    std::fs::write(scratch.0.join("children.json"), records.to_string()).unwrap();
    start(&scratch.0).await.stop().await.unwrap();
    let survived = sleep.try_wait().unwrap().is_none();
    let _ = sleep.kill();
    sleep.wait().unwrap();
    survived
}

#[tokio::test]
async fn a_recorded_process_that_still_runs_is_ended() {
    assert!(!survives_a_start("recorded", |start_time| start_time).await);
}

#[tokio::test]
async fn a_recorded_id_that_now_belongs_to_another_process_is_left_alone() {
    assert!(survives_a_start("reused", |start_time| start_time - 1).await);
}

/// Only root needs it: the servers' account is another one then.
#[tokio::test]
async fn a_closed_data_directory_and_closed_tools_still_work_for_root() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("closed");
    let data = scratch.0.join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o700)).unwrap();
    let copied = Command::new("cp").arg("-a").arg(tools()).arg(scratch.0.join("tools")).status().unwrap();
    assert!(copied.success());
    let closed = LabConfig { tools: Some(scratch.0.join("tools")), ..config(&data) };
    let lab = Lab::start(closed, &|_| {}).await.unwrap();
    assert_eq!(sql(&lab.endpoints().control_url, "select 1").await, ["1"]);
    lab.stop().await.unwrap();
    let elsewhere = std::fs::read_link(data.join("control-pg"));
    start(&data).await.stop().await.unwrap();
    if let Ok(elsewhere) = elsewhere {
        std::fs::remove_dir_all(elsewhere.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_busy_port_is_named_and_nothing_is_left_running() {
    let scratch = Scratch::new("port");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let chain_listen = taken.local_addr().unwrap();
    let error = refused(LabConfig { chain_listen, ..config(&scratch.0) }).await;
    assert!(matches!(error, LabError::PortInUse { port, .. } if port == chain_listen.port()), "{error}");
    assert!(error.to_string().contains(&chain_listen.port().to_string()));
    assert!(!scratch.0.join("children.json").exists());
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = refused(LabConfig { chain_listen: open, ..config(&scratch.0) }).await;
    assert!(matches!(error, LabError::NotLoopback { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_of_another_format_or_purpose_is_refused_untouched() {
    let scratch = Scratch::new("format");
    std::fs::create_dir_all(&scratch.0).unwrap();
    std::fs::write(scratch.0.join("VERSION"), "999\n").unwrap();
    let error = refused(config(&scratch.0)).await;
    assert!(matches!(&error, LabError::Version { found, .. } if found == "999"), "{error}");
    std::fs::remove_file(scratch.0.join("VERSION")).unwrap();
    std::fs::write(scratch.0.join("thesis.txt"), "precious").unwrap();
    let error = refused(config(&scratch.0)).await;
    assert!(matches!(error, LabError::NotALab { .. }), "{error}");
    assert_eq!(std::fs::read(scratch.0.join("thesis.txt")).unwrap(), b"precious");
    let error =
        Lab::start_books_only(config(&scratch.0.join("nothing")), &|_| {}).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, LabError::NoLab { .. }), "{error}");
    assert!(!scratch.0.join("nothing").exists());
}

#[tokio::test]
async fn a_second_lab_on_the_same_directory_is_refused_with_the_holder() {
    let scratch = Scratch::new("locked");
    let first = start(&scratch.0).await;
    let error = refused(config(&scratch.0)).await;
    let holder = std::process::id().to_string();
    assert!(matches!(&error, LabError::Locked { holder: by, .. } if *by == holder), "{error}");
    assert_eq!(sql(&first.endpoints().control_url, "select 1").await, ["1"], "the first is not disturbed");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn missing_tools_name_the_command_that_brings_them() {
    let scratch = Scratch::new("tools");
    let tools = Some(scratch.0.join("no-tools"));
    let error = refused(LabConfig { tools, ..config(&scratch.0) }).await;
    assert!(error.to_string().contains("cargo xtask tools"), "{error}");
}

#[tokio::test]
async fn a_broken_chain_state_is_replaced_by_its_copy_and_a_deep_path_still_works() {
    let scratch = Scratch::new("deep");
    let data = scratch.0.join("a-rather-long-name-of-a-folder/".repeat(4)).join("lab");
    start(&data).await.stop().await.unwrap();
    start(&data).await.stop().await.unwrap();
    let state = data.join("chain/state.json");
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let lab = start(&data).await;
    assert_eq!(chain_facts(lab.endpoints()).await.2, 1);
    lab.stop().await.unwrap();
    std::fs::write(&state, "{").unwrap();
    std::fs::write(data.join("chain-backup/state.json"), "{").unwrap();
    let error = refused(config(&data)).await;
    assert!(matches!(error, LabError::Corrupt { .. }), "{error}");
}
