//! What operators see, on a listener of their own: `/metrics`, `/livez`, `/readyz` for machines, a page at `/` and the API
//! behind it (`/api/…`) for people.
//!
//! What it shows of the node's state comes from [`Readiness`], which whoever drains the node and the self-probe keep up to
//! date, from the [`Journal`], and from [`Inside`], which the node fills in.

mod access;
mod api;
pub mod config;
mod inside;
mod page;
mod probe;
mod readiness;
mod server;
mod trend;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::access::Access;
pub use self::inside::{Cluster, ClusterCounts, Count, Inside, Link, Listening, Node, Present, SlotsInUse};
pub use self::probe::{Listen, run as run_probe};
pub use self::readiness::{NotReady, Readiness};
pub use self::server::serve;
pub use self::trend::Trend;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::limits::Crowd;
use crate::metrics::{Gauges, LogFigures, Metrics};

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
    /// The cluster as this node sees it, as JSON; `None` on a node that is alone.
    pub cluster: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// Whether only requests to an address or to `localhost` are answered.
    pub only_local: bool,
    /// Who may use the API.
    pub access: Access,
    /// The one door.
    pub broker: Broker,
    /// What happened to clients.
    pub journal: Journal,
    /// What only the node can tell.
    pub inside: Arc<dyn Inside>,
    /// The process's log, if it is ours.
    pub log: Option<Arc<dyn Log>>,
    /// Places for connections: [`connections`].
    pub connections: Arc<Crowd>,
    /// The node's clock.
    pub clock: Clock,
    /// The last hour; empty at first.
    pub trend: Arc<Mutex<Trend>>,
}

/// The process's log: what is written changes while it runs, and it counts what it leaves out.
pub trait Log: Send + Sync {
    /// What is written now, as `log.level` in the configuration.
    fn level(&self) -> String;

    /// Writes this from now on.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    fn set_level(&self, level: &str) -> Result<(), String>;

    /// What it did with its lines.
    fn figures(&self) -> LogFigures;
}

/// Places for the connections of one admin listener. Whoever comes when all are taken pushes the oldest out.
#[must_use]
pub fn connections() -> Arc<Crowd> {
    Crowd::new(server::CONNECTIONS_MAX)
}

/// A probe must have passed within this time, however often they run.
const PROBE_WINDOW_MIN: Duration = Duration::from_secs(10);

/// How long the last pass counts when a probe starts every `interval`: at least ten seconds and three chances.
#[must_use]
pub fn probe_window(interval: Duration) -> Duration {
    PROBE_WINDOW_MIN.max(interval * 3)
}
