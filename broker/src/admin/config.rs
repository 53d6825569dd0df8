//! The admin listener's keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration};
use crate::tls;

/// The admin listener: /metrics, /livez, /readyz.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub struct Config {
    /// Where Prometheus and health checks connect. Needs no key, so keep it inside.
    #[serde(deserialize_with = "units::address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// TLS of this listener.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<tls::config::Config>")]
    pub tls: tls::config::Config,
    /// How often the broker publishes to itself to learn whether it delivers; /readyz fails when none passed within 10s.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub probe_interval: Duration,
    /// How many things that happened to sessions (opened, refused, gap, closed …) are kept for the admin listener, at about 150 B each; 0: none.
    pub journal: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)),
            tls: tls::config::Config::default(),
            probe_interval: Duration::from_secs(1),
            journal: 10_000,
        }
    }
}
