//! The rows of `cells` and `slots`.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::ProjectId;
use uuid::Uuid;

use super::{Cells, SlotName};
use crate::{During, FencedTx, Store, StoreError};

/// `making -> warm -> bound -> dropping -> dropped`; a half-made one goes straight to `dropping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    Making,
    Warm,
    Bound,
    Dropping,
    Dropped,
}

impl SlotState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Warm => "warm",
            Self::Bound => "bound",
            Self::Dropping => "dropping",
            Self::Dropped => "dropped",
        }
    }
}

/// One prepared database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub number: i32,
    pub cell: String,
}

impl Slot {
    pub fn name(&self) -> SlotName {
        SlotName(self.number)
    }

    /// The project's schema, which is also the name of its database.
    pub fn schema(&self) -> String {
        self.name().to_string()
    }
}

/// For `/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotCounts {
    pub warm: i64,
    pub bound: i64,
    pub unfinished: i64,
}

/// Binds a warm slot of a cell this node knows to a project, skipping slots that others are taking. `None`:
/// none is warm.
///
/// # Errors
/// `Db` only.
pub async fn slot_take(
    tx: &mut FencedTx,
    cells: &Cells,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<Option<Slot>, StoreError> {
    let row = sqlx::query(
        "with taken as (
           select s.number from slots s join cells c on c.name = s.cell
           where s.state = 'warm' and c.accepts_projects and s.cell = any($1)
           order by s.number limit 1 for update of s skip locked),
         bound as (
           update slots set state = 'bound', updated_at = $3 from taken where slots.number = taken.number
           returning slots.number, slots.cell)
         update projects set slot = bound.number from bound
         where projects.id = $2 and projects.slot is null
         returning bound.number, bound.cell",
    )
    .bind(cells.names())
    .bind(project.0)
    .bind(now)
    .fetch_optional(tx.conn())
    .await
    .during("take a slot")?;
    row.as_ref().map(slot).transpose().during("take a slot")
}

/// Gives a slot that was taken in this transaction up again, without putting it back into the pool: it is somebody
/// else's. For this control database it is gone.
///
/// # Errors
/// `Db` only.
pub async fn slot_forgo(tx: &mut FencedTx, project: ProjectId) -> Result<(), StoreError> {
    let forgone = "with forgone as (
           update projects p set slot = null from slots s where p.id = $1 and s.number = p.slot
           returning s.number)
         update slots set state = 'dropped' from forgone where slots.number = forgone.number";
    sqlx::query(forgone).bind(project.0).execute(tx.conn()).await.during("give up a slot")?;
    Ok(())
}

/// The slot of a project, while it has one.
///
/// # Errors
/// `Db` only.
pub async fn slot_of(store: &Store, project: ProjectId) -> Result<Option<Slot>, StoreError> {
    let row = sqlx::query(
        "select s.number, s.cell from projects p join slots s on s.number = p.slot where p.id = $1",
    )
    .bind(project.0)
    .fetch_optional(store.pool())
    .await
    .during("find a project's slot")?;
    row.as_ref().map(slot).transpose().during("find a project's slot")
}

/// # Errors
/// `Db` only.
pub async fn slot_counts(store: &Store) -> Result<SlotCounts, StoreError> {
    let row = sqlx::query(
        "select count(*) filter (where state = 'warm'), count(*) filter (where state = 'bound'),
           count(*) filter (where state in ('making', 'dropping')) from slots",
    )
    .fetch_one(store.pool())
    .await
    .during("count slots")?;
    let read = |i: usize| row.try_get(i).during("count slots");
    Ok(SlotCounts { warm: read(0)?, bound: read(1)?, unfinished: read(2)? })
}

pub(super) async fn cell_ensure(store: &Store, name: &str) -> Result<(), StoreError> {
    sqlx::query("insert into cells (name) values ($1) on conflict do nothing")
        .bind(name)
        .execute(store.pool())
        .await
        .during("enter a cell")?;
    Ok(())
}

/// Slots of a cell that projects live on, and those projects.
pub(super) async fn slots_bound(store: &Store, cell: &str) -> Result<(Vec<i32>, Vec<Uuid>), StoreError> {
    let rows = sqlx::query(
        "select s.number, p.id from slots s join projects p on p.slot = s.number
         where s.cell = $1 and s.state = 'bound'",
    )
    .bind(cell)
    .fetch_all(store.pool())
    .await
    .during("list bound slots")?;
    let (mut numbers, mut projects) = (Vec::new(), Vec::new());
    for row in &rows {
        numbers.push(row.try_get(0).during("list bound slots")?);
        projects.push(row.try_get(1).during("list bound slots")?);
    }
    Ok((numbers, projects))
}

