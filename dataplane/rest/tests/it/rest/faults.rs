//! The server goes away, the schema changes under a reader, connections run out, a neighbour is hostile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rest::Rest;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use store::cells::Slot;

use super::{Case, Got, Role, Tables};

type Tried = Result<Got, Box<types::Problem>>;

async fn ask(t: &Tables, slot: &Slot, method: &str, path: &str, body: Option<Value>) -> Tried {
    let headers = [("content-type", "application/json")];
    t.try_ask(slot, Role::Anon, "", Case { method, path, headers: &headers, body }).await
}

const LOG: &str = "
  create table log (id int primary key);
  create policy everyone on log for all to anon using (true) with check (true);
  create function nap(secs float8) returns int language sql volatile as $$ select pg_sleep(secs); select 1 $$;
  do $$ begin execute 'grant insert on log to anon'; execute 'grant execute on all functions in schema '
    || current_schema() || ' to anon'; end $$;";

/// What became of changes, as their callers were told.
#[derive(Default)]
struct Told {
    done: Vec<i64>,
    unknown: Vec<i64>,
    refused: Vec<i64>,
}

// G09. Goal: a server that goes away in the middle of everything costs answers and nothing else. Method: four
// writers and a reader go on while it crashes and is stopped; each change is where its caller was told it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_loses_no_change_and_invents_none() {
    let mut t = Tables::holding(LOG).await;
    let mut lab = t.world.lab_take();
    let told = tokio::select! {
        death = lab.keep_running(&|_| {}) => panic!("{death}"),
        told = through_restarts(&t) => told,
    };
    t.world.lab_return(lab);
    let rows = t.rows("/log?select=id&order=id").await;
    let rows: Vec<i64> = rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert!(told.done.len() > 100, "{} changes went through", told.done.len());
    assert!(told.done.iter().all(|id| rows.contains(id)), "a confirmed change is gone");
    assert!(!told.refused.iter().any(|id| rows.contains(id)), "a refused change is there");
    let known = |id: &i64| told.done.contains(id) || told.unknown.contains(id);
    assert!(rows.iter().all(known), "a change that nobody was told of");
    t.world.stop().await;
}

