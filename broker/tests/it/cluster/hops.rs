//! Clients and publishers that go from node to node, and nodes that leave or die meanwhile.

use tidings::broker::HistoryQuery;
use tidings::log::{Cursor, Epoch, Pos, Slot, SlotCursor, Tag};
use tidings::message::{ChannelName, PublishId};

use super::scene::Cluster;
use crate::support::{Listener, News, Scene, Since, Way, draft, soon};

pub(super) async fn publish(scene: &Scene, channel: &str, text: &str) {
    scene.node.broker().publish(draft(channel, text)).await.unwrap();
}

pub(super) async fn kept(scene: &Scene, channel: &str) -> Vec<String> {
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
    cluster.copied().await;
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

/// What a cursor says of the only slot it names.
fn position(cursor: &str) -> SlotCursor {
    Cursor::parse(cursor).unwrap().iter().next().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_takeover_each_message_says_where_the_epoch_before_ended() {
    let mut cluster = Cluster::start(2).await;
    publish(&cluster.nodes[0], "taken", "1").await;
    let home = {
        let tag = position(&cluster.nodes[0].node.broker().publish(draft("taken", "2")).await.unwrap().cursor()).main.epoch.tag();
        let is_home =
            |scene: &Scene| scene.node.embedded().cluster().unwrap().info().nodes.iter().any(|node| node.is_me && node.tag == tag);
        cluster.nodes.iter().position(is_home).unwrap()
    };
    cluster.copied().await;
    let dead = cluster.nodes.remove(home);
    dead.node.stop().await;
    drop(dead);
    let scene = &cluster.nodes[0];
    insist(&[scene], "taken", "3").await;
    let asked = scene.node.broker().publish(draft("taken", "4")).await.unwrap().cursor();
    for way in Way::ALL {
        let mut listener = Listener::open(way, scene, &["taken"], Since::Earliest).await;
        let mut cursors = Vec::new();
        for number in 1..=4 {
            let message = listener.message().await;
            assert_eq!(message.text, number.to_string(), "{way:?}");
            cursors.push(position(&message.cursor));
        }
        let before = cursors[1].main;
        assert!(cursors[3].main.epoch > before.epoch);
        let told = cursors[3].extras.iter().find(|end| end.epoch == before.epoch);
        assert!(told.is_some_and(|end| end.idx >= before.idx), "{way:?}: {:?}", cursors[3]);
        assert_eq!(position(&asked), cursors[3], "{way:?}: the publisher was told the same");
        while !listener.may_leave() {
            listener.message().await;
        }
        let Since::Cursor(cursor) = listener.cursor() else { panic!("a cursor") };
        assert!(position(&cursor).extras.iter().any(|end| end.epoch == before.epoch), "{way:?}: it comes back with that");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_at_a_node_that_has_not_heard_of_its_epoch_once_and_without_a_gap() {
    let cluster = Cluster::start(1).await;
    let scene = &cluster.nodes[0];
    for (nth, way) in Way::ALL.into_iter().enumerate() {
        let channel = format!("unheard-{nth}");
        for number in 1..=3 {
            publish(scene, &channel, &number.to_string()).await;
        }
        let end = scene.node.broker().publish(draft(&channel, "4")).await.unwrap().pos;
        // Another node took over behind that and gave it a message, of which this one does not know.
        let epoch = Epoch::new(end.epoch.term() + 1, Tag::new(77).unwrap());
        let slot = Slot::of(&ChannelName::parse(&channel).unwrap());
        let elsewhere = SlotCursor { slot, main: Pos { epoch, idx: end.idx + 2 }, extras: vec![end] };
        let since = Since::Cursor(Cursor::from(elsewhere.clone()).encode());

        // Whatever it is told here, it comes back with both.
        let remembers = |cursor: &str| {
            let position = position(cursor);
            position.positions().any(|known| known == elsewhere.main)
        };
        let mut listener = Listener::open(way, scene, &[&channel], since.clone()).await;
        publish(scene, &channel, "5").await;
        let News::Message(message) = soon("a message", listener.next()).await else { panic!("{way:?}: a gap that is none") };
        assert_eq!(message.text, "5", "{way:?}");
        assert!(remembers(&message.cursor), "{way:?}: {:?}", position(&message.cursor));
        let cursor = listener.cursor();
        let Since::Cursor(text) = &cursor else { panic!("a cursor") };
        assert!(remembers(text), "{way:?}");
        drop(listener);

        // And what is replayed says so, too.
        publish(scene, &channel, "6").await;
        for since in [cursor, Since::Cursor(message.cursor.clone())] {
            let mut listener = Listener::open(way, scene, &[&channel], since).await;
            let message = listener.message().await;
            assert_eq!(message.text, "6", "{way:?}");
            assert!(remembers(&message.cursor), "{way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_channel_that_conflates_who_comes_to_any_node_gets_the_newest_behind_one_gap() {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..3 {
        cluster
            .add(|config| {
                let mut rules = tidings::hub::namespace::Config { conflate: true, ..Default::default() };
                rules.history.size = 5;
                config.namespaces.insert("default", rules.open());
            })
            .await;
    }
    cluster.settle().await;
    publish(&cluster.nodes[0], "prices", "1").await;
    let mut last = 1;
    for (way, at) in Way::ALL.into_iter().zip((0..3).cycle()) {
        let (texts, cursor) = Listener::open(way, &cluster.nodes[at], &["prices"], Since::Earliest).await.leave_after(1).await;
        assert_eq!(texts, [last.to_string()], "{way:?}");
        // Within the window for some, and from before it for others.
        let count = if at == 0 { 3 } else { 20 };
        for number in last + 1..=last + count {
            publish(&cluster.nodes[number as usize % 3], "prices", &number.to_string()).await;
        }
        last += count;
        let mut listener = Listener::open(way, &cluster.nodes[(at + 1) % 3], &["prices"], cursor).await;
        let gap = soon("the gap", listener.next()).await;
        assert!(matches!(&gap, News::Gap { reason, .. } if reason == "conflated"), "{way:?}: {gap:?}");
        // The node may hear of the newest a little later than who published it: then it has another one before.
        while listener.texts(1).await != [last.to_string()] {}
        publish(&cluster.nodes[at], "prices", &(last + 1).to_string()).await;
        last += 1;
        assert_eq!(listener.texts(1).await, [last.to_string()], "{way:?}: it keeps up");
    }
}
