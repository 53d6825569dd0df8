//! Leaving gently.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration};

/// How a node leaves after SIGTERM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Drain")]
pub struct Config {
    /// Whole time from the signal to the exit; what is still open then is cut.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub grace: Duration,
    /// Time between readiness off and the first close, so that load balancers notice; 0s for none.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub notice: Duration,
    /// Streams are ended in this many waves, so that the other nodes are not stormed.
    pub waves: u32,
    /// Shortest wait that a client is told before it reconnects; each draws its own between the two.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub retry_min: Duration,
    /// Longest wait that a client is told before it reconnects.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub retry_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            notice: Duration::ZERO,
            waves: 10,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(10),
        }
    }
}
