//! What is published anywhere reaches everybody everywhere, once and in one order.

use tidings::broker::{Delivery, HistoryQuery, Subscribe, Subscription};
use tidings::message::ChannelName;

use super::scene::Cluster;
use crate::support::{draft, soon};

async fn listen(cluster: &Cluster, at: usize, channel: &str) -> Subscription {
    cluster.nodes[at].node.broker().subscribe(Subscribe::live([channel]).unwrap()).await.unwrap()
}

async fn texts(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        match soon("a message did not come", subscription.next()).await.unwrap() {
            Delivery::Messages(entries) => {
                texts.extend(entries.iter().map(|entry| String::from_utf8(entry.payload.bytes().to_vec()).unwrap()));
            }
            other => panic!("{other:?} after {texts:?}"),
        }
    }
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_nodes_publish_reaches_listeners_on_both_once_and_in_one_order() {
    let cluster = Cluster::start(2).await;
    let mut whole = 0;
    for channel in ["a", "b", "c", "d"] {
        let mut listeners = [listen(&cluster, 0, channel).await, listen(&cluster, 1, channel).await];
        let mut published = Vec::new();
        for number in 0..50 {
            for (at, scene) in cluster.nodes.iter().enumerate() {
                let text = format!("{at}-{number}");
                let done = scene.node.broker().publish(draft(channel, &text)).await.unwrap();
                // A home goes on alone for a while when the other node was late once.
                assert!((1..=2).contains(&done.copies));
                whole += u32::from(done.copies == 2);
                published.push(text);
            }
        }
        for listener in &mut listeners {
            assert_eq!(texts(listener, published.len()).await, published);
        }
    }
    assert!(whole > 100, "of 400 only {whole} were held by both nodes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_tell_each_other_no_more_than_they_need() {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..5 {
        // Probes are messages, too.
        cluster.add(|config| config.admin.probe_interval = std::time::Duration::from_secs(2)).await;
    }
    cluster.settle().await;
    let mut listeners = Vec::new();
    for at in [0, 3] {
        listeners.push(listen(&cluster, at, "news").await);
    }
    cluster.nodes[1].node.broker().publish(draft("news", "first")).await.unwrap();
    let frames = || -> u64 {
        let info = |scene: &crate::support::Scene| scene.node.embedded().cluster().unwrap().info();
        cluster.nodes.iter().map(|scene| info(scene).counts.carried).sum()
    };
    let before = frames();
    for number in 0..100 {
        cluster.nodes[1].node.broker().publish(draft("news", &number.to_string())).await.unwrap();
    }
    for listener in &mut listeners {
        assert_eq!(texts(listener, 101).await.len(), 101);
    }
    let said = frames() - before;
    println!("{said} frames with messages for 100 publishes on five nodes, two of them interested");
    // To the home, to its follower, to each that listens; and the probes of five nodes meanwhile.
    assert!(said <= 100 * (1 + 1 + 2) + 60, "{said} frames for 100 publishes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_the_same_on_every_node_and_a_clear_empties_it_everywhere() {
    let cluster = Cluster::start(3).await;
    let channel = ChannelName::parse("kept").unwrap();
    for number in 0..10 {
        cluster.nodes[number % 3].node.broker().publish(draft("kept", &number.to_string())).await.unwrap();
    }
    let query = HistoryQuery { limit: 100, ..HistoryQuery::default() };
    for scene in &cluster.nodes {
        let page = scene.node.broker().history(&channel, &query).await.unwrap();
        let texts: Vec<_> = page.entries.iter().map(|entry| String::from_utf8(entry.payload.bytes().to_vec()).unwrap()).collect();
        assert_eq!(texts, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    }
    cluster.nodes[1].node.broker().clear(&channel).await.unwrap();
    for scene in &cluster.nodes {
        soon("a node never heard of the clear", async {
            while !scene.node.broker().history(&channel, &query).await.unwrap().entries.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
