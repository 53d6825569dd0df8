//! The cluster's keys.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::release::Release;
use crate::config::units;

/// Shorter secrets could be guessed by trying.
pub const SECRET_MIN: usize = 16;
/// Old and new key, while a cluster changes from one to the other.
pub const KEYS_MAX: usize = 2;
/// Seeds beyond a few only make the first seconds louder.
pub const SEEDS_MAX: usize = 64;
/// The largest payload that nodes take to each other: it goes in one frame, beside its name and headers and what its channel's state says.
pub const PAYLOAD_BYTES_MAX: usize = 3 << 20;

/// Other nodes that make up one broker with this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Cluster")]
pub struct Config {
    /// The cluster's secret, 16 characters or more and the same on every node; empty: this node is alone. A second one is accepted besides, while the first is being changed.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<String>>")]
    pub keys: Vec<Secret>,
    /// Nodes to ask for all others, HOST:PORT each; names are looked up again and again. This node may be among them, and without any it waits to be asked.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<String>>")]
    pub seeds: Vec<String>,
    /// This node's name: unique in the cluster, and the same after a restart; null: the host's name.
    pub node: Option<String>,
    /// The cluster's name, the same on every node. Nodes of other clusters are not heard.
    pub id: String,
    /// Where the other nodes connect, over TCP and UDP. They prove that they know the secret, so it may lie beyond loopback.
    #[serde(deserialize_with = "units::address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// HOST:PORT by which the other nodes reach this one; null: the address that this machine has towards the first seed.
    pub advertise: Option<String>,
    /// Certificates by which nodes prove their names to each other, besides the secret.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Tls>")]
    pub tls: Tls,
    /// What this node speaks with others, if not what its release does. For tests: no file, variable or flag sets it.
    #[serde(skip)]
    pub release: Release,
}

/// Certificates between nodes. All three or none; the files are read again when they change, without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ClusterTls")]
pub struct Tls {
    /// PEM file of this node's certificate, and behind it those that lead to its root. Made out to the node's name (subject alternative name); null: the secret alone proves who belongs to the cluster.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub key: Option<PathBuf>,
    /// PEM file of the certificates that sign those of the nodes.
    pub ca: Option<PathBuf>,
}

impl Tls {
    /// The three files, where they are named.
    #[must_use]
    pub fn files(&self) -> Option<[&Path; 3]> {
        Some([self.certificate.as_deref()?, self.key.as_deref()?, self.ca.as_deref()?])
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            seeds: Vec::new(),
            node: None,
            id: "tidings".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8003)),
            advertise: None,
            tls: Tls::default(),
            release: Release::default(),
        }
    }
}

impl Config {
    /// Whether this node is part of a cluster.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The secrets themselves.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.0.clone()).collect()
    }
}

/// Something that logs must not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    /// What stands for it where it must not be shown. Too short to be one.
    #[must_use]
    pub fn hidden() -> Self {
        Self("(hidden)".to_owned())
    }
}

impl fmt::Debug for Secret {
    /// Without it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether a text is `HOST:PORT` with a port that can be dialled.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0 && !address.ip().is_unspecified())
        || text.rsplit_once(':').is_some_and(|(host, port)| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(plain)
                && host != "0.0.0.0"
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nodes_have_a_host_and_a_port() {
        for good in ["10.0.0.7:8003", "[::1]:8003", "node-1.internal:8003", "localhost:1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "node-1", "node-1:", ":8003", "node-1:0", "node 1:8003", "0.0.0.0:8003", "[::]:8003", "http://node-1:8003"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", Config { keys: vec![Secret("hush hush hush hush".into())], ..Config::default() }).contains("hush"));
    }
}
