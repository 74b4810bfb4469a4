//! One customer: does one thing after the other, and remembers what it was promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sqlx::PgPool;
use stripe_fake::StripeFake;
use tests::{Customer, Lab, Site, TIER_PRICE, Wallet, eventually};

use crate::cards::{CARDS, Purse};

/// How long one thing may take, whoever dies meanwhile.
pub const DONE_SECS_MAX: u64 = 180;
const RETRY_AFTER: Duration = Duration::from_millis(150);
const PROJECTS_MAX: usize = 3;
const MONEY: u128 = 1_000_000 * TIER_PRICE;

static PURCHASES: AtomicU64 = AtomicU64::new(0);
static PROJECTS: AtomicU64 = AtomicU64::new(0);
static DEPLOYS: AtomicU64 = AtomicU64::new(0);
static ERASURES: AtomicU64 = AtomicU64::new(0);
static REPEATS: AtomicU64 = AtomicU64::new(0);

/// What all customers have done so far.
pub fn done() -> String {
    let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    format!(
        "{} purchases on chain, {} by card, {} projects, {} deploys, {} erasures, {} repeated requests",
        of(&PURCHASES),
        of(&CARDS),
        of(&PROJECTS),
        of(&DEPLOYS),
        of(&ERASURES),
        of(&REPEATS)
    )
}

struct Project {
    body: Value,
    name: String,
    deploys: i64,
    /// The page that should be live, and where.
    live: Option<(String, String)>,
}

pub struct Buyer {
    name: String,
    wallet: Wallet,
    purse: Purse,
    server: Customer,
    random: StdRng,
    counter: u64,
    purchases: u64,
    projects: Vec<Project>,
    erased: Vec<String>,
}

impl Buyer {
    pub async fn new(
        number: u64,
        lab: &Lab,
        (server, stripe): (Customer, Arc<StripeFake>),
        seed: u64,
    ) -> Self {
        let wallet = Wallet::random();
        lab.mint(&wallet, MONEY).await;
        Self {
            name: format!("buyer-{number}"),
            wallet,
            purse: Purse::new(stripe),
            server,
            random: StdRng::seed_from_u64(seed.wrapping_add(number)),
            counter: 0,
            purchases: 0,
            projects: Vec::new(),
            erased: Vec::new(),
        }
    }

    /// Goes on until told to stop, and finishes what it is doing.
    pub async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        self.purchase().await;
        self.provision().await;
        while !stop.load(Ordering::SeqCst) {
            match self.random.random_range(0..10) {
                0..3 => self.purchase().await,
                3..6 => self.card().await,
                6..8 => self.deploy().await,
                _ if self.projects.len() < PROJECTS_MAX => self.provision().await,
                _ => self.erase().await,
            }
        }
        self
    }

    fn next_key(&mut self) -> String {
        self.counter += 1;
        format!("{}-{}", self.name, self.counter)
    }

    async fn purchase(&mut self) {
        let key = self.next_key();
        let (server, wallet) = (self.server.clone(), self.wallet.clone());
        let proof = persist(&key, || server.proof(&wallet)).await;
        let receipt = persist(&key, || server.purchase(&wallet, &proof, &key)).await;
        self.purchases += 1;
        let action = if self.purchases == 1 { "subscribe" } else { "renew" };
        assert_eq!(receipt["action"], action, "{key}: {receipt}");
        PURCHASES.fetch_add(1, Ordering::SeqCst);
    }

    async fn card(&mut self) {
        let key = self.next_key();
        self.purse.buy(&key, &self.server, &mut self.random).await;
    }

    async fn provision(&mut self) {
        let name = self.next_key();
        let (server, wallet) = (self.server.clone(), self.wallet.clone());
        let body = persist(&name, || server.provision(&wallet, &name, &name)).await;
        persist(&name, || server.sql(&body)).await;
        self.projects.push(Project { body, name, deploys: 0, live: None });
        PROJECTS.fetch_add(1, Ordering::SeqCst);
    }

    async fn deploy(&mut self) {
        let key = self.next_key();
        if self.projects.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.projects.len());
        let site = Site { page: format!("<h1>{key}</h1>"), idempotency_key: key.clone(), migration: None };
        let (server, wallet, project) = (self.server.clone(), self.wallet.clone(), &mut self.projects[at]);
        let live = persist(&key, || server.deploy(&wallet, &project.body, &site)).await;
        project.deploys += 1;
        project.live = Some((live["urls"]["project"].as_str().unwrap().to_owned(), site.page));
        DEPLOYS.fetch_add(1, Ordering::SeqCst);
    }

    async fn erase(&mut self) {
        let at = self.random.random_range(0..self.projects.len());
        let project = self.projects.swap_remove(at);
        let server = self.server.clone();
        persist(&project.name, || server.erase(&project.body)).await;
        self.erased.push(project.name);
        ERASURES.fetch_add(1, Ordering::SeqCst);
    }

    /// Compares the platform's rows, the chain and the sites with what this customer was told.
    pub async fn settle(self, lab: &Lab, database: &PgPool) {
        let bought: i64 = sqlx::query_scalar(
            "select count(*) from purchases p join account_wallets w using (account_id) where w.wallet = $1",
        )
        .bind(self.wallet.address())
        .fetch_one(database)
        .await
        .unwrap();
        assert_eq!(u64::try_from(bought), Ok(self.purchases), "{}: grants", self.name);
        self.purse.settle(&self.name, lab, database).await;
        let left = lab.chain.usdc_balance(&lab.token(), &self.wallet.address()).await;
        assert_eq!(MONEY - left, TIER_PRICE * u128::from(self.purchases), "{}: paid once each", self.name);
        for (name, phase) in self
            .projects
            .iter()
            .map(|project| (&project.name, "ready"))
            .chain(self.erased.iter().map(|name| (name, "erased")))
        {
            eventually(name, DONE_SECS_MAX, || async {
                let phases: Vec<String> = sqlx::query_scalar("select phase from projects where name = $1")
                    .bind(name)
                    .fetch_all(database)
                    .await
                    .unwrap();
                assert_eq!(phases.len(), 1, "{name}: one project");
                (phases[0] == phase).then_some(())
            })
            .await;
        }
        for project in &self.projects {
            let releases: i64 = sqlx::query_scalar(
                "select count(*) from releases r join projects p on p.id = r.project_id where p.name = $1",
            )
            .bind(&project.name)
            .fetch_one(database)
            .await
            .unwrap();
            assert_eq!(releases, project.deploys, "{}: one release a deploy", project.name);
            if let Some((url, page)) = &project.live {
                let shown = persist(&project.name, || self.server.page(url)).await;
                assert_eq!(&shown, page, "{}: the last deploy is live", project.name);
            }
        }
    }
}

/// The same request until it is answered for good.
pub async fn persist<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let until = Instant::now() + Duration::from_secs(DONE_SECS_MAX);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "{what}: not answered within {DONE_SECS_MAX} s");
        REPEATS.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(RETRY_AFTER).await;
    }
}
