use super::*;

fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(text) {
        Err(ConfigError::Mistakes(mistakes)) => mistakes.iter().map(|m| m.key.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

const EXAMPLE: &str = include_str!("../../../../docker/serve.example.toml");

#[test]
fn the_documented_example_is_a_configuration() {
    let config = Config::parse(EXAMPLE).unwrap();
    assert_eq!(config.chains.len(), 2);
    assert!(matches!(config.chains[0].fee_payer, SignerConfig::Kms { .. }));
    assert_eq!(config.sites.apex, "sites.example.com");
    assert_eq!(config.cells[0].name, "cell-1");
    assert!(config.identity.siwx_path_bound);
}

#[test]
fn every_mistake_is_named_at_once() {
    let found = mistakes(
        r#"
        colour = "red"
        [server]
        listen = "everywhere"
        public_url = "api.example.com"
        claim_ttl_secs = 1
        wait_secs_max = 90
        timeout = 5
        [sites]
        apex = "Sites.Example.com:80"
        scheme = "gopher"
        [control_db]
        url = "mysql://root@db"
        [[cells]]
        name = "one"
        [s3]
        endpoint = "s3.example.com"
        bucket = "b"
        access_key = ""
        [[chains]]
        network = "eip155:1"
        payee = "0x12"
        fee_payer = { keystore = "a", kms = "b" }
        [identity]
        admin_wallets = ["me"]
        "#,
    );
    for key in [
        "colour",
        "server.listen",
        "server.public_url",
        "server.master_key_file",
        "server.claim_ttl_secs",
        "server.wait_secs_max",
        "server.timeout",
        "sites.apex",
        "sites.scheme",
        "control_db.url",
        "cells[0].url",
        "s3.endpoint",
        "s3.access_key",
        "s3.secret_key",
        "chains[0].network",
        "chains[0].rpc_url",
        "chains[0].payee",
        "chains[0].fee_payer.keystore",
        "identity.admin_wallets",
    ] {
        assert!(found.iter().any(|one| one == key), "{key} is missing in {found:#?}");
    }
    assert_eq!(found.len(), 19, "{found:#?}");
}

#[test]
fn an_empty_file_says_which_sections_to_write() {
    let found = mistakes("");
    for key in ["server", "sites", "control_db", "cells", "s3", "chains"] {
        assert!(found.iter().any(|one| one == key), "{key} is missing in {found:#?}");
    }
}

#[test]
fn a_network_of_real_money_has_no_faucet_and_each_network_is_there_once() {
    let chain = r#"
        [[chains]]
        network = "eip155:8453"
        rpc_url = "http://127.0.0.1:1"
        payee = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        fee_payer = { keystore = "fees" }
        faucet = { keystore = "faucet" }
    "#;
    let found = mistakes(&format!("{chain}{chain}"));
    assert!(found.iter().any(|key| key == "chains[1].faucet"), "{found:#?}");
    assert!(found.iter().any(|key| key == "chains") && found.iter().any(|key| key == "keystore"));
}

#[test]
fn a_project_may_ask_so_often_and_not_never() {
    let prices = |section: &str| Config::parse(&format!("{EXAMPLE}\n[prices]\n{section}"));
    let config = prices("project_requests_per_sec = 5").unwrap();
    assert_eq!(config.prices.project_requests_per_sec, Some(5));
    for bad in ["0", "-1", "1000001", "1.5"] {
        let refused = prices(&format!("project_requests_per_sec = {bad}"));
        assert!(matches!(refused, Err(ConfigError::Mistakes(_))), "{bad:?} is taken");
    }
}

// A31.
#[test]
fn a_tier_may_have_another_price_and_never_none() {
    let prices = |section: &str| Config::parse(&format!("{EXAMPLE}\n{section}"));
    let config = prices("[prices.hobby]\nprice_micros = 6000000").unwrap();
    assert_eq!(config.prices.tiers, [(types::Tier::Hobby, types::UsdMicros(6_000_000))]);
    for bad in ["price_micros = 0", "price_micros = -1", "price_micros = 5.0", "price = 1", ""] {
        let Err(ConfigError::Mistakes(found)) = prices(&format!("[prices.team]\n{bad}")) else {
            panic!("{bad:?} is taken");
        };
        assert!(found.iter().all(|m| m.key.starts_with("prices.team.price")), "{bad:?}: {found:#?}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = Config::parse(EXAMPLE).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("change-me"), "{shown}");
    // Nor in a complaint about them.
    let error = Config::parse("[control_db]\nurl = \"mysql://root:hunter2@db\"").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn bad_syntax_is_placed_without_showing_the_line() {
    let error = Config::parse("[control_db]\nurl = \"postgres://root:hunter2@db").unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
}
