//! Lists of projects, read with sea-orm.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};
use sqlx::Row;
use types::{AccountId, ProjectId};

use super::Phase;
use crate::{During, ListDuring, Store, StoreError};

/// No page is asked for by published clients, so this is where a list ends.
const LIST_MAX: u64 = 1_000;

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "projects")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub account_id: Uuid,
        pub name: String,
        pub phase: String,
        pub public_id: String,
        pub created_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_one = "super::usage::Entity")]
        Usage,
    }

    impl Related<super::usage::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Usage.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod usage {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "project_usage")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project_id: Uuid,
        pub api_calls: i64,
        pub database_bytes: i64,
        pub measured_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::entity::Entity",
            from = "Column::ProjectId",
            to = "super::entity::Column::Id"
        )]
        Project,
    }

    impl Related<super::entity::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Project.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A project as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: ProjectId,
    pub name: String,
    pub phase: Phase,
    pub public_id: String,
    pub api_calls: i64,
    pub database_bytes: i64,
    pub content_bytes: i64,
    pub created_at: DateTime<Utc>,
}

/// The account's projects that are not going away, oldest first, `limit` at most.
///
/// # Errors
/// `Db` only.
pub async fn project_list_by_account(
    store: &Store,
    account: AccountId,
    limit: u64,
) -> Result<Vec<Listed>, StoreError> {
    let gone = [Phase::Erasing.as_str(), Phase::Erased.as_str()];
    let rows = entity::Entity::find()
        .filter(entity::Column::AccountId.eq(account.0))
        .filter(entity::Column::Phase.is_not_in(gone))
        .find_also_related(usage::Entity)
        .order_by_asc(entity::Column::CreatedAt)
        .order_by_asc(entity::Column::Id)
        .limit(limit.min(LIST_MAX))
        .all(&store.lists())
        .await
        .during_list("list projects")?;
    let content = content_bytes(store, account).await?;
    rows.into_iter()
        .map(|(project, usage)| {
            Ok(Listed {
                content_bytes: content.get(&project.id).copied().unwrap_or(0),
                id: ProjectId(project.id),
                name: project.name,
                phase: project.phase.parse()?,
                public_id: project.public_id,
                api_calls: usage.as_ref().map_or(0, |u| u.api_calls),
                database_bytes: usage.as_ref().map_or(0, |u| u.database_bytes),
                created_at: project.created_at,
            })
        })
        .collect()
}

/// Bytes of content by project, for the projects of an account that hold any.
async fn content_bytes(store: &Store, account: AccountId) -> Result<HashMap<Uuid, i64>, StoreError> {
    let rows = sqlx::query(
        "select k.project_id, sum(o.size_bytes)::bigint
         from projects p join project_content k on k.project_id = p.id join content_objects o using (sha256)
         where p.account_id = $1 group by k.project_id",
    )
    .bind(account.0)
    .fetch_all(store.pool())
    .await
    .during("count content of projects")?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, sqlx::Error>>()
        .during("count content of projects")
}

/// Projects that are being made or erased, those untouched for longest first.
///
/// # Errors
/// `Db` only.
pub async fn unfinished(store: &Store, limit: i64) -> Result<Vec<ProjectId>, StoreError> {
    let rows = sqlx::query(
        "select id from projects where phase in ('provisioning', 'erasing') order by updated_at limit $1",
    )
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("list unfinished projects")?;
    rows.iter()
        .map(|row| row.try_get(0).map(ProjectId))
        .collect::<Result<_, _>>()
        .during("list unfinished projects")
}

/// The projects of an account that have a database.
///
/// # Errors
/// `Db` only.
pub async fn ready_of_account(store: &Store, account: AccountId) -> Result<Vec<ProjectId>, StoreError> {
    let rows = sqlx::query("select id from projects where account_id = $1 and phase = 'ready' order by id")
        .bind(account.0)
        .fetch_all(store.pool())
        .await
        .during("list projects")?;
    rows.iter()
        .map(|row| sqlx::Row::try_get(row, 0).map(ProjectId))
        .collect::<Result<_, _>>()
        .during("list projects")
}
