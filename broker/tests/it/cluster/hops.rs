//! Clients and publishers that go from node to node, and nodes that leave or die meanwhile.

use tidings::broker::HistoryQuery;
use tidings::message::{ChannelName, PublishId};

use super::scene::Cluster;
use crate::support::{Listener, Scene, Since, Way, draft, soon};

async fn publish(scene: &Scene, channel: &str, text: &str) {
    scene.node.broker().publish(draft(channel, text)).await.unwrap();
}

async fn kept(scene: &Scene, channel: &str) -> Vec<String> {
    let query = HistoryQuery { limit: 1000, ..HistoryQuery::default() };
    let page = scene.node.broker().history(&ChannelName::parse(channel).unwrap(), &query).await.unwrap();
    page.entries.iter().map(|entry| String::from_utf8(entry.payload.bytes().to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_at_any_node_by_any_way_without_a_gap_or_a_double() {
    let cluster = Cluster::start(3).await;
    let numbers = |range: std::ops::RangeInclusive<u64>| range.map(|number| number.to_string()).collect::<Vec<_>>();
    for number in 1..=5 {
        publish(&cluster.nodes[0], "hops", &number.to_string()).await;
    }
    let mut last = 5;
    for way in Way::ALL {
        // It comes from one node, hears something live at the next one, and goes on at the third.
        let (texts, cursor) = Listener::open(way, &cluster.nodes[0], &["hops"], Since::Earliest).await.leave_after(last as usize).await;
        assert_eq!(texts, numbers(1..=last), "{way:?}");
        let mut listener = Listener::open(way, &cluster.nodes[1], &["hops"], cursor).await;
        for number in last + 1..=last + 3 {
            publish(&cluster.nodes[number as usize % 3], "hops", &number.to_string()).await;
        }
        assert_eq!(listener.texts(3).await, numbers(last + 1..=last + 3), "{way:?}");
        let cursor = listener.cursor();
        drop(listener);
        publish(&cluster.nodes[1], "hops", &(last + 4).to_string()).await;
        let mut listener = Listener::open(way, &cluster.nodes[2], &["hops"], cursor).await;
        assert_eq!(listener.texts(1).await, numbers(last + 4..=last + 4), "{way:?}");
        last += 4;
    }
}

/// Publishes under one id until somebody says that it is done, as an SDK does.
async fn insist(nodes: &[&Scene], channel: &str, text: &str) {
    let id = PublishId::keyed(text).unwrap();
    soon("a publish was never done", async {
        for attempt in 0.. {
            let mut message = draft(channel, text);
            message.id = Some(id.clone());
            if nodes[attempt % nodes.len()].node.broker().publish(message).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_home_dies_nothing_acknowledged_is_lost_and_publishing_goes_on() {
    let mut cluster = Cluster::start(3).await;
    // With this many channels each node is the home of some.
    let channels: Vec<String> = (0..12).map(|number| format!("dies-{number}")).collect();
    let mut listeners = Vec::new();
    for channel in &channels {
        listeners.push(Listener::open(Way::Door, &cluster.nodes[2], &[channel], Since::Earliest).await);
    }
    for number in 0..10 {
        for channel in &channels {
            publish(&cluster.nodes[number % 3], channel, &number.to_string()).await;
        }
    }
    let dead = cluster.nodes.remove(1);
    dead.node.stop().await;
    drop(dead);
    let began = tokio::time::Instant::now();
    let alive: Vec<&Scene> = cluster.nodes.iter().collect();
    for number in 10..20 {
        for channel in &channels {
            insist(&alive, channel, &number.to_string()).await;
        }
        if number == 10 {
            println!("all channels took a publish again after {:?}", began.elapsed());
        }
    }
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for (channel, listener) in channels.iter().zip(&mut listeners) {
        assert_eq!(listener.texts(20).await, all, "{channel}: at the listener that was there all the time");
        for scene in &alive {
            assert_eq!(kept(scene, channel).await, all, "{channel}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_hands_everything_over_while_publishing_goes_on() {
    let mut cluster = Cluster::start(2).await;
    cluster.add(|config| config.drain.grace = std::time::Duration::from_secs(10)).await;
    cluster.settle().await;
    let channels: Vec<String> = (0..12).map(|number| format!("leaves-{number}")).collect();
    for channel in &channels {
        publish(&cluster.nodes[0], channel, "0").await;
    }
    let leaving = cluster.nodes.pop().unwrap();
    let drain = tokio::spawn(leaving.node.drain());
    let mut number = 0;
    while !drain.is_finished() || number < 20 {
        number += 1;
        for channel in &channels {
            publish(&cluster.nodes[number % 2], channel, &number.to_string()).await;
        }
    }
    let all: Vec<String> = (0..=number).map(|number| number.to_string()).collect();
    for channel in &channels {
        for scene in &cluster.nodes {
            assert_eq!(kept(scene, channel).await, all, "{channel}");
        }
    }
}
