//! `run402 blob` and `run402 cdn`.

use std::path::PathBuf;
use std::time::Duration;

use client::Call;
use client::blobs::NewBlob;
use serde_json::json;

use super::{Outcome, ok};
use crate::context::Context;
use crate::output::{self, bad_usage};

#[derive(Debug, clap::Subcommand)]
pub enum Blob {
    /// Upload a file. Run again after a cut, it goes on where it was.
    Put {
        file: PathBuf,
        /// The blob's key; the file's name unless given.
        #[arg(long)]
        key: Option<String>,
        /// Guessed from the key unless given.
        #[arg(long)]
        content_type: Option<String>,
        /// Only for who has a key of the project.
        #[arg(long)]
        private: bool,
        /// Give it an address whose bytes never change.
        #[arg(long)]
        immutable: bool,
        /// Start over, whatever was uploaded before.
        #[arg(long)]
        no_resume: bool,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Read a blob into a file.
    Get {
        key: String,
        /// The last segment of the key unless given.
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// List blobs by key.
    Ls {
        #[arg(long)]
        prefix: Option<String>,
        #[arg(long)]
        limit: Option<u32>,
        /// Where the page before ended.
        #[arg(long)]
        cursor: Option<String>,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Delete a blob.
    Rm {
        key: String,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Make an address that works without a key.
    Sign {
        key: String,
        /// Seconds, up to a week; an hour unless given.
        #[arg(long)]
        ttl: Option<i64>,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Compare what a public address shows with what it should.
    Diagnose {
        url: String,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
}

#[derive(Debug, clap::Subcommand)]
pub enum Cdn {
    /// Wait until a mutable address shows certain bytes.
    WaitFresh {
        url: String,
        /// 64 hex digits.
        #[arg(long)]
        sha256: String,
        /// Seconds.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
        timeout: u64,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
}

pub async fn run(command: Blob, context: &Context) -> Outcome {
    let client = context.public()?;
    let key_of = |project: Option<String>| {
        let (projects, id) = context.project(project.as_deref())?;
        Ok::<_, client::LocalError>(projects.keys(&id)?.anon_key.to_owned())
    };
    match command {
        Blob::Put { file, key, content_type, private, immutable, no_resume, project } => {
            let anon_key = key_of(project)?;
            let named = file.file_name().map(|name| name.to_string_lossy().into_owned());
            let key = key.or(named).ok_or_else(|| bad_usage("name a file"))?;
            let new = NewBlob {
                key: &key,
                content_type: content_type.as_deref(),
                visibility: if private { "private" } else { "public" },
                immutable,
            };
            let notes = (!no_resume).then_some(&context.uploads);
            client.blob_put(&anon_key, &file, &new, notes, &output::event).await.map(ok)
        }
        Blob::Get { key, output, project } => {
            let name = key.rsplit('/').next().unwrap_or(&key);
            let to = output.unwrap_or_else(|| PathBuf::from(name));
            client.blob_get(&key_of(project)?, &key, &to).await.map(ok)
        }
        Blob::Ls { prefix, limit, cursor, project } => {
            let anon_key = key_of(project)?;
            let call = Call::new("storage.blobs.list").query_some("prefix", prefix);
            let call = call.query_some("limit", limit).query_some("cursor", cursor);
            client.call(call.anon_key(&anon_key)).await
        }
        Blob::Rm { key, project } => {
            let anon_key = key_of(project)?;
            client.call(Call::new("storage.blobs.delete").path("key", key).anon_key(&anon_key)).await
        }
        Blob::Sign { key, ttl, project } => {
            let anon_key = key_of(project)?;
            let call = Call::new("storage.blobs.sign").path("key", key).anon_key(&anon_key);
            let body = ttl.map_or_else(|| json!({}), |ttl| json!({ "ttl_seconds": ttl }));
            client.call(call.json(body)).await
        }
        Blob::Diagnose { url, project } => {
            let anon_key = key_of(project)?;
            client.call(Call::new("storage.blobs.diagnose").query("url", url).anon_key(&anon_key)).await
        }
    }
}

pub async fn cdn(command: Cdn, context: &Context) -> Outcome {
    let Cdn::WaitFresh { url, sha256, timeout, project } = command;
    let (projects, id) = context.project(project.as_deref())?;
    let anon_key = projects.keys(&id)?.anon_key;
    context.public()?.blob_wait_fresh(anon_key, &url, &sha256, Duration::from_secs(timeout)).await
}
