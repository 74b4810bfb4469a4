use super::*;

#[test]
fn the_written_configuration_is_one_that_serve_reads() {
    let data = std::env::temp_dir().join(format!("run402d-{}", hex::encode(&OsEntropy.secret()[..8])));
    std::fs::create_dir(&data).unwrap();
    let key = |n: u8| format!("0x{}", hex::encode([n; 32]));
    let wallet = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned();
    let lab = LabEndpoints {
        control_url: "postgres://run402@%2Ftmp%2Fsocket:5432/run402".into(),
        cell_url: "postgres://postgres:secret@127.0.0.1:5433/postgres".into(),
        postgres_socket_dir: "/tmp/socket".into(),
        chain_rpc: "http://127.0.0.1:8545".into(),
        s3_endpoint: "http://127.0.0.1:9000".into(),
        s3_bucket: "lab".into(),
        s3_access_key: "access".into(),
        s3_secret_key: "secret".into(),
        token_address: wallet.clone(),
        faucet_address: wallet.clone(),
        faucet_private_key: key(1),
        payee_address: wallet.clone(),
        payee_private_key: key(2),
        fee_payer_address: wallet,
        fee_payer_private_key: key(3),
    };
    let choices = || Choices {
        data: &data,
        listen: Listen { api: "127.0.0.1:0".parse().unwrap(), internal: "127.0.0.1:0".parse().unwrap() },
        public_url: "http://127.0.0.1:4020".into(),
        apex: "localhost".into(),
        port: 4020,
        siwx_domains: vec!["localhost".into()],
        admin_wallets: Vec::new(),
        project_requests_per_sec: Some(50),
        store: StoreChoices::default(),
        chain: ChainChoices { retained_blocks: Some(7), ..ChainChoices::default() },
        stripe: Some(stripe_choice("http://127.0.0.1:9", "whsec_lab")),
        google: Some(GoogleConfig {
            client_id: "lab".into(),
            client_secret: "secret".into(),
            issuer: "http://127.0.0.1:9".into(),
        }),
        ai: Some(AiConfig::at("http://127.0.0.1:9/v1", Some("key".into()))),
        ci: CiConfig { issuer: "http://127.0.0.1:8".into(), ..CiConfig::default() },
        domains: DomainsConfig {
            resolver: Some("127.0.0.1:53".parse().unwrap()),
            ..DomainsConfig::default()
        },
        tls: None,
        functions: Some(FunctionsConfig {
            node: "/opt/node".into(),
            esbuild: "/opt/esbuild".into(),
            folder: data.join("functions"),
            isolation: functions::Isolation::Namespaces,
            workers_max: 7,
            packages: Some(functions::PackagesConfig {
                npm: "/opt/npm".into(),
                registry: "http://127.0.0.1:7/".into(),
                ca_file: None,
            }),
            optional: true,
        }),
    };
    let first = make(choices(), &lab).unwrap();
    let key_before = std::fs::read(&first.server.master_key_file).unwrap();
    let again = make(choices(), &lab).unwrap();
    assert_eq!(std::fs::read(&again.server.master_key_file).unwrap(), key_before, "made once");
    let node_before = node(&data).unwrap();
    assert_eq!(node(&data).unwrap(), node_before, "a restart is the same node");
    std::fs::write(data.join("node.id"), "node_12").unwrap();
    assert_ne!(node(&data).unwrap(), node_before, "a torn file is made anew");
    let read = Config::parse(&serve_config(&again).unwrap()).unwrap();
    assert_eq!(read.sites.port, Some(4020));
    let functions = read.functions.unwrap();
    assert_eq!((functions.workers_max, functions.optional), (7, false));
    assert_eq!(functions.packages.unwrap().registry, "http://127.0.0.1:7/");
    assert_eq!(read.google.unwrap().issuer, "http://127.0.0.1:9");
    let ai = read.ai.unwrap().provider;
    assert_eq!((ai.base_url.as_str(), ai.api_key.is_some()), ("http://127.0.0.1:9/v1", true));
    assert_eq!((read.ci.issuer.as_str(), read.ci.audiences.len()), ("http://127.0.0.1:8", 1));
    assert_eq!(read.domains.resolver, Some("127.0.0.1:53".parse().unwrap()));
    let stripe = read.stripe.unwrap();
    assert_eq!((stripe.webhook_secrets.len(), stripe.api_base.as_deref()), (1, Some("http://127.0.0.1:9")));
    assert_eq!((read.chains[0].retained_blocks, read.chains[0].rpc_urls.len()), (7, 1));
    assert_eq!(read.prices.every_tier_on, Some(vec![Network::BaseSepolia]));
    assert_eq!(read.prices.project_requests_per_sec, Some(50));
    assert_eq!(read.server.public_url.as_deref(), Some("http://127.0.0.1:4020"), "nodes share their address");
    assert!(read.server.master_key_file.is_absolute());
    std::fs::remove_dir_all(&data).unwrap();
}
