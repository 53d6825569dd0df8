//! Links between nodes: what goes over them however much it is, and what a link that is behind costs, and whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tidings::broker::Broker;
use tidings::cluster::core::{Member, NodeId, State, View};
use tidings::cluster::link::Purpose;
use tidings::cluster::mesh::{OutboxBounds, Queued};
use tidings::cluster::{Info, NodeInfo};
use tidings::config::Config;
use tidings::log::{Slot, Tag};
use tidings::message::ChannelName;
use tidings_sdk::Client;
use tokio::time::Instant;

use super::scene::{Cluster, KEY};
use crate::support::{Daemon, EventStream, Http1, Listener, News, Scene, Since, StreamEvent, Way, draft, metric, soon};

/// The largest payload that is taken by default, less a number.
const LARGE: usize = (64 << 10) - 16;
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
    let named: Vec<_> = info.nodes.iter().map(|node| (node.tag, node.name.to_string())).collect();
    let (view, place) = places_of(named);
    assert_eq!(view, info.view);
    place
}

/// The same among these, and how they see the cluster.
fn places_of(nodes: Vec<(Tag, String)>) -> (u64, impl Fn(&str) -> (String, String)) {
    let member = |(tag, name): &(Tag, String)| Member { id: NodeId::of(name), tag: *tag, state: State::Active };
    let view = View::new(nodes[0].0, nodes.iter().map(member).collect(), 2, Default::default(), true);
    let names: BTreeMap<_, _> = nodes.into_iter().collect();
    (view.id(), move |channel: &str| {
        let place = view.place(Slot::of(&ChannelName::parse(channel).unwrap())).unwrap();
        (names[&place.home].clone(), names[&place.follower.unwrap()].clone())
    })
}

/// A channel that this node leads and that one copies; its name begins so.
fn led(places: &impl Fn(&str) -> (String, String), begins: &str, home: &str, follower: &str) -> String {
    let names = (0..).map(|number| format!("{begins}{number}"));
    let mut theirs = names.filter(|name| places(name) == (home.to_owned(), follower.to_owned()));
    theirs.next().unwrap()
}

fn large(number: usize) -> String {
    format!("{number:06}{}", "x".repeat(LARGE))
}

/// An event source, up to this message or its end: what it was told, the beginning of each.
async fn follow(to: SocketAddr, channel: String, last: &'static str) -> Vec<String> {
    let mut response = Http1::get(to, "1.1", &format!("/sse?channel={channel}&since=earliest"), "", None).await;
    let (mut stream, mut told) = (EventStream::default(), Vec::<String>::new());
    loop {
        let Some(bytes) = soon("something to hear", response.read()).await else { return told };
        for event in stream.push(&bytes) {
            match &*event.kind {
                "message" => told.push(event.data.chars().take(6).collect()),
                kind => told.push(format!("{kind}: {}", event.data)),
            }
        }
        if told.last().is_some_and(|text| text == last) {
            return told;
        }
    }
}

