//! What only a lab does.

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use plane::Plane;
use serde::Deserialize;
use serde_json::{Value, json};
use types::rfc3339;

use crate::app::AppState;
use crate::extract::{Body, Local};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new().route("/lab/clock", post(clock)).route("/lab/mail", get(mail))
}

#[derive(Deserialize)]
struct ClockRequest {
    #[serde(default)]
    advance_secs: i64,
}

/// `POST /lab/clock`: moves the platform's time forwards.
async fn clock(State(plane): State<Plane>, _: Local, body: Body) -> Result<Json<Value>, ApiProblem> {
    let ClockRequest { advance_secs } = body.json()?;
    let clock = plane.lab_clock_advance(advance_secs).await?;
    Ok(Json(json!({
        "now": rfc3339(clock.now),
        "shift_secs": clock.shift.num_seconds(),
        "chain_moved": false,
        "note": "Leases and plans age by this clock. The chain's time and signatures do not follow it.",
    })))
}

#[derive(Deserialize)]
struct MailQuery {
    to: Option<String>,
    #[serde(default)]
    after: i64,
}

/// `GET /lab/mail`: what would have been sent.
async fn mail(
    State(plane): State<Plane>,
    _: Local,
    Query(query): Query<MailQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let mails = plane.lab_mail_list(query.to.as_deref(), query.after).await?;
    let view = |mail: &plane::lab::LabMail| {
        json!({
            "seq": mail.seq,
            "id": mail.id,
            "project_id": mail.project,
            "from": mail.sender,
            "to": mail.recipient,
            "template": mail.template,
            "subject": mail.subject,
            "text": mail.body,
            "written_at": rfc3339(mail.written_at),
        })
    };
    Ok(Json(json!({ "mail": mails.iter().map(view).collect::<Vec<_>>() })))
}
