//! Lists of names.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use types::ProjectId;

use super::Subdomain;
use crate::{ListDuring, Store, StoreError};

/// Names of a project that one answer holds at most.
const NAMES_MAX: u64 = 1_000;

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "subdomains")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub project_id: Option<Uuid>,
        pub deployment_id: Option<String>,
        pub reserved_for: Option<Uuid>,
        pub reserved_until: Option<DateTimeUtc>,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The names of a project, in order.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn subdomain_list(store: &Store, project: ProjectId) -> Result<Vec<Subdomain>, StoreError> {
    let rows = entity::Entity::find()
        .filter(entity::Column::ProjectId.eq(project.0))
        .order_by_asc(entity::Column::Name)
        .limit(NAMES_MAX)
        .all(&store.lists())
        .await
        .during_list("list names")?;
    rows.into_iter()
        .map(|row| {
            Ok(Subdomain {
                project,
                deployment_id: row
                    .deployment_id
                    .ok_or_else(|| StoreError::Corrupt(format!("name {} shows nothing", row.name)))?,
                name: row.name,
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        })
        .collect()
}
