//! What an operator must be able to see: who is behind and for how long, and how full every bound is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings::broker::Subscribe;
use tidings::control::{Control, Order, Whom};
use tidings::hub::namespace;
use tidings::journal::SessionId;
use tidings::message::PublishId;
use tidings::presence::{Member, MemberId};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::cluster::scene::Cluster;
use crate::support::{Commit, Http1, Listener, News, Scene, Since, Way, draft, soon};

const CHANNEL: &str = "ticker";
const OPERATING: &str = include_str!("../../../docs/OPERATING.md");

/// Asks until a metric is what it should be.
async fn shows(scene: &Scene, name: &str, labels: &[&str], is_right: impl Fn(f64) -> bool) {
    let right = async {
        while !is_right(scene.metric(name, labels).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(name, right).await;
}

/// Fills the socket of a listener that does not read.
async fn publish_much(scene: &Scene, count: u64) {
    for number in 1..=count {
        scene.publish(CHANNEL, &format!("{number} {}", "x".repeat(8 << 10))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_counts_as_behind_until_he_caught_up() {
    const COUNT: u64 = 500;
    const MORE: u64 = 20;
    let scene = Scene::open(Commit::AtOnce).await;
    let mut slow = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    shows(&scene, "tidings_sessions", &["sse"], |count| count == 1.0).await;
    assert_eq!(scene.metric("tidings_sessions_behind", &["sse"]).await, 0.0, "who listens live is not behind");
    publish_much(&scene, COUNT).await;
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 1.0).await;
    shows(&scene, "tidings_sessions_behind_seconds", &[], |seconds| seconds >= 1.0).await;
    // The system's buffers are full, so all that comes now is lacking.
    let lacked = scene.metric("tidings_sessions_behind_messages", &[]).await;
    assert!(lacked > 0.0 && lacked < COUNT as f64, "{lacked}");
    scene.publish_numbers(CHANNEL, COUNT + 1..=COUNT + MORE).await;
    shows(&scene, "tidings_sessions_behind_messages", &[], |messages| messages == lacked + MORE as f64).await;
    for number in 1..=COUNT + MORE {
        assert_eq!(slow.message().await.offset, number);
    }
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 0.0).await;
    shows(&scene, "tidings_sessions_behind_seconds", &[], |seconds| seconds == 0.0).await;
    shows(&scene, "tidings_sessions_behind_messages", &[], |messages| messages == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_behind_is_not_counted_any_more() {
    let scene = Scene::open(Commit::AtOnce).await;
    let stopped = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    publish_much(&scene, 500).await;
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 1.0).await;
    drop(stopped);
    shows(&scene, "tidings_sessions", &["sse"], |count| count == 0.0).await;
    shows(&scene, "tidings_sessions_behind", &["sse"], |count| count == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_counted_on_every_front_and_whether_all_was_still_there() {
    for (way, front) in [
        (Way::SseHttp1, "sse"),
        (Way::SseHttp2, "sse"),
        (Way::SseGuest, "sse"),
        (Way::StreamHttp1, "http_stream"),
        (Way::StreamHttp2, "http_stream"),
        (Way::PollHttp1, "long_poll"),
        (Way::WebSocket, "websocket"),
        (Way::WebSocketRequests, "websocket"),
        (Way::Grpc, "grpc"),
    ] {
        let scene = Scene::keeping(Commit::AtOnce, "default", 5).await;
        scene.publish(CHANNEL, "1").await;
        let mut first = Listener::open(way, &scene, &[CHANNEL], Since::Earliest).await;
        assert_eq!(first.message().await.text, "1");
        let cursor = first.cursor();
        drop(first);
        let resumed = async || {
            let [whole, gap] = ["recovered", "gap"].map(|outcome| [front, outcome]);
            (scene.metric("tidings_sessions_resumed_total", &whole).await, scene.metric("tidings_sessions_resumed_total", &gap).await)
        };
        assert_eq!(resumed().await, (0.0, 0.0), "{way:?}");
        scene.publish(CHANNEL, "2").await;
        let mut second = Listener::open(way, &scene, &[CHANNEL], cursor.clone()).await;
        assert_eq!(second.message().await.text, "2");
        assert_eq!(resumed().await, (1.0, 0.0), "{way:?}");
        drop(second);
        scene.publish_numbers(CHANNEL, 3..=10).await;
        let mut third = Listener::open(way, &scene, &[CHANNEL], cursor).await;
        assert!(matches!(soon("the gap", third.next()).await, News::Gap { .. }), "{way:?}");
        assert_eq!(resumed().await, (1.0, 1.0), "{way:?}");
    }
}

/// Bounds of which a node uses something only while it is part of a cluster.
const BETWEEN_NODES: [&str; 7] =
    ["cluster_link", "cluster_publishes", "cluster_nodes", "cluster_greetings", "cluster_questions", "cluster_orders", "cluster_inputs"];

/// Gives orders that every node has to look into.
async fn ask_without_end(control: Control) {
    let order = Order::Disconnect { whom: Whom::Session(SessionId::parse("nobody").unwrap()), reconnect: false };
    loop {
        futures_util::future::join_all((0..64).map(|_| control.give(order.clone(), "backend"))).await;
        tokio::task::yield_now().await;
    }
}

/// The rows of the table of bounds in docs/OPERATING.md.
fn documented() -> BTreeSet<String> {
    let section = OPERATING.split("\n### Bounds\n").nth(1).and_then(|rest| rest.split("\n### ").next()).expect("the section is there");
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect()
}

/// A bound that something takes room of while the test looks: for a moment again and again, or until its end.
async fn is_used(scene: &Scene, bound: &str) {
    shows(scene, "tidings_bound_used", &[&format!("\"{bound}\"")], |used| used > 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bound_has_a_limit_and_shows_what_is_used_of_it() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        config.shards = 1;
        config.http.send_buffer_bytes = 16 << 10;
        config.limits.channels = 50;
        config.namespaces.insert("room", namespace::Config { presence: true, ..Default::default() });
    })
    .await;
    let text = Http1::get(scene.node.addresses().admin, "1.1", "/metrics", "Connection: close\r\n", None).await.rest().await;
    let text = String::from_utf8(text).unwrap();
    let limits = text.lines().filter_map(|line| line.strip_prefix("tidings_bound_limit{bound=\"")?.split_once("\"} "));
    let limits: BTreeMap<&str, f64> = limits.map(|(bound, limit)| (bound, limit.parse().unwrap())).collect();
    assert_eq!(limits.keys().map(|bound| (*bound).to_owned()).collect::<BTreeSet<_>>(), documented());
    // Off by default, between nodes, and of the daemon's log.
    let none = [["connections_per_address", "connections_per_user", "log_lines"].as_slice(), &BETWEEN_NODES].concat();
    assert!(limits.iter().all(|(bound, limit)| (*limit >= 1.0) != none.contains(bound)), "{limits:?}");
    assert_eq!(limits["channels"], 50.0);

    // What is used for as long as somebody stays.
    let http = scene.http();
    let _listener = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    shows(&scene, "tidings_bound_used", &["\"connections\""], |used| used == 1.0).await;
    publish_much(&scene, 300).await;
    shows(&scene, "tidings_bound_used", &["\"history_bytes\""], |used| used >= 300.0 * 8192.0).await;
    let _newcomer = TcpStream::connect(http).await.unwrap();
    let _caller_to_be = TcpStream::connect(scene.node.addresses().grpc.unwrap()).await.unwrap();
    let _unheard = Listener::open(Way::SseHttp1, &scene, &["unheard"], Since::Live).await;
    let _caller = Listener::open(Way::Grpc, &scene, &[CHANNEL], Since::Live).await;
    let mut named = draft(CHANNEL, "x");
    named.id = Some(PublishId::keyed("once").unwrap());
    scene.node.broker().publish(named).await.unwrap();
    let member = Some(Member { id: MemberId::User("ann".into()), info: None });
    let here = Subscribe { member, ..Subscribe::live(["room:1"]).unwrap() };
    let _member = scene.node.broker().subscribe(here).await.unwrap();
    let mut half = TcpStream::connect(http).await.unwrap();
    let head = format!("POST /v1/publish HTTP/1.1\r\nHost: {http}\r\nContent-Length: 60000\r\n\r\n");
    half.write_all(&[head.as_bytes(), &[b' '; 50_000]].concat()).await.unwrap();
    // Neither reads what it asked for, and both have small buffers.
    let _stream = Http1::get(http, "1.1", &format!("/sse?channel={CHANNEL}&since=earliest"), "", Some(4096)).await;
    let _answer = Http1::get(http, "1.1", &format!("/poll?channel={CHANNEL}&since=earliest"), "", Some(4096)).await;
    let kept = [
        "grpc_connections",
        "connections_pending",
        "grpc_connections_pending",
        "admin_connections",
        "journal",
        "channels",
        "channels_silent",
        "dedupe_ids",
        "presence_members",
        "presence_held",
        "incoming_bytes",
        "unsent_bytes",
        "unread_bytes",
    ];
    for bound in kept {
        is_used(&scene, bound).await;
    }

    // What is used for moments: the shard has much to say, and more comes.
    let broker = scene.node.broker().clone();
    let flood = tokio::spawn(async move {
        loop {
            let receipts: Vec<_> = (0..64).map(|_| broker.append(draft(CHANNEL, "flood"))).collect();
            futures_util::future::join_all(receipts).await;
            // Else it never waits for anything, and could not be ended.
            tokio::task::yield_now().await;
        }
    });
    is_used(&scene, "shard_inbox").await;
    flood.abort();

    // The others are not used here: a ring is shown once a second as it is then, so hardly ever with something in it; commands wait only for a shard that hangs (`node/tests.rs`); for what an address
    // or a user has there must be a limit, for callers a rate, for guests another program's server, for revocations a closed node (`auth/control.rs`), for
    // the log a daemon (`log.rs`), and for those between nodes another one, as below.
    let seen: BTreeSet<String> = kept.into_iter().chain(["connections", "history_bytes", "shard_inbox"]).map(str::to_owned).collect();
    let elsewhere: BTreeSet<String> =
        ["shard_ring", "shard_commands", "guests", "revocations", "rate_callers"].into_iter().chain(none).map(str::to_owned).collect();
    assert_eq!(seen.union(&elsewhere).cloned().collect::<BTreeSet<_>>(), documented(), "a bound that no test uses");
    shows(&scene, "tidings_shard_busy_seconds_total", &[], |seconds| seconds > 0.0).await;
    shows(&scene, "tidings_delivery_stage_seconds_count", &["shard"], |count| count >= 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bound_between_nodes_shows_what_is_used_of_it() {
    let cluster = Cluster::start(2).await;
    let scene = &cluster.nodes[0];
    for bound in BETWEEN_NODES {
        assert!(scene.metric("tidings_bound_limit", &[bound]).await >= 1.0, "{bound} has a limit");
    }
    // Inputs are taken at once (`cluster/ear.rs`), so none is dropped.
    assert_eq!(scene.metric("tidings_cluster_beats_dropped_total", &[]).await, 0.0);
    shows(scene, "tidings_bound_used", &["\"cluster_nodes\""], |used| used == 1.0).await;
    // To channels of both nodes, so that many are on their way at each moment.
    let broker = scene.node.broker().clone();
    let flood = tokio::spawn(async move {
        loop {
            let publishes = (0..64).map(|number| broker.publish(draft(&format!("flood-{number}"), "x")));
            futures_util::future::join_all(publishes).await;
            tokio::task::yield_now().await;
        }
    });
    is_used(scene, "cluster_publishes").await;
    is_used(scene, "cluster_link").await;
    flood.abort();
    // Each is asked by the other.
    let backends: Vec<_> =
        cluster.nodes.iter().map(|scene| tokio::spawn(ask_without_end(scene.node.embedded().control().clone()))).collect();
    is_used(scene, "cluster_questions").await;
    is_used(scene, "cluster_orders").await;
    backends.iter().for_each(tokio::task::JoinHandle::abort);
    // It says nothing, and is let go as soon as it goes.
    let silent = TcpStream::connect(scene.node.addresses().cluster.unwrap()).await.unwrap();
    shows(scene, "tidings_bound_used", &["\"cluster_greetings\""], |used| used == 1.0).await;
    drop(silent);
    shows(scene, "tidings_bound_used", &["\"cluster_greetings\""], |used| used == 0.0).await;
}
