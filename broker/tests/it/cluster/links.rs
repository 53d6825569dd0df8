//! Links between nodes: what one that is behind costs, and whom, and what is seen of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings::cluster::core::{Member, NodeId, View};
use tidings::cluster::{Info, NodeInfo};
use tidings::config::Config;
use tidings::log::Slot;
use tidings::message::ChannelName;
use tokio::time::Instant;

use super::scene::{Cluster, KEY};
use crate::support::{Daemon, Scene, metric, soon};

/// The process that stands still.
const SLOW: &str = "slow";

fn info(scene: &Scene) -> Info {
    scene.node.embedded().cluster().unwrap().info()
}

fn seen(scene: &Scene, name: &str) -> NodeInfo {
    info(scene).nodes.into_iter().find(|node| node.name.as_str() == name).unwrap()
}

/// Channels that lose nothing of what these tests publish.
fn keep_much(config: &mut Config) {
    let mut rules = config.namespaces.get(None).clone();
    (rules.history.size, rules.history.bytes, rules.payload_bytes) = (100_000, 256 << 20, 1 << 20);
    config.namespaces.insert("default", rules);
}

/// Two nodes here and one in a process of its own, which can be stopped. `now:…` are channels that keep nothing.
async fn beside_a_process() -> (Cluster, Daemon) {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..2 {
        cluster
            .add(|config| {
                keep_much(config);
                let mut rules = config.namespaces.get(None).clone();
                rules.history.size = 0;
                config.namespaces.insert("now", rules);
            })
            .await;
    }
    cluster.settle().await;
    let seed = cluster.nodes[0].node.addresses().cluster.unwrap();
    let file = format!(
        "cluster: {{keys: ['{KEY}'], node: {SLOW}, listen: '127.0.0.1:0', seeds: ['{seed}']}}\n\
         namespaces: {{default: {{history: {{size: 100000, bytes: 256MiB}}}}, now: {{history: {{size: 0, bytes: 256MiB}}}}}}\n"
    );
    let slow = Daemon::start_from(&file, &[]).await;
    soon("it never took part", async {
        let takes_part = |scene: &Scene| info(scene).nodes.iter().filter(|node| node.home > 0).count() == 3;
        while !cluster.nodes.iter().all(takes_part) || metric(slow.admin, "tidings_cluster_active", &[]).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    (cluster, slow)
}

/// Who should lead the slot of a channel, and who should hold its second copy.
fn places(cluster: &Cluster) -> impl Fn(&str) -> (String, String) {
    let info = info(&cluster.nodes[0]);
    let names: BTreeMap<_, _> = info.nodes.iter().map(|node| (node.tag, node.name.to_string())).collect();
    let member = |node: &NodeInfo| Member { id: NodeId::of(node.name.as_str()), tag: node.tag, state: node.state.unwrap() };
    let view = View::new(info.nodes[0].tag, info.nodes.iter().map(member).collect(), 2, Default::default(), true);
    assert_eq!(view.id(), info.view);
    move |channel| {
        let place = view.place(Slot::of(&ChannelName::parse(channel).unwrap())).unwrap();
        (names[&place.home].clone(), names[&place.follower.unwrap()].clone())
    }
}

/// A channel that this node leads and that one copies; its name begins so.
fn led(places: &impl Fn(&str) -> (String, String), begins: &str, home: &str, follower: &str) -> String {
    let names = (0..).map(|number| format!("{begins}{number}"));
    let mut theirs = names.filter(|name| places(name) == (home.to_owned(), follower.to_owned()));
    theirs.next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_copies_of_a_node_are_behind_is_shown_on_the_nodes_that_lead_the_slots() {
    let (cluster, slow) = beside_a_process().await;
    let place = places(&cluster);
    let (theirs, copied_there) = (led(&place, "a-", "node-0", "node-1"), led(&place, "c-", "node-0", SLOW));
    for channel in [&theirs, &copied_there] {
        cluster.nodes[0].publish(channel, "0").await;
    }
    cluster.copied().await;
    let lag = |name: &str| seen(&cluster.nodes[0], name).lag.map(|lag| (lag.records, lag.slots));
    assert_eq!((lag("node-0"), lag("node-1"), lag(SLOW)), (None, Some((0, 0)), Some((0, 0))));
    slow.pause().await;
    let began = Instant::now();
    for _ in 0..3 {
        for channel in [&theirs, &copied_there] {
            cluster.nodes[0].publish(channel, "1").await;
        }
    }
    assert_eq!((lag("node-1"), lag(SLOW)), (Some((0, 0)), Some((3, 1))), "also of one that is not waited for any more");
    soon("it grows older", async {
        while seen(&cluster.nodes[0], SLOW).lag.unwrap().oldest < Duration::from_millis(300) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(seen(&cluster.nodes[0], SLOW).lag.unwrap().oldest <= began.elapsed());
    slow.go_on();
    cluster.copied().await;
    assert_eq!((lag("node-1"), lag(SLOW)), (Some((0, 0)), Some((0, 0))));
}
