//! Scenarios against a whole lab, laid out like the routes. Each has a lab of its own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod content;
mod crash;
mod deploys;
mod identity;
mod interop;
mod lab;
mod nodes;
mod payments;
mod projects;
mod service;
mod start;
mod subdomains;
mod tiers;
