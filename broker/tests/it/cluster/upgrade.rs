//! Releases that work together while a cluster is upgraded, and those that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tidings::broker::Broker;
use tidings::cluster::{Common, Condition, Release};
use tidings::config::Config;
use tidings::message::PublishId;
use tokio::task::JoinHandle;

use super::hops::{kept, publish};
use super::scene::Cluster;
use crate::support::{Http1, Listener, Since, Way, draft, soon};

/// A release that knows nothing of the next one, and that one, which can do something more besides.
const OLD: Release = Release { protocol: (1, 1), features: 0b01 };
const NEW: Release = Release { protocol: (1, 2), features: 0b11 };

/// Between two rounds of publishes.
const PACE: Duration = Duration::from_millis(5);

fn runs(release: Release) -> impl FnOnce(&mut Config) {
    move |config| {
        config.cluster.release = release;
        config.drain.grace = Duration::from_secs(10);
        // Nobody shall miss anything because it read late.
        let mut rules = config.namespaces.get(None).clone();
        (rules.history.size, rules.history.bytes) = (100_000, 64 << 20);
        config.namespaces.insert("default", rules);
    }
}

/// Publishes numbers to every channel, each until somebody says that it is done, as SDKs do: to whichever nodes there are.
struct Publisher {
    doors: Arc<RwLock<Vec<Broker>>>,
    acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Publisher {
    fn start(cluster: &Cluster, channels: &[String]) -> Self {
        let doors = Arc::new(RwLock::new(Self::doors(cluster)));
        let (acked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (asked, acks, ends, channels) = (doors.clone(), acked.clone(), stop.clone(), channels.to_vec());
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                for channel in &channels {
                    soon("a publish was never done", insist(&asked, channel, number)).await;
                }
                number += 1;
                acks.store(number, Ordering::Relaxed);
                tokio::time::sleep(PACE).await;
            }
            number
        });
        Self { doors, acked, stop, task }
    }

    fn doors(cluster: &Cluster) -> Vec<Broker> {
        cluster.nodes.iter().map(|scene| scene.node.broker().clone()).collect()
    }

    /// From now on these are the nodes.
    fn knows(&self, cluster: &Cluster) {
        *self.doors.write() = Self::doors(cluster);
    }

    /// Waits until each channel took some more publishes.
    async fn goes_on(&self) {
        let before = self.acked.load(Ordering::Relaxed);
        soon("publishing stands still", async {
            while self.acked.load(Ordering::Relaxed) < before + 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn insist(doors: &RwLock<Vec<Broker>>, channel: &str, number: u64) {
    let id = PublishId::keyed(&format!("{channel}-{number}")).unwrap();
    for attempt in number as usize.. {
        let door = {
            let doors = doors.read();
            doors[attempt % doors.len()].clone()
        };
        let mut message = draft(channel, &number.to_string());
        message.id = Some(id.clone());
        if door.publish(message).await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn common(cluster: &Cluster) -> Vec<Common> {
    cluster.nodes.iter().map(|scene| scene.node.embedded().cluster().unwrap().info().common).collect()
}

async fn agree(cluster: &Cluster, expected: Common) {
    soon("the nodes never agreed on what all of them can", async {
        while common(cluster).iter().any(|common| *common != expected) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_upgraded_one_by_one_under_load_and_what_is_new_is_used_when_the_last_one_has_it() {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..3 {
        cluster.add(runs(OLD)).await;
    }
    cluster.settle().await;
    let both = Common { protocol: 1, features: 0b01 };
    agree(&cluster, both).await;
    let channels: Vec<String> = (0..6).map(|number| format!("upgraded-{number}")).collect();
    let mut listeners = Vec::new();
    for channel in &channels {
        listeners.push((Vec::new(), Listener::open(Way::Door, &cluster.nodes[0], &[channel], Since::Earliest).await));
    }
    let publisher = Publisher::start(&cluster, &channels);
    for at in 0..3 {
        publisher.goes_on().await;
        // Its clients go to another node, with what they have.
        for (channel, (texts, listener)) in channels.iter().zip(&mut listeners) {
            texts.extend(listener.texts(1).await);
            let cursor = listener.cursor();
            *listener = Listener::open(Way::Door, &cluster.nodes[(at + 1) % 3], &[channel], cursor).await;
        }
        let leaving = cluster.nodes.remove(at);
        publisher.knows(&cluster);
        leaving.node.drain().await;
        publisher.goes_on().await;
        cluster.add_at(at, runs(NEW)).await;
        cluster.settle().await;
        publisher.knows(&cluster);
        if at < 2 {
            agree(&cluster, both).await;
        }
    }
    agree(&cluster, Common { protocol: 2, features: 0b11 }).await;
    publisher.goes_on().await;
    let published = publisher.end().await;
    let all: Vec<String> = (0..published).map(|number| number.to_string()).collect();
    for (channel, (mut texts, mut listener)) in channels.iter().zip(listeners) {
        texts.extend(listener.texts(all.len() - texts.len()).await);
        assert_eq!(texts, all, "{channel}: at a listener that went from node to node");
    }
    for channel in &channels {
        for (at, scene) in cluster.nodes.iter().enumerate() {
            let texts = Listener::open(Way::Door, scene, &[channel], Since::Earliest).await.texts(all.len()).await;
            assert!(texts == all, "{channel}: what node {at} has is not what was published");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_before_is_let_in_again_and_the_others_do_without_what_it_cannot() {
    let mut cluster = Cluster { nodes: Vec::new() };
    // It knows bits that nobody has heard of.
    for release in [NEW, Release { features: u64::MAX, ..NEW }] {
        cluster.add(runs(release)).await;
    }
    cluster.settle().await;
    agree(&cluster, Common { protocol: 2, features: 0b11 }).await;
    cluster.add(runs(OLD)).await;
    cluster.settle().await;
    agree(&cluster, Common { protocol: 1, features: 0b01 }).await;
    publish(&cluster.nodes[2], "back", "1").await;
    for scene in &cluster.nodes {
        assert_eq!(kept(scene, "back").await, ["1"]);
    }
    let leaving = cluster.nodes.pop().unwrap();
    leaving.node.drain().await;
    agree(&cluster, Common { protocol: 2, features: 0b11 }).await;
}

fn condition(cluster: &Cluster, at: usize) -> Condition {
    cluster.nodes[at].node.embedded().cluster().unwrap().condition()
}

/// Waits until the first `count` nodes miss nobody: one that is late is missed for a moment.
async fn whole(cluster: &Cluster, count: usize) {
    soon("all are whole", async {
        while (0..count).any(|at| condition(cluster, at) != Condition::Whole) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn refused(cluster: &Cluster, at: usize, by: &str) -> f64 {
    let by = format!("by=\"{by}\"");
    cluster.nodes[at].metric("tidings_cluster_greetings_refused_total", &["reason=\"protocol\"", &by]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_too_far_away_is_refused_on_both_sides_and_those_that_were_there_go_on() {
    let speaks = |oldest, newest| runs(Release { protocol: (oldest, newest), features: 0 });
    let mut cluster = Cluster { nodes: Vec::new() };
    cluster.add(speaks(1, 2)).await;
    cluster.add(speaks(2, 3)).await;
    cluster.settle().await;
    // The second one would understand it, the first one not: in two halves of one cluster it would be of no use.
    cluster.add(speaks(3, 4)).await;
    soon("it was let in", async {
        while condition(&cluster, 2) != Condition::NotAdmitted
            || refused(&cluster, 0, "this_node").await + refused(&cluster, 0, "other_node").await == 0.0
            || refused(&cluster, 1, "this_node").await == 0.0
            || refused(&cluster, 2, "other_node").await == 0.0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Readiness looks at the condition now and then, so it may be one look behind.
    let admin = cluster.nodes[2].node.addresses().admin;
    soon("it says why it is not ready", async {
        loop {
            let told = Http1::get(admin, "1.1", "/readyz", "Connection: close\r\n", None).await.rest().await;
            let told = String::from_utf8(told).unwrap();
            if told.contains("\"reason\":\"not_admitted\"") && told.contains("release") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    whole(&cluster, 2).await;
    for at in 0..2 {
        publish(&cluster.nodes[at], "goes-on", &at.to_string()).await;
    }
    assert_eq!(kept(&cluster.nodes[0], "goes-on").await, ["0", "1"]);

    // Through a release that speaks both it gets in.
    let old = cluster.nodes.remove(0);
    old.node.drain().await;
    cluster.add_at(0, speaks(2, 3)).await;
    cluster.settle().await;
    whole(&cluster, 3).await;
    agree(&cluster, Common { protocol: 3, features: 0 }).await;
    assert_eq!(kept(&cluster.nodes[2], "goes-on").await, ["0", "1"]);
}
