//! Chaos on real processes: nodes in network namespaces of their own, under load from every side, while things break; then a
//! checker judges what all publishers and clients saw.
//!
//! Needs root, and `ip`, `tc`, `nft`, `ethtool` and `setpriv`. It makes namespaces, a bridge and rules under names of its own and takes
//! them away again, whatever happens.

mod checker;
mod client;
mod cluster;
mod fault;
mod figures;
mod history;
mod homes;
mod lan;
mod node;
mod plan;
mod report;
mod run;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::chaos::cluster::Make;
use crate::chaos::lan::Lan;
use crate::chaos::plan::Plan;
use crate::chaos::report::Report;

/// What the left-out tests are called when this machine does not allow them.
const NOT_ALLOWED: u8 = 77;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Random faults, from a seed
    Run {
        /// Sizes of the clusters, one run each, again and again
        #[arg(long, value_delimiter = ',', default_value = "3", overrides_with = "nodes")]
        nodes: Vec<usize>,
        /// How long one run breaks things
        #[arg(long, default_value = "40")]
        seconds: u64,
        /// Runs until this many minutes are over; without it one for each size
        #[arg(long)]
        minutes: Option<u64>,
        /// Of the first run; the next ones count on
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        options: Options,
    },
    /// The cases that have a name
    Cases {
        /// Only those whose names hold one of these
        filters: Vec<String>,
        /// Sizes of the clusters
        #[arg(long, value_delimiter = ',', default_value = "2,3,5")]
        nodes: Vec<usize>,
        /// How often each
        #[arg(long, default_value = "1")]
        times: u64,
        #[command(flatten)]
        options: Options,
    },
    /// Nodes that do not know each other: what is wrong with them must be found, else nothing that passes here means much
    Control {
        #[command(flatten)]
        options: Options,
    },
    /// How long things take, as a table
    Figures {
        /// Only those whose names hold this
        #[arg(default_value = "")]
        filter: String,
        /// Nodes of the cluster
        #[arg(long, default_value = "3")]
        nodes: usize,
        /// How often each thing is broken
        #[arg(long, default_value = "20")]
        trials: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Judge histories that were kept
    Judge {
        /// history.jsonl of a run
        files: Vec<PathBuf>,
    },
    /// Say whether this machine lets us do all that
    Probe,
}

#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The broker; without it the one that was built beside this program
    #[arg(long)]
    program: Option<PathBuf>,
    /// The broker that a node runs when it is started again: another release, so that a run is an upgrade
    #[arg(long)]
    next: Option<PathBuf>,
    /// Set one more key of every node's configuration
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Channels that are published to
    #[arg(long, default_value = "6")]
    channels: usize,
    /// Keeps histories and logs here, also those of good runs
    #[arg(long)]
    keep: Option<PathBuf>,
}

impl Options {
    fn make(&self, nodes: usize, seed: u64) -> anyhow::Result<Make> {
        let program = match &self.program {
            Some(program) => std::path::absolute(program)?,
            None => std::env::current_exe()?.with_file_name("tidings"),
        };
        let next = self.next.as_ref().map_or(Ok(program.clone()), std::path::absolute)?;
        Ok(Make { nodes, program, next, settings: self.set.clone(), channels: self.channels, seed })
    }
}

/// Does it; the code says whether all that was judged holds, or that this machine does not allow it.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::Judge { files } = &command {
        let mut report = Report::default();
        for file in files {
            let records = history::read(std::io::BufReader::new(std::fs::File::open(file)?))?;
            report.judged(&file.display().to_string(), Ok(checker::judge(&records)?), None);
        }
        return Ok(report.end());
    }
    if !is_able()? {
        return Ok(ExitCode::from(NOT_ALLOWED));
    }
    if matches!(command, Command::Probe) {
        println!("this machine lets us make networks and break them");
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            end = command_run(command) => end,
            // Leaving here drops the cluster and its network.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

/// Whether this machine lets us; if not, it is said. Where nothing may be left out it is an error.
fn is_able() -> anyhow::Result<bool> {
    let missing = lan::missing_programs();
    let why = if !Lan::is_allowed() {
        "network namespaces need root".to_owned()
    } else if !missing.is_empty() {
        format!("{} must be installed", missing.join(", "))
    } else if let Err(why) = lan::probe() {
        format!("this kernel does not let us: {why:#}")
    } else {
        return Ok(true);
    };
    println!("chaos is left out: {why}");
    anyhow::ensure!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "with CI=true nothing may be left out");
    Ok(false)
}

async fn command_run(command: Command) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    match command {
        Command::Run { nodes, seconds, minutes, seed, options } => {
            let until = tokio::time::Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(0));
            let mut seed = seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
            loop {
                for nodes in &nodes {
                    let plan = plan::random(seed, *nodes, Duration::from_secs(seconds));
                    play(&plan, &options, &mut report).await?;
                    seed += 1;
                }
                if tokio::time::Instant::now() >= until {
                    break;
                }
            }
        }
        Command::Cases { filters, nodes, times, options } => {
            let wanted = |plan: &Plan| filters.is_empty() || filters.iter().any(|filter| plan.name.contains(filter.as_str()));
            for seed in 1..=times {
                for plan in nodes.iter().flat_map(|nodes| plan::named(*nodes)).filter(wanted) {
                    play(&Plan { seed, ..plan }, &options, &mut report).await?;
                }
            }
        }
        Command::Control { options } => {
            let folder = tempfile::Builder::new().prefix("tidings-chaos-").tempdir()?;
            let plan = plan::strangers();
            let mut make = options.make(plan.nodes, plan.seed)?;
            make.settings.extend(["cluster.keys=[]", "cluster.seeds=[]"].map(str::to_owned));
            report.begin(&plan.name, &plan);
            report.control(&plan.name, &run::run(&plan, &make, run::Load::default(), folder.path()).await?);
        }
        Command::Figures { filter, nodes, trials, options } => {
            let folder = tempfile::Builder::new().prefix("tidings-chaos-").tempdir()?;
            let make = options.make(nodes, 1)?;
            figures::measure(&make, &filter, trials, folder.path()).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Judge { .. } | Command::Probe => {}
    }
    Ok(report.end())
}

/// One run, in a folder that stays only when it must be looked at.
async fn play(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("tidings-chaos-").tempdir()?;
    let make = options.make(plan.nodes, plan.seed)?;
    let name = format!("{} nodes, {}, seed {}", plan.nodes, plan.name, plan.seed);
    report.begin(&name, plan);
    let judged = run::run(plan, &make, run::Load::default(), folder.path()).await;
    let is_good = judged.as_ref().is_ok_and(|judgement| judgement.findings.is_empty());
    let kept = if let Some(keep) = &options.keep {
        let to = keep.join(name.replace([' ', ',', '%'], "-"));
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(folder.path())?.flatten() {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Some(to)
    } else if is_good {
        None
    } else {
        Some(folder.keep())
    };
    report.judged(&name, judged, kept.as_deref());
    Ok(())
}
