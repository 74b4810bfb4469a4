//! Who owns an entity when nodes stop and databases die.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet, eventually};

use crate::deploys::{deploy, fetch};
use crate::nodes::two_servers_with;

const ROUTE: &str = "/tiers/v1/prototype";

/// Buys with a payment at one of several servers.
pub async fn present(lab: &Lab, base: &str, wallet: &Wallet, payment: &Value) -> Answer {
    let request = lab
        .http
        .post(format!("{base}{ROUTE}"))
        .header("sign-in-with-x", wallet.siwx(base, ROUTE))
        .header("payment-signature", STANDARD.encode(payment.to_string()))
        .json(&json!({}));
    lab.send(request).await
}

/// A payment for what a server asks. A keeper that finds its entity taken over answers 503 once, and so does one
/// that waits for a dead holder's heartbeat to lapse; a repeat finds the new holder.
pub async fn sign(lab: &Lab, base: &str, wallet: &Wallet) -> Value {
    let challenge = eventually("the challenge", 60, || async {
        let request =
            lab.http.post(format!("{base}{ROUTE}")).header("sign-in-with-x", wallet.siwx(base, ROUTE));
        let answer = lab.send(request.json(&json!({}))).await;
        assert!(matches!(answer.status, 402 | 503), "{answer:?}");
        (answer.status == 402).then_some(answer)
    })
    .await;
    let challenge = tests::decode_challenge(challenge.headers["payment-required"].to_str().unwrap());
    let offer = challenge["accepts"][0].clone();
    wallet.payment(&challenge, &offer, &wallet.authorize(&offer))
}

