//! One broker with small bounds, honest clients, and one flood after the other from other addresses: what do the honest ones
//! notice, and how much memory does it take?
//!
//! Slices of time alternate within one run: quiet, the flood elsewhere, the flood at the broker, so that the machine is the same for all.
//! Always judged: that no honest client loses, repeats or disorders a message, that none who comes is turned away, and that memory
//! keeps within its bound. Only with `--judge`: that during a flood the p99 of messages is at most twice that of the quiet beside it,
//! and the p99 of visits at most twice that of the quiet or, if that is more, beside the same flood elsewhere; this needs a machine without other guests.
//!
//! Flooders share the machine's cores with the broker. Their rates are far above the broker's limits and bounded all the same: a
//! generator that eats the processors would measure itself.

mod broker;
mod floods;
mod honest;
mod sink;
mod table;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use broker::Broker;
use floods::{FLOODS, Flood, Target};
use honest::Honest;
use table::Row;

/// How many times slower the slowest hundredth may become.
const RATIO_MAX: f64 = 2.0;
/// What is on its way when a slice begins belongs to neither.
const SETTLE: Duration = Duration::from_millis(400);

/// What to do, and with which broker.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The broker; else the one beside this program
    #[arg(long, global = true)]
    broker: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Flood a broker with small bounds, and look at what honest clients notice
    Run(Options),
    /// Does nothing but answer; what `--elsewhere` floods
    #[command(hide = true)]
    Sink,
    /// What a token costs the broker in a storm of connects, by its algorithm
    Tokens(tokens::Options),
}

#[derive(Args)]
struct Options {
    /// Floods; none: all
    floods: Vec<String>,
    /// How long a slice is, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many slices of quiet, and with each flood, there are
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Fail when the broker makes the honest clients more than twice as slow, too; goes with `--elsewhere`
    #[arg(long)]
    judge: bool,
    /// Besides, send each flood to a program beside the broker that does nothing but answer, while the honest clients stay with the
    /// broker: what they notice then is the machine and the generator
    #[arg(long)]
    elsewhere: bool,
    /// Let all slow writers write in the same moment
    #[arg(long)]
    in_step: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = match &arguments.broker {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("tidings"),
    };
    // The honest ones on a thread of their own: flooders must not keep them from reading the time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &arguments.command {
        Command::Run(options) => runtime.block_on(attack(options, &program)),
        Command::Sink => runtime.block_on(sink::run()),
        Command::Tokens(options) => runtime.block_on(tokens::run(options, &program)),
    }
}

async fn attack(options: &Options, program: &Path) -> anyhow::Result<()> {
    let unknown: Vec<&String> = options.floods.iter().filter(|name| FLOODS.iter().all(|flood| flood.name != **name)).collect();
    ensure!(unknown.is_empty(), "there is no flood {unknown:?}; there are: {}", FLOODS.map(|flood| flood.name).join(", "));
    let mut broker = Broker::start(program, broker::CONFIG)?;
    let target = Target { http: broker.http, grpc: broker.grpc, in_step: options.in_step };
    let sink = (options.elsewhere || options.judge).then(sink::Sink::start).transpose()?;
    floods::prepare(target).await.context("the history to ask for was not published")?;
    let honest = Honest::start(broker.http).await?;
    let slice = Duration::from_secs_f64(options.seconds);
    sleep(slice).await;
    let at_rest = broker.memory()?;
    println!("{} subscribers, {} messages/s, at rest {} MiB", honest::SUBSCRIBERS, honest::RATE, at_rest >> 20);

    let mut rows = Vec::new();
    for flood in FLOODS.iter().filter(|flood| options.floods.is_empty() || options.floods.iter().any(|name| name == flood.name)) {
        let mut row = Row::new(flood.name);
        for _ in 0..options.rounds {
            row.quiet.push(honest.measure(slice).await?);
            if let Some(sink) = &sink {
                let flooding = Flooding::begin(*flood, Target { http: sink.address, grpc: sink.address, ..target })?;
                sleep(SETTLE).await;
                row.elsewhere.push(honest.measure(slice).await?);
                flooding.end().await?;
                sleep(SETTLE).await;
            }
            // Who was turned away until now met only the machine and the generator.
            honest.turned_away();
            at_the_broker(*flood, target, &mut broker, (&honest, slice), &mut row).await?;
            row.turned_away += honest.turned_away();
        }
        println!("{}", row.name);
        rows.push(row);
        broker.is_alive()?;
    }
    let lost = honest.end().await?;
    broker.stop()?;

    print!("{}", table::of(&rows, at_rest));
    let mut faults: Vec<String> = lost;
    for row in &rows {
        if row.memory > broker::MEMORY_MAX {
            faults.push(format!(
                "{}: {} MiB are more than the {} that all bounds allow together",
                row.name,
                row.memory >> 20,
                broker::MEMORY_MAX >> 20
            ));
        }
        if row.turned_away > 0 {
            faults.push(format!("{}: {} honest clients were turned away", row.name, row.turned_away));
        }
        if options.judge && row.messages_ratio() > RATIO_MAX {
            faults.push(format!("{}: the p99 of messages is {:.2} times that of the quiet beside it", row.name, row.messages_ratio()));
        }
        if options.judge && row.visits_ratio() > RATIO_MAX {
            faults.push(format!(
                "{}: the p99 of visits is {:.2} times that of the quiet, and of the same flood elsewhere",
                row.name,
                row.visits_ratio()
            ));
        }
    }
    ensure!(faults.is_empty(), "the floods were noticed:\n{}", faults.join("\n"));
    println!("no message lost, nobody turned away, memory within {} MiB", broker::MEMORY_MAX >> 20);
    Ok(())
}

/// One slice of a flood at the broker: what the honest ones notice, and what it costs.
async fn at_the_broker(
    flood: Flood,
    target: Target,
    broker: &mut Broker,
    (honest, slice): (&Honest, Duration),
    row: &mut Row,
) -> anyhow::Result<()> {
    let flooding = Flooding::begin(flood, target)?;
    sleep(SETTLE).await;
    let before = flooding.done.load(Ordering::Relaxed);
    let (busy, own, began) = (broker.busy()?, broker::own_busy()?, tokio::time::Instant::now());
    row.flood.push(broker.watch(honest.measure(slice), &mut row.memory).await??);
    row.seconds += began.elapsed().as_secs_f64();
    row.done += flooding.done.load(Ordering::Relaxed) - before;
    row.busy += broker.busy()? - busy;
    row.generator += broker::own_busy()? - own;
    flooding.end().await?;
    // Memory that it takes to let go counts too.
    broker.watch(sleep(SETTLE), &mut row.memory).await
}

/// A flood that goes on.
struct Flooding {
    stop: CancellationToken,
    done: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flooding {
    fn begin(flood: Flood, target: Target) -> anyhow::Result<Self> {
        let (stop, done) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let thread = floods::begin(flood, target, stop.clone(), done.clone())?;
        Ok(Self { stop, done, thread })
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.thread.await.context("the flood")
    }
}
