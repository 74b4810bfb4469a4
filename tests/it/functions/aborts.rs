//! Clients that hang up, upload slowly, or send more than anybody reads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Lab, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{deploy, invoke, send_deploy};

/// Two rounds take more places than one function has: four workers with sixteen calls each.
const ROUND: usize = 40;
const ROUNDS: usize = 2;
const CUT_ANSWERS: usize = 20;
const CUT_UPLOADS: usize = 20;
/// A request is given up after a minute, its body included.
const DEADLINE: Duration = Duration::from_secs(60);
const SLOW: &str = "export default async (req) => {
        const id = new URL(req.url).searchParams.get('id');
        console.log(`began ${id}.`);
        await new Promise((done) => setTimeout(done, 1500));
        console.log(`ended ${id}.`);
        return new Response('done');
    };";
const ANSWERING: &str = "export default async (req) => {
        console.log('asked');
        await req.arrayBuffer();
        return new Response(new Uint8Array(5 * 1024 * 1024));
    };";

/// A connection on which the head of a call is on its way, with so many bytes of a body announced.
async fn begun(lab: &Lab, project: &Value, path: &str, announced: usize) -> TcpStream {
    let mut socket = TcpStream::connect(lab.api.trim_start_matches("http://")).await.unwrap();
    let key = project["anon_key"].as_str().unwrap();
    let head = format!(
        "POST /functions/v1/{path} HTTP/1.1\r\nHost: localhost\r\napikey: {key}\r\n\
         Content-Length: {announced}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Lines of a function's log that hold this text. Read past the API, which counts who asks it.
async fn lines(database: &PgPool, name: &str, text: &str) -> i64 {
    let query = "select count(*) from function_logs l join functions f on f.id = l.function_id
        where f.name = $1 and position($2 in l.message) > 0";
    sqlx::query_scalar(query).bind(name).bind(text).fetch_one(database).await.unwrap()
}

async fn told(database: &PgPool, name: &str, text: &str, count: i64) {
    eventually(&format!("{count} times {text:?} by {name}"), 30, || async {
        (lines(database, name, text).await >= count).then_some(())
    })
    .await;
}

/// Calls that were counted. An orderly end counts the last ones.
async fn restarted(lab: Lab) -> (Lab, i64) {
    let lab = lab.restart().await;
    let database = lab.database().await;
    let query = "select coalesce(sum(calls), 0)::bigint from account_calls";
    let counted = sqlx::query_scalar(query).fetch_one(&database).await.unwrap();
    (lab, counted)
}

/// Sends a byte now and then until it is cut off. Says what it was answered and when.
async fn drip(mut socket: TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match tokio::time::timeout(Duration::from_secs(1), socket.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => answer.extend(&buffer[..count]),
            Err(_) if socket.write_all(b"x").await.is_err() => break,
            Err(_) => assert!(started.elapsed() < DEADLINE * 2, "nobody ends it"),
        }
    }
    (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
}

// F14. Goal: a client that hangs up (while it uploads, while it waits, while it is answered) leaves a call that ends
// in its own time, once, in the log and in the count, and no place at a worker is lost. Method: more such clients than
// the function has places, then an ordinary call.
#[tokio::test]
async fn clients_that_hang_up_leave_calls_that_end_once_and_no_place_is_lost() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    for (name, code) in [("slow", SLOW), ("answering", ANSWERING)] {
        deploy(&lab, &project, name, code).await;
    }
    let code = "export default () => { console.log('began'); return new Promise(() => {}) }";
    let never = json!({ "name": "never", "code": code, "config": { "timeout": 2 } });
    assert_eq!(send_deploy(&lab, &project, never).await.status, 201);
    let (lab, before) = restarted(lab).await;
    let database = lab.database().await;

    for round in 1..=ROUNDS {
        let mut waiting = Vec::new();
        for n in 0..ROUND {
            waiting.push(begun(&lab, &project, &format!("slow?id={round}-{n}"), 0).await);
        }
        told(&database, "slow", &format!("began {round}-"), i64::try_from(ROUND).unwrap()).await;
        drop(waiting);
        told(&database, "slow", &format!("ended {round}-"), i64::try_from(ROUND).unwrap()).await;
    }
    let waiting = begun(&lab, &project, "never", 0).await;
    told(&database, "never", "began", 1).await;
    drop(waiting);
    told(&database, "never", "no answer within 2 s", 1).await;
    for _ in 0..CUT_ANSWERS {
        let mut socket = begun(&lab, &project, "answering", 0).await;
        socket.read_exact(&mut [0; 1000]).await.unwrap();
    }
    for _ in 0..CUT_UPLOADS {
        begun(&lab, &project, "answering", 1 << 20).await.write_all(b"beginning").await.unwrap();
    }
    told(&database, "answering", "asked", i64::try_from(CUT_ANSWERS).unwrap()).await;
    let ordinary = invoke(&lab, &project, "slow?id=last").await;
    assert_eq!((ordinary.status, &ordinary.body), (200, &json!("done")), "{ordinary:?}");
    // Logs come a moment later than answers, in order.
    told(&database, "slow", "ended last", 1).await;
    for (name, text, count) in [
        ("slow", "began", ROUND * ROUNDS + 1),
        ("slow", "ended", ROUND * ROUNDS + 1),
        ("never", "no answer", 1),
        ("answering", "asked", CUT_ANSWERS),
    ] {
        assert_eq!(lines(&database, name, text).await, i64::try_from(count).unwrap(), "{name}: {text}");
    }
    let workers = eventually("the worker of a call without end to be gone", 20, || async {
        let workers = lab.get("/status").await.body["functions"]["workers"]["bound"].as_u64().unwrap();
        // At most those of the two others.
        (workers <= 8).then_some(workers)
    })
    .await;
    assert!(workers >= 2, "{workers}");
    let (lab, after) = restarted(lab).await;
    let calls = ROUND * ROUNDS + 1 + CUT_ANSWERS + 1;
    assert_eq!(
        after - before,
        i64::try_from(calls).unwrap(),
        "each call counts once; uploads that were cut do not"
    );
    assert_eq!(invoke(&lab, &project, "slow?id=later").await.status, 200);
}

// F14. Goal: whoever asked for a run by hand and hangs up leaves a run that ends as if somebody had waited.
#[tokio::test]
async fn a_run_by_hand_ends_when_its_asker_has_hung_up() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    deploy(&lab, &project, "slow", SLOW).await;
    let database = lab.database().await;
    let (id, key) = (project["project_id"].as_str().unwrap(), project["service_key"].as_str().unwrap());
    let trigger = lab.url(&format!("/projects/v1/admin/{id}/functions/slow/trigger"));
    let asked = lab.http.post(trigger).bearer_auth(key).json(&json!({})).send();
    let asked = tokio::spawn(asked);
    told(&database, "slow", "began", 1).await;
    asked.abort();
    let end = eventually("the run to end", 20, || async {
        let query = "select state from function_runs where ended_at is not null";
        sqlx::query_scalar::<_, String>(query).fetch_optional(&database).await.unwrap()
    })
    .await;
    assert_eq!(end, "succeeded");
    // Logs come a moment later.
    told(&database, "slow", "ended", 1).await;
}

