//! One file per resource; each has `routes()`.

mod auth;
mod billing;
mod content;
mod deploy;
mod docs;
mod facilitator;
mod faucet;
mod lab;
mod payments;
mod projects;
mod service;
pub(crate) mod sites;
mod subdomains;
mod tiers;

use axum::Router;

use crate::app::AppState;

/// Every route of the API host.
pub(crate) fn all() -> Router<AppState> {
    Router::new()
        .merge(auth::routes())
        .merge(billing::routes())
        .merge(content::routes())
        .merge(deploy::routes())
        .merge(docs::routes())
        .merge(facilitator::routes())
        .merge(faucet::routes())
        .merge(lab::routes())
        .merge(payments::routes())
        .merge(projects::routes())
        .merge(service::routes())
        .merge(subdomains::routes())
        .merge(tiers::routes())
}

#[cfg(test)]
mod coverage;
