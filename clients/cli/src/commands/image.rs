//! `run402 image`.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use client::{Call, LocalError};
use serde_json::{Value, json};

use super::Outcome;
use super::tier::with_receipt;
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Image {
    /// Make an image. Pays when the server asks.
    Generate {
        prompt: String,
        /// square, landscape or portrait.
        #[arg(long, default_value = "square")]
        aspect: String,
        /// Write the PNG here instead of printing it as base64.
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

pub async fn run(command: Image, context: &Context) -> Outcome {
    let Image::Generate { prompt, aspect, output } = command;
    let client = context.paying().await?;
    let call = Call::new("images.generate").json(json!({ "prompt": prompt, "aspect": aspect })).wallet();
    let answer = client.send(call).await?;
    let body = match output {
        Some(path) => written(&answer.body, path)?,
        None => answer.body,
    };
    Ok(with_receipt(body, answer.receipt))
}

fn written(body: &Value, path: PathBuf) -> Result<Value, LocalError> {
    let image = body["image"].as_str().and_then(|image| BASE64_STANDARD.decode(image).ok());
    let image = image.ok_or_else(|| LocalError::new("BAD_ANSWER", "the answer holds no image"))?;
    let shown = path.display().to_string();
    std::fs::write(&path, &image)
        .map_err(|error| LocalError::new("BAD_FILE", format!("cannot write {shown}: {error}")))?;
    Ok(json!({ "status": "ok", "output": shown, "size_bytes": image.len(), "aspect": body["aspect"] }))
}
