//! Verifying users' tokens, beside bare HS256 verification by the same library; and what hashing passwords does to
//! another route of the same server.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench::{Latencies, SEED, Table, alternate};
use chrono::DateTime;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use store::projects::Secret;
use tests::Lab;
use types::{OsEntropy, ProjectId};
use users::token::{Claims, Role, Subject, sign, verify};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: i64 = 1_900_000_000;
const TOKENS: usize = 512;
const TURN: Duration = Duration::from_millis(100);
const TURNS: usize = 25;
const SIGN_INS: usize = 32;
const READERS: usize = 4;
/// Of each: one address may be tried ten times at once, then every six seconds.
const ADDRESSES: usize = 3;
const LOAD: Duration = Duration::from_secs(8);
/// So that four readers stay below a hundred requests in a second.
const PAUSE: Duration = Duration::from_millis(50);
const PASSWORD: &str = "correct horse battery";

#[tokio::main]
async fn main() {
    let mut table = Table::new("tokens");
    verification(&mut table);
    hashing(&mut table).await;
    table.finish(
        "verification: HMAC-SHA256 and reading the JSON of the claims; what the ratio lacks of 1 is the header, read \
         once more for the secret's version, and a key made of the secret. Hashing: two threads of their own, which \
         the cores are shared with",
    );
}

/// One core. The limit has its key and its rules ready, and one project.
fn verification(table: &mut Table) {
    let mut random = StdRng::seed_from_u64(SEED);
    let project = ProjectId::new(&OsEntropy);
    let secret =
        |version| Secret { version, bytes: vec![version as u8; 32], created_at: DateTime::UNIX_EPOCH };
    // One in force, and one whose tokens have not ended.
    let secrets = [secret(2), secret(1)];
    let tokens: Vec<String> = (0..TOKENS)
        .map(|n| {
            let id = uuid::Builder::from_random_bytes(random.random()).into_uuid();
            let subject = Subject {
                project,
                user: id,
                email: format!("user-{n}@example.org"),
                role: Role::Authenticated,
                session: id,
                amr: vec!["password".to_owned()],
                auth_time: NOW,
            };
            sign(subject, &secrets[n % 2], NOW).unwrap()
        })
        .collect();
    let keys = secrets.each_ref().map(|secret| DecodingKey::from_secret(&secret.bytes));
    let mut rules = Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    rules.validate_aud = false;
    let mut bare = |n: usize| {
        let (token, key) = (&tokens[n % TOKENS], &keys[n % TOKENS % 2]);
        black_box(jsonwebtoken::decode::<Claims>(token, key, &rules).unwrap());
    };
    let mut ours = |n: usize| {
        black_box(verify(&tokens[n % TOKENS], &secrets, project, NOW).unwrap());
    };
    let [bare, ours] = alternate(TURN, TURNS, [&mut bare, &mut ours]);
    table.rate("verify a user's token, one core", "1/core s", ours, Some(("bare HS256", bare)), "");
}

/// Reads of one project's table while nobody signs in, and while many sign in to another project.
async fn hashing(table: &mut Table) {
    let lab = Lab::start().await;
    let (_, tables) = lab.project().await;
    let path = format!("/projects/v1/admin/{}/sql", tables["project_id"].as_str().unwrap());
    let sql =
        json!({ "sql": "create table items (id int); insert into items select generate_series(1, 20)" });
    let made = lab.with_key(tables["service_key"].as_str().unwrap(), "POST", &path, Some(sql)).await;
    assert_eq!(made.status, 200, "{made:?}");
    let (_, people) = lab.project().await;
    let key = |project: &Value| project["anon_key"].as_str().unwrap().to_owned();
    let world = Arc::new(World { tables: key(&tables), people: key(&people), lab });
    for n in 0..SIGN_INS * ADDRESSES {
        assert_eq!(world.post("/auth/v1/signup", n).await, 201);
    }
    let mut quiet = reads(&world).await;
    let (over, done, refused) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let callers: Vec<_> = (0..SIGN_INS)
        .map(|caller| {
            let (world, over, done, refused) = (world.clone(), over.clone(), done.clone(), refused.clone());
            tokio::spawn(async move {
                for turn in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let n = caller * ADDRESSES + turn % ADDRESSES;
                    match world.post("/auth/v1/token", n).await {
                        200 => done.fetch_add(1, Ordering::Relaxed),
                        429 | 503 => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("a sign-in was answered {other}"),
                    };
                }
            })
        })
        .collect();
    let mut busy = reads(&world).await;
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let tail = |latencies: &mut Latencies| latencies.at(0.99).as_secs_f64() * 1_000.0;
    let what = format!("p99 of a read of 20 rows while {SIGN_INS} sign in");
    let beside = Some(("while nobody does", tail(&mut quiet)));
    table.rate(&what, "ms", tail(&mut busy), beside, &busy.text());
    table.row(["the same while nobody does", "", "", "", "", "", &quiet.text()]);
    let figure = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64 / LOAD.as_secs_f64();
    table.rate("sign-ins meanwhile", "1/s", figure(&done), None, "");
    table.rate("sign-ins refused meanwhile", "1/s", figure(&refused), None, "");
}

/// Two projects, because one is served a hundred requests in a second.
struct World {
    lab: Lab,
    /// Keys.
    tables: String,
    people: String,
}

impl World {
    async fn post(&self, path: &str, person: usize) -> u16 {
        let body = json!({ "email": format!("user-{person}@example.org"), "password": PASSWORD });
        status(self.lab.http.post(self.lab.url(path)).header("apikey", &self.people).json(&body)).await
    }
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

async fn reads(world: &Arc<World>) -> Latencies {
    let started = Instant::now();
    let readers = (0..READERS).map(|_| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            while started.elapsed() < LOAD {
                let asked = Instant::now();
                let request = world.lab.http.get(world.lab.url("/rest/v1/items"));
                assert_eq!(status(request.header("apikey", &world.tables)).await, 200);
                latencies.add(asked.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            latencies
        })
    });
    let mut all = Latencies::default();
    for reader in readers.collect::<Vec<_>>() {
        all.extend(reader.await.unwrap());
    }
    all
}
