//! The admin listener's keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::config::KeyHash;
use crate::config::units::{self, HumanDuration};
use crate::tls;

/// The admin listener: /metrics, /livez, /readyz for machines; a page and its API for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub struct Config {
    /// Where Prometheus and health checks connect, without a key: keep it inside. The page and the API ask for one.
    #[serde(deserialize_with = "units::address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// TLS of this listener.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<tls::config::Config>")]
    pub tls: tls::config::Config,
    /// Who may use the page and the API. `tidings key NAME` makes a key; without any they are closed, but for `dev`.
    pub keys: Vec<AdminKey>,
    /// How often the broker publishes to itself to learn whether it delivers; /readyz fails when none passed within 10s.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub probe_interval: Duration,
    /// How many things that happened to sessions (opened, refused, gap, closed …) are kept for the admin listener, and as many refusals besides, at about 150 B each; 0: none.
    pub journal: u32,
}

/// The key of an operator: a name for people and the hash of the secret, never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminKey {
    /// Whose it is; unique.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: KeyHash,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)),
            tls: tls::config::Config::default(),
            keys: Vec::new(),
            probe_interval: Duration::from_secs(1),
            journal: 10_000,
        }
    }
}
