//! `run402 service`.

use client::Call;

use super::Outcome;
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Service {
    /// Check the service's parts.
    Health,
    /// Describe the service.
    Status,
}

pub async fn run(command: Service, context: &Context) -> Outcome {
    let operation = match command {
        Service::Health => "service.health",
        Service::Status => "service.status",
    };
    context.public()?.call(Call::new(operation)).await
}
