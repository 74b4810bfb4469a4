//! One file per resource; each has `routes()`.

pub(crate) mod acme;
mod admin;
mod ai;
mod apps;
pub(crate) mod assets;
mod auth;
mod billing;
mod blobs;
mod budgets;
mod ci;
mod content;
mod deploy;
mod docs;
mod domains;
mod expose;
mod facilitator;
mod faucet;
mod finance;
pub(crate) mod functions;
mod lab;
mod payments;
mod projects;
mod rest;
mod secrets;
pub(crate) mod secure;
mod service;
pub(crate) mod sites;
mod subdomains;
mod tiers;

use axum::Router;

use crate::app::AppState;

/// Every route of the API host.
pub(crate) fn all() -> Router<AppState> {
    Router::new()
        .merge(admin::routes())
        .merge(ai::routes())
        .merge(apps::routes())
        .merge(assets::routes())
        .merge(auth::routes())
        .merge(billing::routes())
        .merge(blobs::routes())
        .merge(budgets::routes())
        .merge(ci::routes())
        .merge(content::routes())
        .merge(deploy::routes())
        .merge(docs::routes())
        .merge(domains::routes())
        .merge(expose::routes())
        .merge(facilitator::routes())
        .merge(faucet::routes())
        .merge(finance::routes())
        .merge(functions::routes())
        .merge(lab::routes())
        .merge(payments::routes())
        .merge(projects::routes())
        .merge(rest::routes())
        .merge(secrets::routes())
        .merge(service::routes())
        .merge(subdomains::routes())
        .merge(tiers::routes())
}

#[cfg(test)]
mod coverage;
