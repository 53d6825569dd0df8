//! Nodes keep their names: a restarted one has everything again, and two processes of one name are told of it.

use super::hops::{kept, publish};
use super::scene::Cluster;
use crate::support::{Listener, Since, Way, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_started_again_under_its_name_has_everything_and_takes_its_slots_back() {
    let mut cluster = Cluster::start(3).await;
    let channels: Vec<String> = (0..12).map(|number| format!("again-{number}")).collect();
    let mut listeners = Vec::new();
    for channel in &channels {
        listeners.push(Listener::open(Way::Door, &cluster.nodes[0], &[channel], Since::Earliest).await);
        publish(&cluster.nodes[0], channel, "before").await;
    }
    cluster.copied().await;
    let dead = cluster.nodes.pop().unwrap();
    dead.node.stop().await;
    drop(dead);
    // It is back under its name before anybody has waited long for it.
    cluster.add(|_| {}).await;
    cluster.settle().await;
    for channel in &channels {
        publish(&cluster.nodes[2], channel, "after").await;
    }
    for (channel, listener) in channels.iter().zip(&mut listeners) {
        assert_eq!(listener.texts(2).await, ["before", "after"], "{channel}");
        for scene in &cluster.nodes {
            assert_eq!(kept(scene, channel).await, ["before", "after"], "{channel}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_of_one_name_the_second_one_says_so_even_without_a_third_node() {
    let mut cluster = Cluster::start(1).await;
    cluster.add(|config| config.cluster.node = Some("node-0".into())).await;
    let is_duplicate = |at: usize| cluster.nodes[at].node.embedded().cluster().unwrap().is_duplicate();
    soon("the second one never noticed", async {
        while !is_duplicate(1) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!is_duplicate(0), "the first one is the one that has the name");
    publish(&cluster.nodes[0], "first", "goes on").await;
}
