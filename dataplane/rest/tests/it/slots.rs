//! Slots: made, taken once, dropped, and cleaned after a crash.

use chrono::TimeDelta;
use sqlx::{Connection, PgConnection, Row};
use store::cells::{CellConfig, Cells, Login, slot_counts, slot_of};
use types::{Clock, ManualClock, SystemClock};

use crate::harness::World;

async fn names(world: &World, sql: &'static str) -> Vec<String> {
    let mut conn = PgConnection::connect(&world.cell_url).await.unwrap();
    let rows = sqlx::raw_sql(sql).fetch_all(&mut conn).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

// Goal: one slot, one project; nothing of a dropped slot stays. Method: fill, take at once, drop, look at the
// server.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_bound_once_and_leaves_nothing_behind() {
    let world = World::start().await;
    assert_eq!(world.cells.slots_fill(&world.store, "cell-1", 3, &SystemClock).await.unwrap(), 3);
    assert_eq!(world.cells.slots_fill(&world.store, "cell-1", 3, &SystemClock).await.unwrap(), 0);

    // Four projects race for three slots.
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.insert_project().await);
    }
    let taken = futures::future::join_all(ids.iter().map(|id| world.take(*id))).await;
    let mut numbers: Vec<i32> = taken.iter().flatten().map(|slot| slot.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    let counts = slot_counts(&world.store).await.unwrap();
    assert_eq!((counts.warm, counts.bound, counts.unfinished), (0, 3, 0));

    // Taking again for a project that has one takes nothing.
    world.cells.slot_make(&world.store, "cell-1", &SystemClock).await.unwrap();
    let lucky = ids.iter().zip(&taken).find(|(_, slot)| slot.is_some()).unwrap().0;
    assert_eq!(world.take(*lucky).await, None);

    // An open session does not keep a database alive.
    let slot = taken.iter().flatten().next().unwrap().clone();
    let session = world.cells.session(&slot, Login::Admin, &[]).await.unwrap();
    world.cells.slot_drop(&world.store, &slot, SystemClock.now()).await.unwrap();
    world.cells.slot_drop(&world.store, &slot, SystemClock.now()).await.unwrap();
    drop(session);
    let name = slot.schema();
    assert!(!names(&world, "select datname::text from pg_database").await.contains(&name));
    let roles = names(&world, "select rolname::text from pg_roles").await;
    assert!(roles.iter().all(|role| !role.starts_with(&name)), "{roles:?}");
    world.stop().await;
}

// Goal: a crash while making leaves nothing for good. Method: leave `making` rows with and without a
// database.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_slots_are_dropped_and_a_cell_is_prepared_twice() {
    let world = World::start().await;
    let clock = ManualClock::new(SystemClock.now());
    world.cells.slot_make(&world.store, "cell-1", &clock).await.unwrap();
    let (project, slot) = world.provision().await;
    assert_eq!(slot_of(&world.store, project).await.unwrap(), Some(slot.clone()));

    // As if the process had died before and after `create database`.
    let made = world.cells.slot_make(&world.store, "cell-1", &clock).await.unwrap();
    let pool = sqlx::PgPool::connect(&world.control_url).await.unwrap();
    sqlx::query("update slots set state = 'making' where number = $1")
        .bind(made.number)
        .execute(&pool)
        .await
        .unwrap();
    sqlx::raw_sql("insert into slots values (90, 'cell-1', 'making', 1, now() - interval '1 day')")
        .execute(&pool)
        .await
        .unwrap();
    clock.advance(TimeDelta::minutes(10));
    world.cells.slots_fill(&world.store, "cell-1", 1, &clock).await.unwrap();
    let counts = slot_counts(&world.store).await.unwrap();
    assert_eq!((counts.warm, counts.bound, counts.unfinished), (1, 1, 0));
    assert!(!names(&world, "select datname::text from pg_database").await.contains(&made.schema()));

    // A second node, and a template that a crash left half-made.
    let again = || Cells::connect(vec![CellConfig::new("cell-1", &world.cell_url)], &world.key, &world.store);
    again().await.unwrap().close().await;
    let mut conn = PgConnection::connect(&world.cell_url).await.unwrap();
    let template = format!("alter database r402_tpl_v{} is_template false", store::cells::TEMPLATE_VERSION);
    sqlx::raw_sql(sqlx::AssertSqlSafe(template)).execute(&mut conn).await.unwrap();
    let cells = again().await.unwrap();
    cells.slot_make(&world.store, "cell-1", &clock).await.unwrap();
    assert_eq!(cells.public_rights().await.unwrap(), [] as [String; 0]);

    // A database that everyone may use is found at start-up.
    sqlx::raw_sql("create database open_to_all").execute(&mut conn).await.unwrap();
    assert_eq!(cells.public_rights().await.unwrap(), ["open_to_all"]);
    assert!(again().await.is_err());
    sqlx::raw_sql("drop database open_to_all").execute(&mut conn).await.unwrap();
    cells.close().await;
    world.stop().await;
}

// G15. Goal: a slot is its first project's for good, whatever the control database says. Method: rows of the control
// database are set back as an older backup would have them.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_control_database_gives_no_slot_away() {
    let world = World::start().await;
    let (cells, store) = (&world.cells, &world.store);
    let (project, slot) = world.provision().await;
    assert!(cells.slot_claim(&slot, project).await.unwrap());
    assert!(cells.slot_claim(&slot, project).await.unwrap(), "again by the same");
    let rival = world.insert_project().await;
    assert!(!cells.slot_claim(&slot, rival).await.unwrap(), "another's");

    // The backup knows the slot as warm: it leaves the pool when a node starts.
    let control = sqlx::PgPool::connect(&world.control_url).await.unwrap();
    let set = async |sql: &'static str| {
        sqlx::query(sql).bind(slot.number).execute(&control).await.unwrap();
    };
    set("update projects set slot = null, phase = 'erased' where slot = $1").await;
    set("update slots set state = 'warm' where number = $1").await;
    let config = || vec![CellConfig::new("cell-1", &world.cell_url)];
    Cells::connect(config(), &world.key, store).await.unwrap().close().await;
    assert_eq!(world.take(rival).await, None, "set aside");

    // The backup does not know it at all: its number is not given out again, and its database stays.
    set("delete from slots where number = $1").await;
    let next = cells.slot_make(store, "cell-1", &SystemClock).await.unwrap();
    assert_eq!(next.number, slot.number + 1);
    assert!(names(&world, "select datname::text from pg_database").await.contains(&slot.schema()));

    // What was dropped with its project is told to whoever still lists that project as ready.
    let (gone, dropped) = world.provision().await;
    assert!(cells.slot_claim(&dropped, gone).await.unwrap());
    cells.slot_drop(store, &dropped, SystemClock.now()).await.unwrap();
    assert!(cells.projects_lost(store, "cell-1").await.unwrap().is_empty());
    let back = "update slots set state = 'bound' where number = $1";
    sqlx::query(back).bind(dropped.number).execute(&control).await.unwrap();
    sqlx::query("update projects set phase = 'ready' where id = $1")
        .bind(gone.0)
        .execute(&control)
        .await
        .unwrap();
    assert_eq!(cells.projects_lost(store, "cell-1").await.unwrap(), [gone]);
    assert!(!cells.slot_claim(&dropped, gone).await.unwrap(), "a dropped one is nobody's");
    world.stop().await;
}
