//! The process's log: human lines on a terminal, JSON elsewhere.

use std::io::IsTerminal as _;

use tidings::config::{LogConfig, LogFormat};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// Installs it for the whole process.
pub(crate) fn install(config: &LogConfig) {
    // The configuration was checked; should the two readers ever differ, a log at `info` beats none.
    let levels = config.level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let terminal = std::io::stderr().is_terminal();
    let human = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if human { lines.with_ansi(terminal).boxed() } else { lines.json().flatten_event(true).boxed() };
    // Fails only when a log is installed already, and then that one serves.
    let _ = tracing_subscriber::registry().with(lines.with_filter(levels)).try_init();
}