async fn bought(lab: &Lab, base: &str, wallet: &Wallet, payment: &Value) -> Value {
    eventually("the purchase", 60, || async {
        let answer = present(lab, base, wallet, payment).await;
        assert!(matches!(answer.status, 200 | 409 | 503), "{answer:?}");
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

// E06: the holder is paused past its heartbeat, as by a long collection or a sleeping machine. Another takes over
// and sells; the paused one wakes up with old fences in its memory, writes nothing, and carries on.
#[tokio::test]
async fn a_paused_holder_is_superseded_and_wakes_up_without_a_write() {
    let short = |config: String| config.replacen("[server]\n", "[server]\nclaim_ttl_secs = 3\n", 1);
    let (lab, second, other) = two_servers_with(short).await;
    let wallet = Wallet::random();
    lab.mint(&wallet, 1_000_000).await;
    let database = lab.database().await;
    let lease = async || -> (i64, uuid::Uuid) {
        sqlx::query_as("select epoch, node from claims where kind = 'lease'")
            .fetch_one(&database)
            .await
            .unwrap()
    };
    let first = sign(&lab, &other, &wallet).await;
    assert_eq!(bought(&lab, &other, &wallet, &first).await["action"], "subscribe");
    // The lease's keeper lives where it was asked for first; see to it that this is the second server.
    let ours = lab.server.ready["internal"].as_str().unwrap();
    let ours: uuid::Uuid = sqlx::query_scalar("select id from nodes where internal_url = $1")
        .bind(ours)
        .fetch_one(&database)
        .await
        .unwrap();
    let (epoch, holder) = eventually("the second server to hold the lease", 20, || async {
        let give_back = "update claims set held = false where kind = 'lease'";
        sqlx::query(give_back).execute(&database).await.unwrap();
        sign(&lab, &other, &wallet).await;
        let (epoch, holder) = lease().await;
        (holder != ours).then_some((epoch, holder))
    })
    .await;

    second.signal(Signal::SIGSTOP);
    eventually("the heartbeat to lapse", 20, || async {
        let alive = "select count(*) from nodes where expires_at > now()";
        let alive: i64 = sqlx::query_scalar(alive).fetch_one(&database).await.unwrap();
        (alive == 1).then_some(())
    })
    .await;
    let third = sign(&lab, &lab.api, &wallet).await;
    assert_eq!(bought(&lab, &lab.api, &wallet, &third).await["action"], "renew");
    let (taken_epoch, taker) = lease().await;
    assert!(taken_epoch > epoch && taker != holder, "taken over: {epoch} -> {taken_epoch}");

    second.signal(Signal::SIGCONT);
    let fourth = sign(&lab, &other, &wallet).await;
    assert_eq!(bought(&lab, &other, &wallet, &fourth).await["action"], "renew");
    let (last_epoch, last_holder) = lease().await;
    assert_eq!(
        (last_epoch, last_holder),
        (taken_epoch, taker),
        "the sleeper took nothing back from a live node"
    );
    let purchases: i64 =
        sqlx::query_scalar("select count(*) from purchases").fetch_one(&database).await.unwrap();
    assert_eq!(purchases, 3);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 700_000);
    lab.assert_books_agree();
}

/// SIGKILL for one of the lab's servers, by the name that `children.json` gives it.
fn kill_child(lab: &Lab, role: &str) {
    let text = std::fs::read_to_string(lab.data.join("children.json")).unwrap();
    let children: Value = serde_json::from_str(&text).unwrap();
    let child = children.as_array().unwrap().iter().find(|child| child["role"] == role).unwrap();
    let pid = i32::try_from(child["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

// E12: the control database dies. Money fails closed, sites are served from memory, and everything comes back
// without a restart of the server.
#[tokio::test]
async fn a_dead_control_database_stops_money_and_not_sites_and_comes_back() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let live = deploy(&lab, &wallet, &project, &[("index.html", b"<h1>here</h1>")]).await;
    let url = live["urls"]["project"].as_str().unwrap().to_owned();
    assert_eq!(fetch(&lab, &url, "/", &[]).await.body, "<h1>here</h1>");
    lab.mint(&wallet, 1_000_000).await;
    let waiting = sign(&lab, &lab.api, &wallet).await;
    lab.chain.hold_blocks().await;
    let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
    let header = STANDARD.encode(waiting.to_string());
    let in_flight = tokio::spawn(request.header("payment-signature", header).send());
    let database = lab.database().await;
    eventually("the intent", 20, || async {
        let settling = "select count(*) from payments where state = 'settling'";
        let settling: i64 = sqlx::query_scalar(settling).fetch_one(&database).await.unwrap();
        (settling == 1).then_some(())
    })
    .await;
    database.close().await;

    kill_child(&lab, "control_postgres");
    lab.chain.release_blocks().await;
    let (mut closed, until) = (0, Instant::now() + Duration::from_secs(40));
    loop {
        assert!(Instant::now() < until, "still down: {}", lab.server.log.lock().unwrap());
        assert_eq!(fetch(&lab, &url, "/", &[]).await.body, "<h1>here</h1>", "a site needs no database");
        // Money waits for the database or is refused; nothing is offered or sold meanwhile.
        let request = lab.signed(&Wallet::random(), "POST", ROUTE, Some(json!({})));
        let Ok(answer) = request.timeout(Duration::from_millis(500)).send().await else {
            closed += 1;
            continue;
        };
        match answer.status().as_u16() {
            402 if answer.headers().contains_key("payment-required") => break,
            503 => closed += 1,
            _ => panic!("neither closed nor open: {answer:?}"),
        }
    }
    assert!(closed > 0, "the database was gone and nobody noticed");
    let told = in_flight.await.unwrap().unwrap();
    assert!(matches!(told.status().as_u16(), 200 | 409 | 503), "{told:?}");
    assert_eq!(bought(&lab, &lab.api, &wallet, &waiting).await["action"], "renew");
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 900_000, "one charge");

    // Everything works as before: money, deploys, and a name that shows what is new.
    let renewal = sign(&lab, &lab.api, &wallet).await;
    assert_eq!(bought(&lab, &lab.api, &wallet, &renewal).await["action"], "renew");
    deploy(&lab, &wallet, &project, &[("index.html", b"<h1>there</h1>")]).await;

    // The tenants' server dies as well: its projects are away for a moment, and back.
    let path = format!("/projects/v1/admin/{}/sql", project["project_id"].as_str().unwrap());
    let key = project["service_key"].as_str().unwrap();
    let select = || lab.send(lab.http.post(lab.url(&path)).bearer_auth(key).body("select 1 as n"));
    assert_eq!(select().await.status, 200);
    kill_child(&lab, "cell_postgres");
    eventually("the tenants' server", 40, || async {
        let answer = select().await;
        assert!(matches!(answer.status, 200 | 400 | 408 | 500..=503), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
    lab.assert_books_agree();
}
