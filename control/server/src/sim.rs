//! `run402d sim`: see the crate `sim`. Starts a Postgres of its own, runs seeds one after the other, and says how
//! each that fails is run again.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use ::sim::{Plan, Report, Simulator};
use anyhow::Context;
use lab::Scratch;
use sha2::{Digest, Sha256};

/// What `run402d sim` is told.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// The seed to run.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    pub seed: u64,
    /// Several seeds, both ends included, such as 1..20.
    #[arg(long, value_name = "FIRST..LAST")]
    pub seeds: Option<Seeds>,
    /// Operations of each seed.
    #[arg(long, default_value_t = 500)]
    pub steps: u32,
    /// Print every step.
    #[arg(long)]
    pub trace: bool,
    /// Where the simulator's Postgres is kept; whatever is in it is destroyed.
    #[arg(long, default_value = ".run402/sim", value_name = "DIR")]
    pub data: PathBuf,
    /// The programs that `cargo xtask tools` installed.
    #[arg(long, env = "RUN402_TOOLS_DIR", value_name = "DIR")]
    pub tools: Option<PathBuf>,
}

/// A range of seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not FIRST..LAST");
        let (first, last) = text.split_once("..").ok_or_else(bad)?;
        let number = |text: &str| text.trim_start_matches('=').parse::<u64>().map_err(|_| bad());
        let (first, last) = (number(first)?, number(last)?);
        if first > last { Err(bad()) } else { Ok(Self(first..=last)) }
    }
}

/// Runs what is asked for. False when a seed failed.
///
/// # Errors
/// When the simulator cannot work: no Postgres, or a build without kill points.
pub async fn run(arguments: SimArgs) -> anyhow::Result<bool> {
    let server = Scratch::start(&arguments.data, arguments.tools.as_deref()).await;
    let server = server.context("starting the simulator's Postgres")?;
    let simulator = Simulator::prepare(server.url()).await.context("making the simulator's tables")?;
    let outcome = all(&simulator, &arguments).await;
    simulator.close().await;
    server.stop().await.context("ending the simulator's Postgres")?;
    Ok(outcome)
}

async fn all(simulator: &Simulator, arguments: &SimArgs) -> bool {
    let seeds = arguments.seeds.clone().map_or(arguments.seed..=arguments.seed, |seeds| seeds.0);
    let begun = Instant::now();
    let (mut count, mut failed, mut traces) = (0_u64, Vec::new(), Sha256::new());
    for seed in seeds {
        let began = Instant::now();
        let plan = Plan { seed, steps: arguments.steps, told: arguments.trace };
        count += 1;
        match simulator.run(plan).await {
            Ok(report) => {
                traces.update(report.trace);
                println!("{}", line(plan, &report, began.elapsed().as_millis()));
            }
            Err(failure) => {
                println!("seed {seed}: FAILED at {failure}");
                println!("seed {seed}: run402d sim --seed {seed} --steps {} --trace", plan.steps);
                failed.push(seed);
            }
        }
    }
    println!(
        "{count} seeds of {} steps in {:.1} s, {} failed {failed:?}, traces {}",
        arguments.steps,
        begun.elapsed().as_secs_f64(),
        failed.len(),
        hex::encode(&traces.finalize()[..8])
    );
    failed.is_empty()
}

fn line(plan: Plan, report: &Report, millis: u128) -> String {
    format!(
        "seed {}: {} steps, trace {}, {} credited, {} by card, {} bought, {} reversed, {} transfers, {} crashes, \
         {millis} ms",
        plan.seed,
        plan.steps,
        hex::encode(&report.trace[..8]),
        report.credited,
        report.cards,
        report.purchases,
        report.reversed,
        report.transfers,
        report.crashes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_seeds_names_both_ends() {
        assert_eq!("1..20".parse(), Ok(Seeds(1..=20)));
        assert_eq!("3..=3".parse(), Ok(Seeds(3..=3)));
        for bad in ["", "1", "2..1", "a..b", "1..-2"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }
}
