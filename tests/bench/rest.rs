//! The REST engine beside pgbench that runs the same statements on the same server, pipelined in one round trip.
//!
//! In process: neither side has HTTP, and ours is given role and claims instead of a token.
//! `-- 2000` says how many projects lie beside the fifty hot ones; 150 unless said.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bench::postgres::Postgres;
use bench::{
    CONTROL_SETTINGS, Latencies, SEED, Table, cpu_secs, median, missing, output, per_second, program,
    resident_kib,
};
use rest::rest::{Ask, Role, Target, Who};
use rest::{Limits, Rest, SqlRequest};
use serde_json::{Value, json};
use store::cells::{CellConfig, Cells, Login, Slot};
use store::{MasterKey, Store};
use types::SystemClock;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as the engine opens for one project's visitors.
const CALLERS: usize = 6;
const TURN: Duration = Duration::from_millis(1_500);
const TURNS: usize = 3;
/// Until the backends of the turn before have ended, which count against the login's limit.
const ENDING: Duration = Duration::from_millis(300);
/// In all, and how many of them are asked without end.
const PROJECTS: usize = 150;
const HOT: usize = 50;
const KEY: [u8; 32] = [7; 32];
const USER: &str = "00000000-0000-4000-8000-000000000007";

const TABLES: &str = "
  create table items (id int generated always as identity primary key, owner uuid, title text, amount int,
    made_at timestamptz default now());
  insert into items (owner, title, amount) select ('00000000-0000-4000-8000-' || lpad((n % 1000)::text, 12, '0'))::uuid,
    'item ' || n, n from generate_series(1, 20000) n;
  create table directors (id int primary key, name text);
  create table films (id int primary key, title text, director_id int references directors);
  create table roles (id int primary key, part text, film_id int references films);
  create index on films (director_id); create index on roles (film_id);
  insert into directors select n, 'director ' || n from generate_series(1, 1000) n;
  insert into films select n, 'film ' || n, n % 1000 + 1 from generate_series(1, 5000) n;
  insert into roles select n, 'part ' || n, n % 5000 + 1 from generate_series(1, 20000) n;";

/// What somebody would write by hand for [`EMBED`].
const BY_HAND: &str = "select coalesce(json_agg(d), '[]')::text from (select d.id, d.name,
  (select coalesce(json_agg(f), '[]') from (select f.id, f.title,
    (select coalesce(json_agg(r), '[]') from (select r.part from SCHEMA.roles r where r.film_id = f.id) r) as roles
    from SCHEMA.films f where f.director_id = d.id) f) as films
  from SCHEMA.directors d where d.id < $1 order by d.id limit 10) d";
const EMBED: &str = "select=id,name,films(id,title,roles(part))&id=lt.500&order=id&limit=10";

struct World {
    server: Postgres,
    _control: Postgres,
    store: Store,
    cells: Cells,
    slot: Slot,
}

