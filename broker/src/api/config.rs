//! The gRPC listener's keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration, Size};
use crate::tls;

/// The gRPC listener: publish, subscribe, query; health and reflection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Grpc")]
pub struct GrpcConfig {
    /// Where backends connect; null for none.
    #[serde(deserialize_with = "units::address_or_null")]
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// TLS of the TCP listener; a Unix socket needs none.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<tls::config::Config>")]
    pub tls: tls::config::Config,
    /// Path of a Unix socket for backends on the same machine, beside or instead of `listen`; null for none.
    pub unix: Option<PathBuf>,
    /// Largest request message; must hold the largest payload or batch that publishers send.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub message_bytes: usize,
    /// Most calls at once on one connection; more wait their turn at the client.
    pub streams: u32,
    /// A connection on which nobody who may called anything for this time since it was opened is closed; health and reflection do not count. Clients open another one when they need it.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub first_call_timeout: Duration,
    /// A connection on which no call was under way for this time is closed. Clients open another one when they need it.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub idle_timeout: Duration,
    /// A call whose peer takes nothing of what is there for it for this long is over, and its stream is reset: also one whose peer answers pings and only keeps its window closed.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub write_timeout: Duration,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8001))),
            tls: tls::config::Config::default(),
            unix: None,
            message_bytes: 4 << 20,
            streams: 256,
            first_call_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(300),
        }
    }
}
