//! Tidings, a bare write loop and the servers people run today, side by side: the same load on the same machine, every
//! connection of which is checked for loss, doubles, order and foreign messages.
//!
//! Scenarios and servers are data (`scenarios/`, `peers/`). A run that was not complete gives no figure. What else it takes to trust a
//! broker stands beside: `chaos` breaks clusters, `flood` attacks one node, `counts` is the guard against slow regressions. They are one
//! program because linking is the longest part of a release build, and each program has its own.

#![expect(clippy::disallowed_types, reason = "load, processes and packets live in real time, which nobody pauses")]

mod bare;
mod chaos;
mod check;
mod clock;
mod counts;
mod crowd;
mod flood;
mod http;
mod kind;
mod machine;
mod origin;
mod payload;
mod peer;
mod process;
mod publish;
mod report;
mod run;
mod scenario;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load for Tidings and its peers, and trials of it, on this machine only.
#[derive(Parser)]
#[command(name = "tidings-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios on servers and write a report
    Run(run::Options),
    /// Make the tables and plots of a report again
    Report {
        /// Folders with a report.json each; more than one: their records together, written into the first
        #[arg(required = true)]
        folders: Vec<PathBuf>,
    },
    /// Attack a broker of this machine, and see what others notice
    Flood(flood::Arguments),
    /// Break clusters of real nodes, and judge what came of it
    Chaos {
        #[command(subcommand)]
        command: chaos::Command,
    },
    /// Count what hot code costs, and hold it against the baseline
    Counts {
        #[command(subcommand)]
        command: counts::Command,
    },
    /// Tell what the peers need, or install it
    Setup(setup::Options),
    /// Serve as the bare loop; `run` starts it by itself
    Bare(bare::Options),
    /// Serve as Pushpin's backend; `run` starts it by itself
    Origin(origin::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Chaos { command } => return chaos::run(command),
        Command::Run(options) => run::run(&options),
        Command::Report { folders } => report::join(&folders),
        Command::Flood(arguments) => flood::run(&arguments),
        Command::Counts { command } => counts::run(command),
        Command::Setup(options) => setup::run(&options),
        Command::Bare(options) => bare::run(&options),
        Command::Origin(options) => origin::run(&options),
    }?;
    Ok(ExitCode::SUCCESS)
}