// F14. Goal: an upload that takes for ever ends at the deadline of requests and starts nothing; a head of 10 MB is
// refused at once; others are served meanwhile.
#[tokio::test]
async fn slow_uploads_and_large_heads_are_bounded_and_start_nothing() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    deploy(&lab, &project, "answering", ANSWERING).await;
    let slow = tokio::spawn(drip(begun(&lab, &project, "answering", 1 << 20).await));
    let database = lab.database().await;

    let started = Instant::now();
    let mut socket = TcpStream::connect(lab.api.trim_start_matches("http://")).await.unwrap();
    let large =
        format!("POST /functions/v1/answering HTTP/1.1\r\nHost: a\r\nx-large: {}", "a".repeat(10 << 20));
    let _ = socket.write_all(large.as_bytes()).await; // It is refused before its end.
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(invoke(&lab, &project, "answering").await.status, 200, "others are served");

    let (answer, took) = slow.await.unwrap();
    println!("a slow upload ended after {took:?}");
    assert!(took > DEADLINE / 2 && took < DEADLINE + Duration::from_secs(10), "{took:?}: {answer}");
    assert!(answer.is_empty() || answer.contains("\"code\":\"TIMEOUT\""), "{answer}");
    assert_eq!(lines(&database, "answering", "asked").await, 1, "what never came whole started nothing");
}