#[tokio::main]
async fn main() {
    let world = World::new().await;
    let mut table = Table::new("rest");
    let pgbench = program("pgbench");
    if pgbench.is_none() {
        missing("pgbench", "postgresql-contrib");
    }
    let own = ask("GET", "items", "select=id,title,amount,made_at&order=id&limit=20", "");
    let insert = ask("POST", "items", "", r#"{"title": "x", "amount": 1}"#);
    let embed = ask("GET", "directors", EMBED, "");
    for (what, ask, by_hand) in [
        ("read of 20 rows by index, role, claims, RLS", own, None),
        ("insert of one row, its owner filled in", insert, None),
        ("embedding two levels, 10 roots", embed, Some(BY_HAND)),
    ] {
        world.compare(&mut table, pgbench.as_deref(), what, &ask, by_hand).await;
    }
    world.cold(&mut table).await;
    let projects = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(PROJECTS);
    world.many(&mut table, projects).await;
    table.finish("the CPU of one backend per connection; the insert, the sync of its commit");
}

fn ask(method: &str, table: &str, query: &str, body: &str) -> Ask {
    Ask {
        method: method.to_owned(),
        path: format!("/rest/v1/{table}"),
        base: "/rest/v1".to_owned(),
        target: Target::Table(table.to_owned()),
        query: query.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_owned().into(),
    }
}

fn who() -> Who {
    Who { role: Role::Authenticated, claims: json!({ "role": "authenticated", "sub": USER }).to_string() }
}

impl World {
    async fn new() -> Self {
        // As many connections as a cell of a lab takes.
        let settings: Vec<&str> = CONTROL_SETTINGS.iter().copied().chain(["max_connections=300"]).collect();
        let (server, control) = (Postgres::start_with(&settings), Postgres::start());
        let store = Store::connect(&control.url("postgres"), 4).await.unwrap();
        store.migrate().await.unwrap();
        let cell = CellConfig::new("cell-1", server.url("postgres"));
        let cells = Cells::connect(vec![cell], &MasterKey::new(KEY), &store).await.unwrap();
        let slot = project(&store, &cells, TABLES).await;
        let open =
            |name: &str| json!({"name": name, "expose": true, "policy": "public_read_authenticated_write"});
        let manifest = json!({"version": "1", "tables": [
            {"name": "items", "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
             "force_owner_on_insert": true}, open("directors"), open("films"), open("roles")]});
        rest::expose::apply(&cells, &slot, &manifest).await.unwrap();
        sql(&cells, &slot, "analyze items, directors, films, roles").await;
        Self { server, _control: control, store, cells, slot }
    }

    /// Ours and the peers take turns.
    async fn compare(
        &self,
        table: &mut Table,
        pgbench: Option<&Path>,
        what: &str,
        ask: &Ask,
        by_hand: Option<&str>,
    ) {
        let rest = Rest::new(self.cells.clone());
        let [settings, main] = rest.statements(&self.slot, &who(), ask).await.unwrap();
        drop(rest);
        let hand =
            by_hand.map(|text| (text.replace("SCHEMA", &self.slot.schema()), vec![Some("500".to_owned())]));
        let (same, hand) = (vec![settings.clone(), main], hand.map(|hand| vec![settings, hand]));
        let (mut ours, mut theirs, mut by_hands) = (Vec::new(), Vec::new(), Vec::new());
        let (mut latencies, mut cpu, mut requests) = (Latencies::default(), 0.0, 0);
        for _ in 0..TURNS {
            let before = cpu_secs(std::process::id());
            let (rate, took) = self.turn(ask).await;
            cpu += cpu_secs(std::process::id()) - before;
            requests += took.len();
            ours.push(rate);
            latencies.extend(took);
            if let Some(program) = pgbench {
                theirs.push(self.pgbench(program, &same));
                by_hands.extend(hand.as_ref().map(|hand| self.pgbench(program, hand)));
            }
        }
        let rate = median(&mut ours);
        for (name, theirs) in
            [("pgbench, same statements", &mut theirs), ("pgbench, written by hand", &mut by_hands)]
        {
            if !theirs.is_empty() {
                table.rate(what, "requests/s", rate, Some((name, median(theirs))), &latencies.text());
            }
        }
        let each = format!("{:.0} us", cpu * 1e6 / requests as f64);
        table.row(["of which CPU of this process, a request", "", &each, "", "", "", ""]);
    }

    /// On connections of its own, because a login may not have both ours and the peer's at once.
    async fn turn(&self, ask: &Ask) -> (f64, Latencies) {
        let rest = Rest::new(self.cells.clone());
        let warm = (0..CALLERS * 4).map(|_| rest.answer(&self.slot, who(), ask.clone()));
        futures::future::join_all(warm).await;
        let started = Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (rest, slot, ask) = (rest.clone(), self.slot.clone(), ask.clone());
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                while started.elapsed() < TURN {
                    let begun = Instant::now();
                    let answer = rest.answer(&slot, who(), ask.clone()).await.unwrap();
                    assert!(answer.status < 300, "{answer:?}");
                    latencies.add(begun.elapsed());
                }
                latencies
            })
        });
        let mut all = Latencies::default();
        for one in futures::future::join_all(callers).await {
            all.extend(one.unwrap());
        }
        (per_second(all.len(), started.elapsed()), all)
    }

    /// The statements in one pipeline, as the login that the engine uses for visitors.
    fn pgbench(&self, program: &Path, statements: &[(String, Vec<Option<String>>)]) -> f64 {
        std::thread::sleep(ENDING);
        let mut script = String::from("\\startpipeline\n");
        let mut command = Command::new(program);
        for (index, (text, params)) in statements.iter().enumerate() {
            let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for (place, value) in params.iter().enumerate().rev() {
                let (name, there) = (format!("s{index}_{place}"), format!("${}", place + 1));
                // It takes no empty values.
                match value.as_deref().filter(|value| !value.is_empty()) {
                    Some(value) => {
                        text = text.replace(&there, &format!(":{name}"));
                        command.arg(format!("--define={name}={value}"));
                    }
                    None => text = text.replace(&there, "''"),
                }
            }
            script.push_str(&text);
            script.push_str(";\n");
        }
        script.push_str("\\endpipeline\n");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        command.args(["--no-vacuum", "--protocol=prepared", "--time=2", "--jobs=2"]);
        command.arg(format!("--client={CALLERS}")).arg(format!("--random-seed={SEED}"));
        command.arg(format!("--file={}", file.path().display()));
        let name = self.slot.name();
        let password = MasterKey::new(KEY).derive(&format!("slot/{name}/{}/1", Login::Api.as_str()));
        command.arg(self.address(&name.to_string(), &name.role(Login::Api))).env("PGPASSWORD", password);
        let text = output(&mut command);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("pgbench printed no rate: {text}"))
    }

    fn address(&self, database: &str, user: &str) -> String {
        self.server.url(database).replace("postgres://postgres@", &format!("postgres://{user}@"))
    }

    /// The first request of a project with 1,000 tables, beside its next.
    async fn cold(&self, table: &mut Table) {
        let slot = project(&self.store, &self.cells, "create table items (id int primary key)").await;
        for part in 0..4 {
            let tables: Vec<String> = (0..250)
                .map(|n| {
                    let name = part * 250 + n;
                    format!("create table t{name} (id int primary key, item int references items, body text)")
                })
                .collect();
            sql(&self.cells, &slot, &tables.join(";")).await;
        }
        let request = ask("GET", "t7", "select=id,items(id)", "");
        let (mut cold, mut warm) = (Latencies::default(), Latencies::default());
        for _ in 0..TURNS {
            let rest = Rest::new(self.cells.clone());
            for latencies in [&mut cold, &mut warm] {
                let begun = Instant::now();
                let answer = rest.answer(&slot, who(), request.clone()).await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                latencies.add(begun.elapsed());
            }
        }
        let (cold, warm) = (format!("{:.1?}", cold.at(0.5)), format!("{:.1?}", warm.at(0.5)));
        table.row(["first request, schema of 1,000 tables", "", &cold, "its next", &warm, "", ""]);
    }

    /// Many projects that were asked once, some of which are asked without end: what the others cost in memory, and
    /// what the hot ones wait, beside one that is alone.
    async fn many(&self, table: &mut Table, projects: usize) {
        let request = ask("GET", "items", "select=id,title&order=id&limit=20", "");
        let mut slots = Vec::new();
        for n in 0..projects {
            let rows = "create table items (id int primary key, title text);
                insert into items select n, 'item ' || n from generate_series(1, 20) n";
            let slot = project(&self.store, &self.cells, rows).await;
            let manifest = json!({"version": "1", "tables": [
                {"name": "items", "expose": true, "policy": "public_read_authenticated_write"}]});
            rest::expose::apply(&self.cells, &slot, &manifest).await.unwrap();
            slots.push(slot);
            if n % 100 == 99 {
                eprintln!("{} of {projects} projects", n + 1);
            }
        }
        let rest = Rest::new(self.cells.clone());
        let before = resident_kib(std::process::id());
        for slot in &slots {
            assert_eq!(rest.answer(slot, who(), request.clone()).await.unwrap().status, 200);
        }
        let each = resident_kib(std::process::id()).saturating_sub(before) as f64 / projects as f64;
        let mut alone = hot(&rest, &slots[..1], &request).await;
        let mut many = hot(&rest, &slots[..HOT.min(projects)], &request).await;
        let tail = |took: &mut Latencies| took.at(0.99).as_secs_f64() * 1_000.0;
        let what = format!("p99 of {HOT} hot projects of {projects}, {CALLERS} callers");
        let beside = Some(("one project", tail(&mut alone)));
        table.rate(&what, "ms", tail(&mut many), beside, &many.text());
        table.rate("memory of each project that was asked", "KiB", each, None, "");
    }
}

