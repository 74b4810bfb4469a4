//! axum: routes, extractors, layers, problem bodies; knows no SQL and no mailbox.
//!
//! A route file has one handler per operation: it unwraps input, calls one operation of `plane`, and wraps
//! the answer. [`problem::ApiProblem`] is how a handler fails; [`extract`] is how it reads; [`app`] puts
//! everything together.

pub mod app;
pub mod extract;
mod layers;
pub mod problem;
mod routes;

pub use app::{ApiConfig, AppState, router};
pub use routes::acme::ServerName;