async fn through_restarts(t: &Tables) -> Told {
    let over = AtomicBool::new(false);
    let writer = async |number: i64| {
        let mut told = Told::default();
        let mut id = number;
        while !over.load(Ordering::SeqCst) {
            id += 4;
            match ask(t, &t.slot, "POST", "/log", Some(json!({"id": id}))).await {
                Ok(got) if got.status == 201 => told.done.push(id),
                Ok(got) => {
                    assert!(got.body["code"].as_str().unwrap().starts_with("57P"), "{got:?}");
                    told.refused.push(id);
                }
                Err(problem) if problem.code == types::Code::OutcomeUnknown => told.unknown.push(id),
                Err(problem) => {
                    assert_eq!(problem.code, types::Code::Unavailable, "{problem}");
                    told.refused.push(id);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        told
    };
    let reader = async {
        while !over.load(Ordering::SeqCst) {
            match ask(t, &t.slot, "GET", "/log?select=id&limit=1", None).await {
                Ok(got) => assert!(matches!(got.status, 200 | 503), "{got:?}"),
                Err(problem) => assert_eq!(problem.code, types::Code::Unavailable, "{problem}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outages = async {
        for signal in ["-QUIT", "-INT"] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            t.world.signal_cell(signal);
            tokio::time::sleep(Duration::from_millis(300)).await;
            eventually_answers(t).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        over.store(true, Ordering::SeqCst);
    };
    let (a, b, c, d, (), ()) = tokio::join!(writer(1), writer(2), writer(3), writer(4), reader, outages);
    let mut all = Told::default();
    for one in [a, b, c, d] {
        all.done.extend(one.done);
        all.unknown.extend(one.unknown);
        all.refused.extend(one.refused);
    }
    all
}

async fn eventually_answers(t: &Tables) {
    let started = Instant::now();
    while !ask(t, &t.slot, "GET", "/log?limit=0", None).await.is_ok_and(|got| got.status == 200) {
        assert!(started.elapsed() < Duration::from_secs(30), "the server does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each runs as one transaction, and leaves the answers of the readers below as they were.
const CHANGES: [&str; 7] = [
    "alter table films add column extra int default 7; alter table films drop column extra",
    "alter table films alter column rating type float8",
    "drop view recent; create view recent as select id, title as name, director_id from films where year >= 2000",
    "alter table roles rename to parts; alter table parts rename to roles",
    "create or replace function add_up(a int, b int default 10) returns int language sql immutable as 'select b + a'",
    "alter table films alter column rating type numeric",
    "drop function all_roles(films); create function all_roles(films) returns setof roles language sql stable as
      'select * from roles where film_id = $1.id order by actor_id'",
];

// G09. Goal: whoever reads while the schema changes gets the same answer as before and after. Method: readers that
// remember statements and schema, while every kind of change runs again and again.
#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_notice_a_changing_schema() {
    let t = Tables::start().await;
    let reads = [
        "/films?select=id,title,rating::text,directors(name)&id=eq.1",
        "/recent?select=name,directors(name)&order=id",
        "/actors?select=name,roles(part),films(title)&order=id",
        "/films?select=id,all_roles(part)&id=eq.2",
        "/rpc/add_up?a=1",
    ];
    let mut before = Vec::new();
    for path in reads {
        before.push(t.rows(path).await);
    }
    let over = AtomicBool::new(false);
    let reader = async |path: &str, before: &Value| {
        let mut count = 0;
        while !over.load(Ordering::SeqCst) {
            let got = t.get(path).await;
            assert_eq!((got.status, &got.body), (200, before), "{path}: {got:?}");
            count += 1;
        }
        count
    };
    let changes = async {
        for _ in 0..6 {
            for text in CHANGES {
                t.world.sql(&t.slot, text).await.unwrap();
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        over.store(true, Ordering::SeqCst);
    };
    let readers =
        futures::future::join_all(reads.iter().zip(&before).map(|(path, before)| reader(path, before)));
    let (counts, ()) = tokio::join!(readers, changes);
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
    t.world.stop().await;
}

// G09. Goal: projects share few connections without starving each other, and whoever finds none is told to come
// again. Method: three projects and three connections; then one project sleeps on all of them.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shared_and_their_end_is_told() {
    let mut t = Tables::holding(LOG).await;
    t.rest = Rest::with_connections(t.world.cells.clone(), 3);
    let mut slots = vec![t.slot.clone()];
    for _ in 0..2 {
        let (_, slot) = t.world.provision().await;
        t.world.sql(&slot, LOG).await.unwrap();
        slots.push(slot);
    }
    let many = (0..120).map(|n| ask(&t, &slots[n % 3], "GET", "/log?select=id", None));
    for got in futures::future::join_all(many).await {
        assert_eq!(got.unwrap().status, 200);
    }
    let sql = "select count(*) from pg_stat_activity where application_name = 'run402-rest'";
    let mut cell = PgConnection::connect(&t.world.cell_url).await.unwrap();
    let open: i64 = sqlx::raw_sql(sql).fetch_one(&mut cell).await.unwrap().get(0);
    assert!(open <= 4, "{open} connections, of which one may still be closing");

    let hog = |secs: f64| {
        let body = json!({"secs": secs});
        let naps = (0..3).map(|_| ask(&t, &slots[0], "POST", "/rpc/nap", Some(body.clone())));
        futures::future::join_all(naps.collect::<Vec<_>>())
    };
    let beside = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ask(&t, &slots[1], "GET", "/log?select=id", None).await
    };
    let (napped, waited) = tokio::join!(hog(2.0), beside);
    assert!(napped.iter().all(|got| got.as_ref().is_ok_and(|got| got.status == 200)), "{napped:?}");
    assert_eq!(waited.unwrap().status, 200, "it waits its turn");

    let beside = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ask(&t, &slots[1], "POST", "/log", Some(json!({"id": 9}))).await
    };
    let (_, refused) = tokio::join!(hog(8.0), beside);
    let refused = refused.unwrap_err();
    assert_eq!((refused.code, refused.extra["retry_after"].clone()), (types::Code::Unavailable, json!(1)));
    let free = ask(&t, &slots[1], "GET", "/log?select=id", None).await.unwrap();
    assert_eq!((free.status, &free.body), (200, &json!([])), "what was refused was not done");
    t.world.stop().await;
}

// G09. Goal: a server that takes fewer connections than we may open serves every project: idle connections are given
// up for those that are asked for. Method: somebody else takes all but a few of its places.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_nearly_full_serves_one_project_after_the_other() {
    const FREE: i64 = 4;
    const ROUNDS: usize = 2;
    let t = Tables::holding(LOG).await;
    let mut slots = vec![t.slot.clone()];
    for _ in 0..7 {
        let (_, slot) = t.world.provision().await;
        t.world.sql(&slot, LOG).await.unwrap();
        slots.push(slot);
    }
    let mut cell = PgConnection::connect(&t.world.cell_url).await.unwrap();
    let left = "select current_setting('max_connections')::bigint
        - current_setting('superuser_reserved_connections')::bigint - count(*)
        from pg_stat_activity where backend_type = 'client backend'";
    let left: i64 = sqlx::raw_sql(left).fetch_one(&mut cell).await.unwrap().get(0);
    let others = (FREE..left).map(|_| PgConnection::connect(&t.world.cell_url));
    let others = futures::future::try_join_all(others).await.unwrap();
    for slot in (0..ROUNDS).flat_map(|_| &slots) {
        assert_eq!(ask(&t, slot, "GET", "/log?select=id", None).await.unwrap().status, 200);
    }
    drop(others);
    t.world.stop().await;
}

const TURNS: usize = 3;
const TURN: Duration = Duration::from_secs(3);

/// What a hostile caller runs, without end.
const HOSTILE: [&str; 6] = [
    "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r",
    "select pg_sleep(1000)",
    "select count(*) from (select g, repeat('x', 200) from generate_series(1, 3000000) g order by random()) x",
    "lock table log in access exclusive mode; select pg_sleep(1000)",
    "do $$ begin loop execute format('notify x, %L', repeat('y', 7000) || random()); end loop; end $$",
    "select repeat('a', 100000) ~ '(a|aa)+(.)\\2*(.*)\\1x$' from generate_series(1, 1000000)",
];

// G14. Goal: hostile SQL of one project leaves its neighbours' 99th percentile within twice of what it is without.
// Method: a neighbour's reads alone, beside six honest callers and beside six hostile ones, in turns.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_neighbour_is_no_worse_than_a_busy_one() {
    let t = Tables::holding(LOG).await;
    let run = "create function run(sql text) returns text language plpgsql as $$ begin execute sql; return ''; end $$;
      do $$ begin execute 'grant execute on function run(text) to anon'; end $$";
    t.world.sql(&t.slot, run).await.unwrap();
    let (_, beside) = t.world.provision().await;
    t.world.sql(&beside, LOG).await.unwrap();
    let (mut quiet, mut busy, mut hostile) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        quiet.push(p99(&t, &beside).await);
        let honest = (0..6).map(|_| async {
            for _ in 0..u64::MAX {
                ask(&t, &t.slot, "GET", "/log?select=id&id=lt.100", None).await.unwrap();
            }
        });
        let honest = futures::future::join_all(honest);
        busy.push(tokio::select! { _ = honest => unreachable!(), p99 = p99(&t, &beside) => p99 });
        let attack = HOSTILE.iter().map(|text| async {
            for _ in 0..u64::MAX {
                let _ = ask(&t, &t.slot, "POST", "/rpc/run", Some(json!({"sql": *text}))).await;
            }
        });
        let attack = futures::future::join_all(attack);
        hostile.push(tokio::select! { _ = attack => unreachable!(), p99 = p99(&t, &beside) => p99 });
    }
    let [quiet, busy, hostile] = [quiet, busy, hostile].map(|mut all| {
        all.sort_unstable();
        all[TURNS / 2]
    });
    println!(
        "p99 of a neighbour: alone {quiet:?}, beside honest callers {busy:?}, beside hostile ones {hostile:?}"
    );
    // Below some milliseconds a percentile tells of the scheduler's slices, not of waiting.
    let most = quiet.max(busy).max(Duration::from_millis(10)) * 2;
    assert!(hostile <= most, "alone {quiet:?}, busy {busy:?}, hostile {hostile:?}");
    t.world.stop().await;
}

/// Of some seconds of reads, one after the other.
async fn p99(t: &Tables, slot: &Slot) -> Duration {
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < TURN {
        let begun = Instant::now();
        assert_eq!(ask(t, slot, "GET", "/log?select=id&id=eq.1", None).await.unwrap().status, 200);
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