/// What takes no part in a stop has no pause of more than this, and the stop is longer.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Shorter than the silence after which a node is taken for down.
const STOP: Duration = Duration::from_millis(1000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_hurts_only_what_it_carries_alone_and_hears_the_rest_afterwards() {
    let (cluster, slow) = beside_a_process().await;
    let place = places(&cluster);
    let theirs = [led(&place, "a-", "node-0", "node-1"), led(&place, "b-", "node-1", "node-0")];
    let (copied_there, led_there) = (led(&place, "c-", "node-0", SLOW), led(&place, "d-", SLOW, "node-1"));
    let brokers = [0, 1].map(|at| cluster.nodes[at].node.broker());
    let mut listeners = Vec::new();
    for channel in &theirs {
        for scene in &cluster.nodes {
            listeners.push((channel, Listener::open(Way::Door, scene, &[channel], Since::Live).await));
        }
    }
    let all = [&theirs[0], &theirs[1], &copied_there, &led_there].map(Clone::clone);
    for channel in &all {
        brokers[0].publish(draft(channel, &large(0))).await.unwrap();
    }
    for (_, listener) in &mut listeners {
        listener.message().await;
    }
    cluster.copied().await;
    let hearing: Vec<_> = all.iter().map(|channel| tokio::spawn(follow(slow.http, channel.clone(), "END"))).collect();
    soon("it has the listeners", async {
        while metric(slow.admin, "tidings_sessions", &["front=\"sse\""]).await < 4.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;

    slow.pause().await;
    let stopped = Instant::now();
    let waiting = {
        let (broker, channel) = (brokers[0].clone(), led_there.clone());
        tokio::spawn(async move { broker.publish(draft(&channel, &large(1))).await })
    };
    let (mut number, mut longest, mut most, mut was_full) = (0, Duration::ZERO, 0, false);
    while stopped.elapsed() < STOP {
        number += 1;
        for (at, channel) in theirs.iter().chain([&copied_there]).enumerate() {
            let began = Instant::now();
            brokers[(at + number) % 2].publish(draft(channel, &large(number))).await.unwrap();
            for (_, listener) in listeners.iter_mut().filter(|(of, _)| *of == channel) {
                listener.message().await;
            }
            longest = longest.max(began.elapsed());
        }
        // More of what it is to copy, so that its link has more than it takes.
        let more = (0..8).map(|_| brokers[0].publish(draft(&copied_there, &large(number))));
        futures_util::future::join_all(more).await.into_iter().for_each(|published| drop(published.unwrap()));
        for scene in &cluster.nodes {
            let queued: Vec<Queued> = seen(scene, SLOW).queued.into_iter().flatten().collect();
            was_full |= queued.iter().any(|queued| queued.is_full);
            most = queued.iter().map(Queued::all).fold(most, usize::max);
        }
    }
    slow.go_on();
    println!("{number} rounds, none took longer than {longest:?}; {most} bytes waited for the one that stood still");
    assert!(longest < PAUSE_MAX, "something that has nothing to do with it took {longest:?}");
    let bound = OutboxBounds::default().high;
    assert!(was_full, "{most} bytes are too few to try the bound");
    assert!(most <= bound + 16 * (64 << 10), "{most} bytes waited, and the bound is {bound}");
    soon("what it leads goes on", waiting).await.unwrap().unwrap();

    for channel in &all {
        brokers[1].publish(draft(channel, "END")).await.unwrap();
    }
    for (channel, hearing) in all.iter().zip(hearing) {
        let told = soon("it hears the rest", hearing).await.unwrap();
        let mut listener = Listener::open(Way::Door, &cluster.nodes[0], &[channel], Since::Earliest).await;
        let kept: Vec<String> = listener.texts(told.len()).await.iter().map(|text| text.chars().take(6).collect()).collect();
        assert!(told == kept, "{channel}: {:?}", told.iter().zip(&kept).find(|(told, kept)| told != kept));
    }
    assert_eq!(seen(&cluster.nodes[0], SLOW).queued[Purpose::Live.index()].map(|queued| queued.is_full), Some(false));
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
    // With what the node publishes to itself, if that is copied there, too.
    assert!(
        lag(SLOW).is_some_and(|(records, slots)| records >= 3 && slots >= 1),
        "also of one that is not waited for any more: {:?}",
        lag(SLOW)
    );
    let client = Client::connect(&format!("http://{}", cluster.nodes[0].grpc())).await.unwrap();
    let told = client.cluster_info().await.unwrap().nodes;
    let lag_told = |name: &str| told.iter().find(|node| node.name == name).unwrap().lag;
    assert!(lag_told("node-0").is_none() && lag_told("node-1").is_some(), "{told:?}");
    assert!(lag_told(SLOW).is_some_and(|lag| lag.records >= 3 && lag.slots >= 1), "over gRPC: {told:?}");
    soon("it grows older", async {
        while seen(&cluster.nodes[0], SLOW).lag.unwrap().oldest < Duration::from_millis(300) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(seen(&cluster.nodes[0], SLOW).lag.unwrap().oldest <= began.elapsed());
    slow.go_on();
    cluster.copied().await;
    // The slots that it was to follow are followed by others by then, and call it again by and by.
    soon("nobody lacks anything", async {
        while (lag("node-1"), lag(SLOW)) != (Some((0, 0)), Some((0, 0))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Publishes so many large messages at once, in turn to these channels. Who was told that it is published, by number, and what the others
/// were told.
async fn publish_many(broker: Broker, channels: Vec<String>, count: usize) -> (Vec<usize>, BTreeMap<&'static str, usize>) {
    let publish = |number: usize| {
        let (broker, channel) = (broker.clone(), channels[number % channels.len()].clone());
        tokio::spawn(async move { broker.publish(draft(&channel, &large(number))).await })
    };
    let publishing: Vec<_> = (0..count).map(publish).collect();
    let (mut done, mut refused) = (Vec::new(), BTreeMap::new());
    for (number, answer) in publishing.into_iter().enumerate() {
        match soon("an answer to each", answer).await.unwrap() {
            Ok(_) => done.push(number),
            Err(error) => *refused.entry(error.code.as_str()).or_default() += 1,
        }
    }
    (done, refused)
}

/// How often links to this node were full, and given up, as node-0 counts it.
async fn strain(cluster: &Cluster, name: &str) -> (f64, f64) {
    let peer = format!("peer=\"{name}\"");
    let filled = cluster.nodes[0].metric("tidings_cluster_links_filled_total", &[&peer]).await;
    (filled, cluster.nodes[0].metric("tidings_cluster_links_given_up_total", &[&peer]).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_for_a_node_that_stands_still_are_all_answered_and_no_more_waits_for_it_than_its_link_takes() {
    const COUNT: usize = 400;
    let (cluster, slow) = beside_a_process().await;
    let place = places(&cluster);
    let channel = led(&place, "d-", SLOW, "node-1");
    let broker = cluster.nodes[0].node.broker();
    broker.publish(draft(&channel, "first")).await.unwrap();
    cluster.copied().await;
    slow.pause().await;
    let publishing = tokio::spawn(publish_many(broker.clone(), vec![channel.clone()], COUNT));
    let mut most = 0;
    while !publishing.is_finished() {
        most = seen(&cluster.nodes[0], SLOW).queued.iter().flatten().map(Queued::all).fold(most, usize::max);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (done, refused) = publishing.await.unwrap();
    println!("{} published, {refused:?} refused; {most} bytes waited at most", done.len());
    assert!(refused.keys().all(|code| ["overloaded", "unconfirmed"].contains(code)), "{refused:?}");
    let bound = OutboxBounds::default().high;
    assert!(most > bound / 2 && most <= bound + 16 * (64 << 10), "{most} bytes waited, and the bound is {bound}");
    assert_eq!(strain(&cluster, SLOW).await, (1.0, 0.0), "it was full, and that was all");
    slow.go_on();
    let mut listener = Listener::open(Way::Door, &cluster.nodes[1], &[&channel], Since::Earliest).await;
    let mut missing: BTreeSet<String> = done.iter().map(|number| format!("{number:06}")).collect();
    let mut heard = BTreeSet::new();
    while !missing.is_empty() {
        // A gap may be declared: the other nodes cannot know what the one that stands still had acknowledged.
        if let News::Message(message) = listener.next().await {
            let text: String = message.text.chars().take(6).collect();
            assert!(heard.insert(text.clone()), "{text} came twice");
            missing.remove(&text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_node_that_is_gone_goes_to_the_next_one_over_the_link_that_there_is() {
    const COUNT: usize = 600;
    let (cluster, slow) = beside_a_process().await;
    let place = places(&cluster);
    let channels: Vec<String> = ["d", "e", "f", "g"].map(|begins| led(&place, begins, SLOW, "node-1")).into();
    let broker = cluster.nodes[0].node.broker();
    for channel in &channels {
        broker.publish(draft(channel, "first")).await.unwrap();
    }
    cluster.copied().await;
    let made = cluster.nodes[0].metric("tidings_cluster_links_made_total", &["peer=\"node-1\""]).await;
    drop(slow);
    let (done, refused) = publish_many(broker.clone(), channels, COUNT).await;
    println!("{} published, {refused:?} refused", done.len());
    assert_eq!(strain(&cluster, "node-1").await.1, 0.0, "the link to the next one was given up");
    assert_eq!(cluster.nodes[0].metric("tidings_cluster_links_made_total", &["peer=\"node-1\""]).await, made);
    assert!(refused.keys().all(|code| *code == "overloaded"), "{refused:?}");
    assert_eq!(done.len() + refused.values().sum::<usize>(), COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_gets_a_copy_of_a_channel_of_many_megabytes_over_its_first_connections() {
    const COUNT: usize = 400;
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..2 {
        cluster.add(keep_much).await;
    }
    cluster.settle().await;
    // It is to follow one of them then, and to lead none of what is published here.
    let tag = |number| Tag::new(number).unwrap();
    let (_, place) =
        places_of(["node-0", "node-1", "node-2"].into_iter().zip(1..).map(|(name, number)| (tag(number), name.to_owned())).collect());
    let channel = led(&place, "much-", "node-0", "node-2");
    let broker = cluster.nodes[0].node.broker();
    for _ in 0..4 {
        let (_, refused) = publish_many(broker.clone(), vec![channel.clone()], COUNT / 4).await;
        assert_eq!(refused, BTreeMap::new());
    }
    cluster.add(keep_much).await;
    cluster.settle().await;
    cluster.copied().await;
    soon("it never got the whole copy", async {
        while cluster.nodes[2].metric("tidings_history_bytes", &[]).await < (COUNT * LARGE) as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(strain(&cluster, "node-2").await, (0.0, 0.0), "states fill no link");
    for scene in &cluster.nodes {
        for peer in ["node-0", "node-1", "node-2"] {
            let made = scene.metric("tidings_cluster_links_made_total", &[&format!("peer=\"{peer}\"")]).await;
            // Two that dial each other at once make one too many of each.
            assert!(made <= 6.0, "{made} connections were made to {peer}");
        }
    }
    let mut listener = Listener::open(Way::Door, &cluster.nodes[2], &[&channel], Since::Earliest).await;
    let mut heard: Vec<String> = listener.texts(COUNT).await.iter().map(|text| text.chars().take(6).collect()).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..COUNT).map(|number| format!("{:06}", number / 4)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_to_a_channel_that_keeps_nothing_behind_a_full_link_is_told_of_a_gap() {
    let (cluster, slow) = beside_a_process().await;
    let place = places(&cluster);
    let (fleeting, copied_there) = (led(&place, "now:", "node-0", "node-1"), led(&place, "c-", "node-0", SLOW));
    let broker = cluster.nodes[0].node.broker();
    broker.publish(draft(&copied_there, "0")).await.unwrap();
    let listen = async |headers: &str| Http1::get(slow.http, "1.1", &format!("/sse?channel={fleeting}"), headers, None).await;
    let mut response = listen("").await;
    let mut stream = EventStream::default();
    let mut told = Vec::new();
    let mut number = 0;
    soon("it never heard anything", async {
        while told.is_empty() {
            number += 1;
            broker.publish(draft(&fleeting, &format!("before-{number}"))).await.unwrap();
            if let Ok(Some(bytes)) = tokio::time::timeout(Duration::from_millis(100), response.read()).await {
                told.extend(stream.push(&bytes).into_iter().filter(|event| event.kind == "message"));
            }
        }
    })
    .await;
    cluster.copied().await;
    slow.pause().await;
    while !seen(&cluster.nodes[0], SLOW).queued[Purpose::Live.index()].unwrap().is_full {
        let more = (0..16).map(|_| broker.publish(draft(&copied_there, &large(0))));
        futures_util::future::join_all(more).await.into_iter().for_each(|published| drop(published.unwrap()));
    }
    // More than the last 256, which are kept for those who listen.
    let lost = (0..600).map(|number| broker.publish(draft(&fleeting, &format!("lost-{number}"))));
    futures_util::future::join_all(lost.collect::<Vec<_>>()).await.into_iter().for_each(|published| drop(published.unwrap()));
    slow.go_on();
    broker.publish(draft(&fleeting, "END")).await.unwrap();
    let mut after: Vec<StreamEvent> = Vec::new();
    while !after.iter().any(|event| event.kind == "tidings:gap" || event.data == "END") {
        match soon("it hears of a gap, or the end", response.read()).await {
            Some(bytes) => after.extend(stream.push(&bytes)),
            // It is told when it comes back.
            None => {
                let seen = stream.last_event_id;
                (response, stream) = (listen(&format!("Last-Event-ID: {seen}\r\n")).await, EventStream::resumed(&seen));
            }
        }
    }
    assert!(after.iter().any(|event| event.kind == "tidings:gap"), "nobody told it what it missed: {after:?}");
}
