//! Putting things live: gather the content, plan, upload what is missing, commit, watch.
//!
//! A [`Bundle`] is a release spec whose content is named by SHA-256, with the places where the bytes are on
//! this machine. It comes from a directory ([`walk`]) or from a manifest ([`manifest`]).

mod bundle;
mod flow;
mod legacy;
mod manifest;
mod upload;
mod walk;
mod watch;

pub use bundle::{Bundle, Source};
pub use flow::{Options, Plan, Prune, Warnings, prune_refusal};
pub use manifest::{bundle_from_release, bundle_from_site};
pub use walk::walk;
pub use watch::Deployed;

/// Where progress goes: one JSON object per event.
pub type Progress<'a> = &'a (dyn Fn(serde_json::Value) + Send + Sync);
