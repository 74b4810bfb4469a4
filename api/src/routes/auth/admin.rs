//! Users as the project's owner sees them.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::users::AskedUser;
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, ProjectId, rfc3339};
use uuid::Uuid;

use super::user_view;
use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

const LIST_DEFAULT: i64 = 100;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth/v1/admin/users", post(want).get(list))
        .route("/auth/v1/admin/users/{id}", get(one))
        .route("/projects/v1/admin/{id}/promote-user", post(promote))
        .route("/projects/v1/admin/{id}/demote-user", post(demote))
}

#[derive(Deserialize)]
struct UserRequest {
    email: String,
    is_admin: Option<bool>,
    #[serde(default)]
    send_invite: bool,
    redirect_url: Option<String>,
    client_state: Option<Value>,
}

/// `POST /auth/v1/admin/users`: 201 when the user is new.
async fn want(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let asked: UserRequest = body.json()?;
    let asked = AskedUser {
        email: asked.email,
        is_admin: asked.is_admin,
        send_invite: asked.send_invite,
        redirect_url: asked.redirect_url,
        client_state: asked.client_state,
    };
    let made = plane.user_want(&caller, asked).await?;
    let status = if made.created { StatusCode::CREATED } else { StatusCode::OK };
    let view = json!({
        "id": made.user.id,
        "email": made.user.email,
        "is_admin": made.user.is_admin,
        "email_verified_at": made.user.email_verified_at.map(rfc3339),
        "created": made.created,
        "invite_sent": made.invite_sent,
    });
    Ok((status, Json(view)))
}

#[derive(Deserialize)]
struct ListQuery {
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /auth/v1/admin/users`: by id; `next` is the `after` of the next page.
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let after = match &query.after {
        Some(after) => Some(
            after
                .parse::<Uuid>()
                .map_err(|_| ApiProblem::new(Code::BadRequest, "after is the id of a user"))?,
        ),
        None => None,
    };
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    let users = plane.user_list(&caller, after, limit).await?;
    let next =
        users.last().filter(|_| i64::try_from(users.len()).is_ok_and(|n| n >= limit)).map(|user| user.id);
    Ok(Json(json!({ "users": users.iter().map(user_view).collect::<Vec<_>>(), "next": next })))
}

/// `GET /auth/v1/admin/users/{id}`
async fn one(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(user_view(&plane.user_get(&caller, &id).await?)))
}

#[derive(Deserialize)]
struct EmailRequest {
    email: String,
}

/// `POST /projects/v1/admin/{id}/promote-user`
async fn promote(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    admin_set(&plane, &caller, &project, &body, true).await
}

/// `POST /projects/v1/admin/{id}/demote-user`
async fn demote(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    admin_set(&plane, &caller, &project, &body, false).await
}

async fn admin_set(
    plane: &Plane,
    caller: &plane::caller::Caller,
    project: &str,
    body: &Body,
    is_admin: bool,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(project, Code::ProjectNotFound)?;
    let EmailRequest { email } = body.json()?;
    let user = plane.user_admin_set(caller, project, &email, is_admin).await?;
    Ok(Json(json!({ "status": "ok", "email": user.email, "is_admin": user.is_admin })))
}
