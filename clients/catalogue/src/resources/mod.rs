//! One file per resource, in the order of the reference.

mod admin;
mod ai;
mod apps;
mod auth;
mod auth_google;
mod auth_users;
mod billing;
mod ci;
mod content;
mod deploy;
mod domains;
mod expose;
mod facilitator;
mod functions;
mod lab;
mod passkeys;
mod projects;
mod rest;
mod secrets;
mod service;
mod storage;
mod subdomains;
mod tiers;

use crate::Operation;

const PARTS: &[&[Operation]] = &[
    tiers::OPERATIONS,
    billing::OPERATIONS,
    facilitator::OPERATIONS,
    projects::OPERATIONS,
    expose::OPERATIONS,
    auth::OPERATIONS,
    auth_google::OPERATIONS,
    passkeys::OPERATIONS,
    auth_users::OPERATIONS,
    rest::OPERATIONS,
    content::OPERATIONS,
    storage::OPERATIONS,
    deploy::OPERATIONS,
    secrets::OPERATIONS,
    ai::OPERATIONS,
    functions::OPERATIONS,
    subdomains::OPERATIONS,
    domains::OPERATIONS,
    apps::OPERATIONS,
    ci::OPERATIONS,
    service::OPERATIONS,
    admin::OPERATIONS,
    lab::OPERATIONS,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

// Joined while compiling, so that readers see one slice and nothing is built at run time.
static JOINED: [Operation; COUNT] = {
    let mut joined = [Operation::READ; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut index = 0;
        while index < PARTS[part].len() {
            joined[at] = PARTS[part][index];
            at += 1;
            index += 1;
        }
        part += 1;
    }
    joined
};

/// Every operation that the server offers.
pub static OPERATIONS: &[Operation] = &JOINED;
