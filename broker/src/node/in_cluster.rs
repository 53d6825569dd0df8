//! The node's part in a cluster; nothing on a node that is alone, or in a build that knows no clusters.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::StartError;
#[cfg(feature = "cluster")]
use super::seen_cluster::{figures, shown, told};
#[cfg(feature = "cluster")]
use crate::admin::NotReady;
use crate::admin::{self, Readiness};
use crate::api;
use crate::clock::Clock;
#[cfg(feature = "cluster")]
use crate::cluster::{Cluster, Condition, Prepared, Rooms};
use crate::config::Config;
use crate::control::{Control, Elsewhere};
use crate::hub::{Hub, Shared};
use crate::log::Tag;
use crate::metrics::{ClusterFigures, Metrics};

/// How often it is looked how this node stands in its cluster.
#[cfg(feature = "cluster")]
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// Shows something to people, as JSON.
type Shown = Arc<dyn Fn() -> String + Send + Sync>;

/// What there is before the hub.
#[derive(Debug)]
pub(super) struct Joining {
    #[cfg(feature = "cluster")]
    prepared: Option<Prepared>,
}

/// What runs.
#[derive(Clone, Debug)]
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

    /// This node's name, and the others for orders about clients.
    pub(super) fn elsewhere(&self) -> Option<(String, Arc<dyn Elsewhere>)> {
        self.prepared.as_ref().map(Prepared::elsewhere)
    }

    /// On the current runtime, which is to carry the connections to other nodes.
    pub(super) fn start(self, config: &Config, hub: &Arc<Hub>, control: &Control, metrics: &Arc<Metrics>) -> Result<InCluster, StartError> {
        let data = tokio::runtime::Handle::current();
        let rooms = || Rooms { hub: hub.clone(), control: control.clone() };
        let start = |prepared| Cluster::start(&config.cluster, prepared, rooms(), metrics, data).map(Arc::new);
        Ok(InCluster { cluster: self.prepared.map(start).transpose()? })
    }
}

#[cfg(feature = "cluster")]
impl InCluster {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().map(|cluster| cluster.address())
    }

    /// The cluster in figures, for a scrape.
    pub(super) fn figures(&self) -> Option<ClusterFigures> {
        self.cluster.as_ref().map(|cluster| figures(&cluster.info()))
    }

    /// The cluster for backends.
    pub(super) fn look(&self) -> api::cluster::Look {
        let cluster = self.cluster.clone();
        Arc::new(move || cluster.as_ref().map(|cluster| told(&cluster.info())))
    }

    /// The cluster for operators.
    pub(super) fn described(&self) -> Option<admin::Cluster> {
        self.cluster.as_ref().map(|cluster| shown(&cluster.info()))
    }

    /// How this node stands in it, in a word.
    pub(super) fn condition(&self) -> Option<&'static str> {
        self.cluster.as_ref().map(|cluster| cluster.condition().as_str())
    }

    /// Tells `readiness` and the hub how this node stands in its cluster, for ever.
    pub(super) async fn keep_told(self, readiness: Readiness, hub: Arc<Hub>) {
        let Some(cluster) = self.cluster else { return };
        let mut looks = tokio::time::interval(LOOK);
        let mut before = Condition::Joining;
        loop {
            looks.tick().await;
            let condition = cluster.condition();
            if std::mem::replace(&mut before, condition) != condition {
                hub.set_degraded(condition == Condition::Degraded);
                let name = condition.as_str();
                match condition {
                    Condition::Degraded => {
                        tracing::warn!(event = "cluster_condition", condition = name, "others may go on without this node")
                    }
                    Condition::NotAdmitted => {
                        tracing::error!(event = "cluster_condition", condition = name, "the cluster does not let this node in")
                    }
                    _ => tracing::info!(event = "cluster_condition", condition = name, "how this node stands in its cluster"),
                }
            }
            readiness.stands(match condition {
                Condition::Joining => Some(NotReady::Joining),
                Condition::NotAdmitted => Some(NotReady::NotAdmitted),
                Condition::Whole | Condition::Degraded | Condition::Leaving => None,
            });
        }
    }

    /// Shows the cluster as JSON.
    pub(super) fn shown(&self) -> Option<Shown> {
        let cluster = self.cluster.clone()?;
        Some(Arc::new(move || cluster.info().to_json()))
    }

    /// Whether nothing is left to be handed over, or nobody who could take it.
    pub(super) async fn hand_over(&self, began: Instant, deadline: Instant) -> bool {
        match &self.cluster {
            Some(cluster) => cluster.hand_over(began, deadline).await,
            None => true,
        }
    }

    pub(super) async fn wait_for_others(&self, began: Instant, deadline: Instant) {
        if let Some(cluster) = &self.cluster {
            cluster.wait_for_others(began, deadline).await;
        }
    }

    pub(super) fn leave(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.leave();
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

    pub(super) fn elsewhere(&self) -> Option<(String, Arc<dyn Elsewhere>)> {
        None
    }

    pub(super) fn start(self, _: &Config, _: &Arc<Hub>, _: &Control, _: &Arc<Metrics>) -> Result<InCluster, StartError> {
        Ok(InCluster {})
    }
}

#[cfg(not(feature = "cluster"))]
impl InCluster {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        None
    }

    pub(super) fn figures(&self) -> Option<ClusterFigures> {
        None
    }

    pub(super) fn look(&self) -> api::cluster::Look {
        Arc::new(|| None)
    }

    pub(super) fn described(&self) -> Option<admin::Cluster> {
        None
    }

    pub(super) fn condition(&self) -> Option<&'static str> {
        None
    }

    pub(super) async fn keep_told(self, _: Readiness, _: Arc<Hub>) {}

    pub(super) fn shown(&self) -> Option<Shown> {
        None
    }

    pub(super) async fn hand_over(&self, _: Instant, _: Instant) -> bool {
        true
    }

    pub(super) async fn wait_for_others(&self, _: Instant, _: Instant) {}

    pub(super) fn leave(&self) {}

    pub(super) async fn stop(&self) {}
}
