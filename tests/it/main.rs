//! Scenarios against a whole lab, laid out like the routes. Each has a lab of its own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod ai;
mod auth;
mod billing;
mod blobs;
mod budgets;
mod cards;
mod ci;
mod content;
mod crash;
mod deploys;
mod domains;
mod expose;
mod facilitator;
mod finance;
mod functions;
mod fuzz;
mod history;
mod hosting;
mod identity;
mod interop;
mod kill_points;
mod lab;
mod lifecycle;
mod lying_node;
mod nodes;
mod oracle;
mod ownership;
mod payments;
mod projects;
mod quotas;
mod rest;
mod restore;
mod service;
mod settle_races;
mod simulator;
mod soak;
mod start;
mod stub;
mod subdomains;
mod suspense;
mod tenants;
mod tiers;
mod watcher;
mod wire;
