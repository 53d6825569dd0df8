//! TLS of the node's own listeners.

use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::metrics::{Listener, Metrics};
use crate::tls::{Credentials, Entrance, New, Turns, config};

/// What browsers and publishers may speak; HTTP/2 saves connections.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// gRPC is nothing but HTTP/2.
const GRPC: &[&[u8]] = &[b"h2"];
/// Scrapers and health checks.
const ADMIN: &[&[u8]] = &[b"http/1.1"];
/// Handshakes between two rounds of a shard. One takes up to a millisecond of the time in which messages are delivered.
const HANDSHAKES_IN_ONE_ROUND: usize = 4;

/// What each listener proves itself with, where it speaks TLS.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) http: Option<Arc<Credentials>>,
    grpc: Option<Arc<Credentials>>,
    admin: Option<Arc<Credentials>>,
}

impl Tls {
    /// Reads all files.
    pub(super) fn load(config: &Config, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let load = |listener: Listener, config: &config::Config, alpn| {
            let unusable = |why| StartError::Tls { key: listener.as_str(), why };
            Credentials::load(listener, config, alpn, metrics).map_err(unusable)
        };
        Ok(Self {
            http: load(Listener::Http, &config.http.tls, HTTP)?,
            grpc: load(Listener::Grpc, &config.grpc.tls, GRPC)?,
            admin: load(Listener::Admin, &config.admin.tls, ADMIN)?,
        })
    }

    /// The way in for one shard's connections.
    pub(super) fn http(&self) -> Option<Entrance> {
        entrance(self.http.as_ref())
    }

    pub(super) fn grpc(&self) -> Option<Entrance> {
        entrance(self.grpc.as_ref())
    }

    pub(super) fn admin(&self) -> Option<Entrance> {
        entrance(self.admin.as_ref())
    }

    /// Reads what another configuration names, for [`Tls::exchange`].
    pub(super) fn read(&self, config: &Config) -> Result<Vec<(Arc<Credentials>, New)>, StartError> {
        let listeners = [(&self.http, &config.http.tls), (&self.grpc, &config.grpc.tls), (&self.admin, &config.admin.tls)];
        let mut read = Vec::new();
        for (credentials, config) in listeners {
            if let Some(credentials) = credentials {
                let new = credentials.read(config).map_err(|why| StartError::Tls { key: credentials.listener().as_str(), why })?;
                read.push((credentials.clone(), new));
            }
        }
        Ok(read)
    }

    /// All there are.
    pub(super) fn all(&self) -> Vec<Arc<Credentials>> {
        [&self.http, &self.grpc, &self.admin].into_iter().flatten().cloned().collect()
    }
}

fn entrance(credentials: Option<&Arc<Credentials>>) -> Option<Entrance> {
    credentials.map(|credentials| Entrance { credentials: credentials.clone(), turns: Turns::new(HANDSHAKES_IN_ONE_ROUND) })
}