/// As many callers as for one project, each going from project to project.
async fn hot(rest: &Rest, slots: &[Slot], request: &Ask) -> Latencies {
    let started = Instant::now();
    let callers = (0..CALLERS).map(|caller| async move {
        let mut latencies = Latencies::default();
        for turn in 0.. {
            if started.elapsed() > TURN * 2 {
                break;
            }
            let slot = &slots[(caller * 7 + turn) % slots.len()];
            let begun = Instant::now();
            assert_eq!(rest.answer(slot, who(), request.clone()).await.unwrap().status, 200);
            // Connections that are made anew, in the first rounds, are not what is asked about.
            if started.elapsed() > TURN {
                latencies.add(begun.elapsed());
            }
        }
        latencies
    });
    let mut all = Latencies::default();
    futures::future::join_all(callers).await.into_iter().for_each(|one| all.extend(one));
    all
}

/// A slot that holds what `tables` makes; nobody's.
async fn project(store: &Store, cells: &Cells, tables: &str) -> Slot {
    let slot = cells.slot_make(store, "cell-1", &SystemClock).await.unwrap();
    sql(cells, &slot, tables).await;
    slot
}

async fn sql(cells: &Cells, slot: &Slot, text: &str) {
    let request = SqlRequest { text: text.to_owned(), params: Vec::<Value>::new() };
    rest::sql::run(cells, slot, request, Limits::default()).await.unwrap();
}
