//! A listener's TLS keys.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration};

/// TLS of one listener. The files are read again when they change, without a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub struct Config {
    /// PEM file of the certificate, and behind it those that lead to its root; null for no TLS.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key (PKCS8, PKCS1 or SEC1).
    pub key: Option<PathBuf>,
    /// PEM file of the certificates that sign clients' certificates; with it, only clients that show one are let in. null: nobody is asked.
    pub clients: Option<PathBuf>,
    /// A handshake must be over within this time, else the connection is closed.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub handshake_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { certificate: None, key: None, clients: None, handshake_timeout: Duration::from_secs(10) }
    }
}

impl Config {
    /// Whether the listener speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }
}
