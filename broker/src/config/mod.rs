//! The tree of config.yaml, made of each room's own `Config`. Reads file, then environment, then flags; refuses what does
//! not fit together. Knows nothing of what the rooms do with their parts.

mod logging;
pub mod units;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use logging::{LogConfig, LogFormat};

use crate::hub::namespace::Namespaces;
use crate::{admin, api, auth, drain, front, limits, net, shard};

/// Everything a node can be told. Every field has a default; an embedder starts from `Config::default()`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Tidings configuration")]
pub struct Config {
    /// For trying things out: no key is needed, the demo is served, and every listener must stay on loopback.
    pub dev: bool,
    /// Without keys, let anyone who reaches a listener publish, and allow listeners beyond loopback. Behind a firewall only.
    pub insecure: bool,
    /// Threads that own connections, 1 to 64; 0: one per core.
    pub shards: u16,
    /// The broker's own log, on standard error.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<LogConfig>")]
    pub log: LogConfig,
    /// The public HTTP listener: browser fronts, HTTP API, demo.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<net::config::Config>")]
    pub http: net::config::Config,
    /// Which pages of other origins may use the public listener from a browser.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::CorsConfig>")]
    pub cors: front::config::CorsConfig,
    /// The gRPC listener: publish, subscribe, query; health and reflection.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<api::config::GrpcConfig>")]
    pub grpc: api::config::GrpcConfig,
    /// The admin listener: /metrics, /livez, /readyz.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<admin::config::Config>")]
    pub admin: admin::config::Config,
    /// Who may publish and query. `tidings key NAME` makes a key and prints the entry for this list.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<auth::config::Key>>")]
    pub keys: Vec<auth::config::Key>,
    /// What channels keep and accept, by the part of their name before the first `:`.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Namespaces>")]
    pub namespaces: Namespaces,
    /// Bounds of the whole node and of one request.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<limits::Config>")]
    pub limits: limits::Config,
    /// The threads that own connections.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<shard::config::Config>")]
    pub shard: shard::config::Config,
    /// Server-Sent Events (GET /sse).
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::SseConfig>")]
    pub sse: front::config::SseConfig,
    /// Long-poll (GET /poll).
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<front::config::PollConfig>")]
    pub poll: front::config::PollConfig,
    /// How the node leaves after SIGTERM.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<drain::Config>")]
    pub drain: drain::Config,
}

impl Config {
    /// The keyring's part of the tree.
    #[must_use]
    pub fn auth(&self) -> auth::config::Config {
        auth::config::Config { keys: self.keys.clone(), open: self.dev || self.insecure }
    }
}
