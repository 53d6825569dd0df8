//! The demo's monitor: the program itself, and starting it beside a node in dev mode.

use std::process::ExitCode;

use tidings::auth::config::{Key, KeyHash};
use tidings::config::{Config, LogConfig};
use tidings::demo::child::{Child, Start};
use tidings::demo::monitor;
use tidings::node::Addresses;

/// What the log calls the key that the monitor gets.
const KEY_NAME: &str = "demo monitor";

/// `tidings demo-monitor`: publishes this machine's figures until its parent is gone.
pub(crate) fn monitor(grpc: &str, metrics: &str, parent: u32) -> ExitCode {
    let _log = super::log::install(&LogConfig::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(monitor::run(grpc, metrics, parent)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!(event = "demo", "{why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where credentials are asked for in dev mode, lets in the monitor with one that lives as long as this process.
pub(crate) fn key(config: &mut Config) -> Option<String> {
    if !config.dev || !config.knows_anybody() {
        return None;
    }
    let key = super::key::fresh();
    config.keys.push(Key::new(KEY_NAME, KeyHash::of(key.as_bytes())));
    Some(key)
}

/// Starts the monitor in dev mode. Must be called inside a tokio runtime.
pub(crate) fn start(config: &Config, addresses: &Addresses, key: Option<String>) -> Option<Child> {
    if !config.dev {
        return None;
    }
    let unix = || addresses.unix.as_ref().map(|path| format!("unix:{}", path.display()));
    let Some(grpc) = addresses.grpc.map(|address| format!("http://{address}")).or_else(unix) else {
        tracing::info!(event = "demo", "the demo's monitor stays away: there is no gRPC listener");
        return None;
    };
    match std::env::current_exe() {
        Ok(program) => Some(Child::start(Start { program, grpc, metrics_url: format!("http://{}/metrics", addresses.admin), key })),
        Err(why) => {
            tracing::warn!(event = "demo", "the demo's monitor cannot be started: {why}");
            None
        }
    }
}