/// Takes warm slots out of the pool that are somebody's, given pairs of a slot and a project. For this control database
/// they are gone; their databases stay, for whoever puts their projects back. A project that is being made will come
/// for its slot again.
pub(super) async fn slots_set_aside(
    store: &Store,
    cell: &str,
    (numbers, projects): (&[i32], &[Uuid]),
) -> Result<Vec<Slot>, StoreError> {
    let rows = sqlx::query(
        "update slots set state = 'dropped' from unnest($2::integer[], $3::uuid[]) as mark (number, project)
         where slots.cell = $1 and slots.number = mark.number and slots.state = 'warm'
           and not exists (select from projects p where p.id = mark.project and p.phase = 'provisioning')
         returning slots.number, slots.cell",
    )
    .bind(cell)
    .bind(numbers)
    .bind(projects)
    .fetch_all(store.pool())
    .await
    .during("set slots aside")?;
    rows.iter().map(slot).collect::<Result<_, _>>().during("set slots aside")
}

/// Ready projects on slots of a cell, among pairs of a slot and a project.
pub(super) async fn projects_on(
    store: &Store,
    cell: &str,
    numbers: &[i32],
    projects: &[ProjectId],
) -> Result<Vec<ProjectId>, StoreError> {
    let rows = sqlx::query(
        "select p.id from projects p
         join slots s on s.number = p.slot and s.cell = $1 and s.state = 'bound'
         join unnest($2::integer[], $3::uuid[]) as gone (number, project)
           on gone.number = s.number and gone.project = p.id
         where p.phase = 'ready'",
    )
    .bind(cell)
    .bind(numbers)
    .bind(projects.iter().map(|project| project.0).collect::<Vec<_>>())
    .fetch_all(store.pool())
    .await
    .during("find projects on dropped slots")?;
    let id = |row: &PgRow| row.try_get(0).map(ProjectId);
    rows.iter().map(id).collect::<Result<_, _>>().during("find projects on dropped slots")
}

/// Warm slots of a cell, and whether it takes projects at all.
pub(super) async fn warm_count(store: &Store, cell: &str) -> Result<(i64, bool), StoreError> {
    let row = sqlx::query(
        "select (select count(*) from slots where cell = $1 and state = 'warm'), accepts_projects
         from cells where name = $1",
    )
    .bind(cell)
    .fetch_optional(store.pool())
    .await
    .during("count warm slots")?
    .ok_or(StoreError::NotFound("cell"))?;
    Ok((row.try_get(0).during("count warm slots")?, row.try_get(1).during("count warm slots")?))
}

/// Enters a new slot in `making` under the next number of all cells, which is above `above` too.
pub(super) async fn slot_insert(
    store: &Store,
    (cell, above): (&str, i32),
    template_version: i32,
    now: DateTime<Utc>,
) -> Result<i32, StoreError> {
    // Two inserts at once compute the same number; the loser tries again.
    for _ in 0..20 {
        let inserted = sqlx::query(
            "insert into slots (number, cell, state, template_version, updated_at)
             select greatest(max(number), $4) + 1, $1, 'making', $2, $3 from slots
             on conflict (number) do nothing returning number",
        )
        .bind(cell)
        .bind(template_version)
        .bind(now)
        .bind(above)
        .fetch_optional(store.pool())
        .await
        .during("enter a slot")?;
        if let Some(row) = inserted {
            return row.try_get(0).during("enter a slot");
        }
    }
    Err(StoreError::Stale("slots.number"))
}

/// Moves a slot by compare-and-set.
pub(super) async fn slot_move(
    store: &Store,
    number: i32,
    from: &[SlotState],
    to: SlotState,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let from: Vec<String> = from.iter().map(|state| state.as_str().to_owned()).collect();
    let done =
        sqlx::query("update slots set state = $3, updated_at = $4 where number = $1 and state = any($2)")
            .bind(number)
            .bind(from)
            .bind(to.as_str())
            .bind(now)
            .execute(store.pool())
            .await
            .during("move a slot")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("slots.state")) }
}

/// Slots of a cell whose making or dropping was abandoned before `before`.
pub(super) async fn slots_abandoned(
    store: &Store,
    cell: &str,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Slot>, StoreError> {
    let rows = sqlx::query(
        "select number, cell from slots
         where cell = $1 and state in ('making', 'dropping') and updated_at < $2 order by number limit $3",
    )
    .bind(cell)
    .bind(before)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("list abandoned slots")?;
    rows.iter().map(slot).collect::<Result<_, _>>().during("list abandoned slots")
}

fn slot(row: &PgRow) -> Result<Slot, sqlx::Error> {
    Ok(Slot { number: row.try_get(0)?, cell: row.try_get(1)? })
}
