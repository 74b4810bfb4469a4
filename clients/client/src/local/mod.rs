//! The files on this machine, shared with the published CLI: `allowance.json` and `projects.json`.
//!
//! Both are readable by their owner only, replaced whole by a rename, and keep the fields that we do not
//! know. A file that cannot be understood is never written over: its keys exist nowhere else.

mod allowance;
mod json_file;
mod projects;

pub use allowance::{Allowance, AllowanceFile, Created};
pub use projects::{ProjectKeys, Projects, ProjectsFile};

#[cfg(test)]
pub(crate) use json_file::tests::Scratch;
