//! What hot code costs, in counts that do not depend on how busy a machine is: instructions and allocations for each
//! operation, and write calls for each delivery. Held against `baseline/counts.json`; more than a tenth worse fails.
//!
//! Every count is a difference: the program runs itself under valgrind with n operations and again with more, and what
//! the additional ones cost is divided by their number. Starting up and shutting down cancel out.

mod baseline;
mod fanout;
mod grpc;
mod operations;
mod valgrind;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Subcommand;

/// Names of counts and what was counted, for each operation.
type Counts = BTreeMap<String, f64>;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Count everything and hold it against the baseline
    Check {
        /// Write the baseline instead
        #[arg(long)]
        write: bool,
        /// Where it is
        #[arg(long, default_value = "bench/baseline/counts.json")]
        baseline: PathBuf,
    },
    /// Do one operation so many times; `check` runs this under valgrind
    #[command(hide = true)]
    Operation { name: String, times: u64 },
    /// Be a broker until standard input ends; `check` runs this under valgrind
    #[command(hide = true)]
    Node,
    /// The same with gRPC, on a thread of its own
    #[command(hide = true)]
    GrpcNode,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Operation { name, times } => operations::run(&name, times),
        Command::Node => fanout::node(),
        Command::GrpcNode => grpc::node(),
        Command::Check { write, baseline } => {
            let counts = count()?;
            if write { baseline::write(&baseline, counts) } else { baseline::check(&baseline, &counts) }
        }
    }
}

/// Counts everything. One half is counted beside the other, since a program under valgrind takes one core, and what is counted is the same
/// beside another one.
fn count() -> anyhow::Result<Counts> {
    std::thread::scope(|scope| {
        let operations = scope.spawn(operations::count);
        let mut counts = fanout::count()?;
        counts.extend(grpc::count()?);
        counts.extend(operations.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        Ok(counts)
    })
}
