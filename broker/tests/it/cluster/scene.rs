//! Nodes in one process that make up a cluster.

use std::net::SocketAddr;
use std::time::Duration;

use tidings::cluster::config::Secret;
use tidings::config::Config;

use crate::support::{Commit, Scene, soon};

pub(super) const KEY: &str = "a cluster key of the tests";

/// A cluster of nodes named `node-0`, `node-1` …
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Scene>,
}

/// What a node of a cluster is told.
fn join(config: &mut Config, name: String, seeds: &[SocketAddr]) {
    config.admin.probe_interval = Duration::from_millis(200);
    config.cluster.keys = vec![Secret(KEY.into())];
    config.cluster.node = Some(name);
    config.cluster.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.cluster.seeds = seeds.iter().map(ToString::to_string).collect();
}

impl Cluster {
    /// Starts so many nodes and waits until each of them takes part.
    pub(crate) async fn start(count: usize) -> Self {
        let mut cluster = Self { nodes: Vec::new() };
        for _ in 0..count {
            cluster.add(|_| {}).await;
        }
        cluster.settle().await;
        cluster
    }

    /// One node more, which is named by its place; the first one is everybody's seed.
    pub(crate) async fn add(&mut self, change: impl FnOnce(&mut Config)) {
        self.add_at(self.nodes.len(), change).await;
    }

    /// A node for a place from which one was taken out, under the name of that one.
    pub(crate) async fn add_at(&mut self, place: usize, change: impl FnOnce(&mut Config)) {
        let seeds: Vec<SocketAddr> = self.nodes.first().into_iter().map(|first| first.node.addresses().cluster.unwrap()).collect();
        let name = format!("node-{place}");
        let scene = Scene::with(Commit::AtOnce, |config| {
            join(config, name, &seeds);
            change(config);
        });
        self.nodes.insert(place, scene.await);
    }

    /// Waits until nothing is held by one node only: a home goes on without a follower that is late, and what it acknowledged alone
    /// goes with it.
    pub(crate) async fn copied(&self) {
        soon("a slot never got its copy", async {
            while self.nodes.iter().any(|scene| {
                let slots = scene.node.embedded().cluster().unwrap().info().slots;
                slots.solo + slots.lag + slots.claiming > 0
            }) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Waits until all nodes agree on the view and are ready.
    pub(crate) async fn settle(&self) {
        soon("the nodes never agreed", async {
            loop {
                let infos: Vec<_> = self.nodes.iter().map(|scene| scene.node.embedded().cluster().unwrap().info()).collect();
                let agree = infos
                    .iter()
                    .all(|info| info.view == infos[0].view && info.nodes.iter().filter(|node| node.home > 0).count() == self.nodes.len());
                // With all connections: an order that finds none to a node says that it was missed.
                let linked = infos.iter().flat_map(|info| &info.nodes).filter(|node| !node.is_me && node.home > 0);
                let agree = agree && linked.into_iter().all(|node| node.queued.iter().all(Option::is_some));
                let ready = self.nodes.iter().all(|scene| scene.node.embedded().ready().is_ok());
                if agree && ready {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
