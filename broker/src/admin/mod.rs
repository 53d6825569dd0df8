//! Health and metrics for operators, on a listener of their own: `/metrics`, `/livez`, `/readyz`.
//!
//! It only reads. What it shows of the node's state comes from [`Readiness`], which whoever drains the node and the
//! self-probe keep up to date.

pub mod config;
mod probe;
mod readiness;
mod server;

use std::sync::Arc;
use std::time::Duration;

pub use self::probe::{Listen, run as run_probe};
pub use self::readiness::{NotReady, Readiness};
pub use self::server::serve;
use crate::metrics::{Gauges, Metrics};

/// What the admin listener shows. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// Reads what others keep count of; called once per scrape. `ready` and `draining` are filled in here.
    pub gauges: Arc<dyn Fn() -> Gauges + Send + Sync>,
    /// Whether this node should get traffic.
    pub readiness: Readiness,
    /// What connections begin with, where the listener speaks TLS.
    pub entrance: Option<crate::tls::Entrance>,
    /// Whether only requests to an address or to `localhost` are answered.
    pub only_local: bool,
}

/// The levels of the process's log, which change while it runs.
pub trait LogLevels: Send + Sync {
    /// What is written now, as `log.level` in the configuration.
    fn level(&self) -> String;

    /// Writes this from now on.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    fn set_level(&self, level: &str) -> Result<(), String>;
}

/// A probe must have passed within this time, however often they run.
const PROBE_WINDOW_MIN: Duration = Duration::from_secs(10);

/// How long the last pass counts when a probe starts every `interval`: at least ten seconds and three chances.
#[must_use]
pub fn probe_window(interval: Duration) -> Duration {
    PROBE_WINDOW_MIN.max(interval * 3)
}
