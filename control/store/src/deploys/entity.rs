//! How sea-orm reads operations.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deploy_operations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub project_id: Uuid,
    pub plan_id: Uuid,
    pub status: String,
    pub base_release_id: Option<Uuid>,
    pub target_release_id: Option<Uuid>,
    pub release_id: Option<Uuid>,
    pub urls: Option<Json>,
    pub error: Option<Json>,
    pub activate_attempts: i32,
    pub last_activate_attempt_at: Option<DateTimeUtc>,
    pub trace_id: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
