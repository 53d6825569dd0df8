//! Load for Tidings: crowds of real connections, every one of which is checked for loss, doubles and order.
//!
//! A run that was not complete prints no rate and fails.

#![expect(clippy::disallowed_types, reason = "a load generator measures real time, which nobody pauses")]

mod check;
mod crowd;
mod process;
mod publish;

use clap::{Parser, Subcommand};

/// Load for a running Tidings, on this machine only.
#[derive(Parser)]
#[command(name = "tidings-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Many subscribers on one channel, all of which must get every message in order.
    Crowd(crowd::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crowd(options) => crowd::run(&options),
    }
}
