//! The node's part in a cluster; nothing on a node that is alone, or in a build that knows no clusters.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::StartError;
use crate::clock::Clock;
#[cfg(feature = "cluster")]
use crate::cluster::{Cluster, Prepared};
use crate::config::Config;
use crate::hub::{Hub, Shared};
use crate::log::Tag;

/// Shows something to people, as JSON.
type Shown = Arc<dyn Fn() -> String + Send + Sync>;

/// What there is before the hub.
#[derive(Debug)]
pub(super) struct Joining {
    #[cfg(feature = "cluster")]
    prepared: Option<Prepared>,
}

/// What runs.
#[derive(Debug)]
pub(super) struct InCluster {
    #[cfg(feature = "cluster")]
    pub(super) cluster: Option<Arc<Cluster>>,
}

#[cfg(feature = "cluster")]
impl Joining {
    pub(super) fn prepare(config: &Config, tag: Tag, clock: Clock) -> Result<Self, StartError> {
        let prepared = config.cluster.is_on().then(|| Prepared::new(&config.cluster, tag, clock)).transpose()?;
        Ok(Self { prepared })
    }

    pub(super) fn shared(&self) -> Option<Shared> {
        self.prepared.as_ref().map(Prepared::shared)
    }

    /// On the current runtime, which is to carry the connections to other nodes.
    pub(super) fn start(self, config: &Config, hub: &Arc<Hub>) -> Result<InCluster, StartError> {
        let data = tokio::runtime::Handle::current();
        let start = |prepared| Cluster::start(&config.cluster, prepared, hub.clone(), data).map(Arc::new);
        Ok(InCluster { cluster: self.prepared.map(start).transpose()? })
    }
}

#[cfg(feature = "cluster")]
impl InCluster {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().map(|cluster| cluster.address())
    }

    /// Shows the cluster as JSON.
    pub(super) fn shown(&self) -> Option<Shown> {
        let cluster = self.cluster.clone()?;
        Some(Arc::new(move || cluster.info().to_json()))
    }

    pub(super) async fn hand_over(&self, deadline: Instant) {
        if let Some(cluster) = &self.cluster {
            cluster.hand_over(deadline).await;
        }
    }

    pub(super) async fn stop(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.stop().await;
        }
    }
}

#[cfg(not(feature = "cluster"))]
impl Joining {
    pub(super) fn prepare(_: &Config, _: Tag, _: Clock) -> Result<Self, StartError> {
        Ok(Self {})
    }

    pub(super) fn shared(&self) -> Option<Shared> {
        None
    }

    pub(super) fn start(self, _: &Config, _: &Arc<Hub>) -> Result<InCluster, StartError> {
        Ok(InCluster {})
    }
}

#[cfg(not(feature = "cluster"))]
impl InCluster {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        None
    }

    pub(super) fn shown(&self) -> Option<Shown> {
        None
    }

    pub(super) async fn hand_over(&self, _: Instant) {}

    pub(super) async fn stop(&self) {}
}
