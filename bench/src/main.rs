//! Tidings, a bare write loop and the servers people run today, side by side: the same load on the same machine, every
//! connection of which is checked for loss, doubles, order and foreign messages.
//!
//! Scenarios and servers are data (`scenarios/`, `peers/`). A run that was not complete gives no figure.

#![expect(clippy::disallowed_types, reason = "a load generator measures real time, which nobody pauses")]

mod bare;
mod check;
mod clock;
mod crowd;
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

use clap::{Parser, Subcommand};

/// Load for Tidings and its peers, on this machine only.
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
    /// Tell what the peers need, or install it
    Setup(setup::Options),
    /// Serve as the bare loop; `run` starts it by itself
    Bare(bare::Options),
    /// Serve as Pushpin's backend; `run` starts it by itself
    Origin(origin::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Report { folders } => report::join(&folders),
        Command::Setup(options) => setup::run(&options),
        Command::Bare(options) => bare::run(&options),
        Command::Origin(options) => origin::run(&options),
    }
}
