//! Two servers on one Postgres: the work is shared, and no entity has two writers.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Lab, LabOptions, Server, eventually, fresh_folder, target_binary};

use crate::ownership::{present, sign};

/// A lab whose configuration a second server can use, and that second server.
pub async fn two_servers() -> (Lab, Server, String) {
    two_servers_with(|config| config).await
}

/// The same; `change` is made to the second server's configuration.
pub async fn two_servers_with(change: impl FnOnce(String) -> String) -> (Lab, Server, String) {
    two_servers_of(Vec::new(), change).await
}

/// The same with more words for the first.
pub async fn two_servers_of(
    mut args: Vec<String>,
    change: impl FnOnce(String) -> String,
) -> (Lab, Server, String) {
    let config = fresh_folder().with_extension("toml");
    args.extend(["--write-serve-config".to_owned(), config.display().to_string()]);
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, change(text)).unwrap();
    let second =
        Server::start(Command::new(target_binary("run402d")).arg("serve").arg("--config").arg(&config)).await;
    // Both have the same public address, as behind a load balancer; here each is spoken to directly.
    assert_eq!(second.ready["api"], lab.server.ready["api"]);
    let api = format!("http://{}", second.ready["listen"].as_str().unwrap());
    assert_ne!(api, lab.api);
    let _ = std::fs::remove_file(config);
    (lab, second, api)
}

// E06, A03: the same proof to both servers at the same instant is one grant; either answers for the other's
// entities.
#[tokio::test]
async fn two_servers_share_the_work_without_a_double_writer() {
    let (lab, _second, api) = two_servers().await;
    let wallet = lab.funded_wallet().await;
    let payment = sign(&lab, &lab.api, &wallet).await;
    let to = |base| present(&lab, base, &wallet, &payment);
    let (one, two) = tokio::join!(to(&lab.api), to(&api));
    assert_eq!((one.status, two.status), (200, 200), "{one:?}\n{two:?}");
    assert_eq!(one.body, two.body);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);

    // Whichever holds an entity, both serve it.
    for base in [&lab.api, &api, &lab.api, &api] {
        let answer = lab
            .send(
                lab.http
                    .post(format!("{base}/projects/v1"))
                    .header("sign-in-with-x", wallet.siwx(base, "/projects/v1"))
                    .json(&json!({ "name": "shared" })),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    lab.assert_books_agree();
}

// E06: an entity moves when its holder dies, and the old holder's fence is refused.
#[tokio::test]
async fn an_entity_moves_to_the_surviving_server_and_the_old_fence_is_refused() {
    let (lab, mut second, api) = two_servers().await;
    let wallet = lab.subscribed_wallet().await;
    let renew = async |base: &str| {
        let payment = sign(&lab, base, &wallet).await;
        eventually("the renewal", 60, || async {
            let answer = present(&lab, base, &wallet, &payment).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await
    };
    lab.mint(&wallet, 10_000_000).await;
    let database = lab.database().await;
    let claim = async || -> (i64, uuid::Uuid) {
        sqlx::query_as("select epoch, node from claims where kind = 'lease' order by claimed_at desc limit 1")
            .fetch_one(&database)
            .await
            .unwrap()
    };
    let (epoch, holder) = claim().await;

    // Force the entity over to the second server: give the claim back as a drained holder would, then renew
    // there.
    sqlx::query("update claims set held = false where kind in ('lease', 'payment')")
        .execute(&database)
        .await
        .unwrap();
    let body: Value = renew(&api).await;
    assert_eq!(body["action"], "renew");
    let (moved_epoch, moved_holder) = claim().await;
    assert!(moved_epoch > epoch, "the epoch rises: {epoch} -> {moved_epoch}");
    assert_ne!(holder, moved_holder, "the second server holds it now");

    // The first server's keeper still lives with its old fence: its write is refused and forwarded to the
    // holder.
    let body = renew(&lab.api).await;
    assert_eq!(body["action"], "renew");
    let held: i64 = sqlx::query_scalar(
        "select count(*) from claims c where kind = 'lease' and held group by kind, entity order by 1 desc limit 1",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!(held, 1, "one holder per entity");

    // The holder dies without goodbye: after its heartbeat lapses the survivor takes over.
    second.kill();
    let body = renew(&lab.api).await;
    assert_eq!(body["action"], "renew");
    let (purchases,): (i64,) =
        sqlx::query_as("select count(*) from purchases").fetch_one(&database).await.unwrap();
    assert_eq!(purchases, 4);
    lab.assert_books_agree();
}
