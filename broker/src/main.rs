//! The daemon: flags → config → node → signals → drain. Everything global of the process is set up here and in `cli/`, so
//! that the library installs nothing.

mod cli;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use cli::{Arguments, BrokerTask, Task};
use tidings::config::{Config, workers};
use tidings::node::Node;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code when the broker failed while it ran (`EX_SOFTWARE` of sysexits.h), for a supervisor to restart it: told from
/// 1, it did not start or was stopped at once, and 2, its configuration or command line is wrong.
const FAILED: u8 = 70;

fn main() -> ExitCode {
    let (task, settings) = match Arguments::read().task() {
        Task::Done(code) => return code,
        Task::Broker(task, settings) => (task, settings),
    };
    match (settings.load(), task) {
        (Err(problems), _) => cli::refuse(&problems),
        (Ok(loaded), BrokerTask::Check) => cli::print(&format!("{}: fine\n", loaded.source)),
        (Ok(loaded), BrokerTask::Print) => cli::print_config(&loaded.config),
        (Ok(loaded), BrokerTask::Serve) => serve(loaded, settings),
    }
}

fn serve(loaded: cli::Loaded, settings: cli::Settings) -> ExitCode {
    let log = Arc::new(cli::log::install(&loaded.config.log));
    tracing::info!(event = "starting", version = env!("CARGO_PKG_VERSION"), config = %loaded.source, "tidings starts");
    cli::open_files::raise(&loaded.config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).thread_name("tidings").enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(loaded.config, settings, log.clone()));
            // Whatever still runs after the drain, or after the second signal, is cut.
            runtime.shutdown_background();
            ended
        }
        Err(why) => Err(why).context("cannot start the runtime"),
    };
    let code = match ended {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::from(FAILED),
        Err(why) => {
            tracing::error!(event = "failed", "{why:#}");
            ExitCode::FAILURE
        }
    };
    // The admin listener may still hold the log, so that nothing would drop it.
    log.flush();
    code
}

/// How a run came to its end.
enum Ended {
    Drained,
    Failed,
}

async fn run(mut config: Config, settings: cli::Settings, log: Arc<cli::log::Log>) -> anyhow::Result<Ended> {
    // Before the node starts: a signal during the start must not be lost.
    let mut signals = cli::signals::Signals::listen().context("cannot listen for signals")?;
    cli::announce::warnings(&config);
    cli::announce::unbounded(&config);
    let asked = config.clone();
    let demo_key = cli::demo::key(&mut config);
    let mut reloads = cli::reload::Reloads::listen(settings, cli::reload::added(&config, &asked)).context("cannot listen for signals")?;
    let node = Node::start_with(config.clone(), Some(log.clone())).await?;
    cli::announce::addresses(&config, node.addresses());
    let demo = cli::demo::start(&config, node.addresses(), demo_key);

    let grace = config.drain.grace;
    let ended = loop {
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(event = "draining", signal, ?grace, "draining; a second signal ends at once");
                break Ended::Drained;
            }
            // Whoever is on the other shards is let go as gently as ever.
            () = node.failed() => {
                tracing::error!(event = "draining", ?grace, "draining, to be restarted");
                break Ended::Failed;
            }
            because = reloads.wanted() => reloads.reload(&node, &log, because),
        }
    };
    drop(demo);
    tokio::select! {
        biased;
        signal = signals.again() => anyhow::bail!("{signal} again: stopped at once"),
        () = node.drain() => tracing::info!(event = "drained", "drained"),
    }
    Ok(ended)
}
