//! `/rest/v1` and `/admin/v1/rest`: PostgREST's dialect.
//!
//! A request goes through five layers, of which only the last but one does anything outside of its own
//! values: [`parse`] reads the query string, [`plan`] resolves its names against the [`schema`], [`compile`]
//! makes one statement of it, [`wire`] runs that in one round trip together with role and claims, and
//! `respond` writes the answer.
//!
//! # Source
//! Wire contract 01 section 8; <https://docs.postgrest.org/en/v13/>.

mod cache;
mod compile;
mod engine;
mod error;
mod media;
mod openapi;
mod parse;
mod payload;
mod plan;
mod prefer;
mod prepare;
mod range;
mod request;
mod respond;
mod run;
mod schema;
mod wire;

pub use engine::Rest;
pub use error::{Failure, RestError};
pub use request::{Answer, Ask, Role, Target, Who};
