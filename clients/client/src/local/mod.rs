//! The files on this machine: `allowance.json` and `projects.json`, which the published CLI shares, and notes about
//! uploads under way.
//!
//! All are readable by their owner only, replaced whole by a rename, and keep the fields that we do not
//! know. A file that cannot be understood is never written over: its keys exist nowhere else.

mod allowance;
mod json_file;
mod projects;
mod uploads;

pub use allowance::{Allowance, AllowanceFile, Created};
pub use projects::{ProjectKeys, Projects, ProjectsFile};
pub use uploads::{OpenUpload, UploadsFolder};

#[cfg(test)]
pub(crate) use json_file::tests::Scratch;
