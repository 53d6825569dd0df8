//! A node that leaves, as a process: what it does in which order, by its log, and what publishers and clients have of it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tidings::admin::NotReady;
use tidings::error::ErrorCode;
use tidings::message::{ChannelName, Draft, Payload};
use tidings_sdk::{Client, Message};

use super::scene::{Cluster, KEY};
use crate::support::{Daemon, EventStream, Http1, metric, soon};

/// With this many each node is the home of some.
const CHANNELS: usize = 12;
/// The last message of each channel.
const END: &str = "end";

/// An event source that goes where it is told, until it has heard the last message. What it heard, and how often it was sent away.
async fn follow(channel: &str, first: SocketAddr, then: SocketAddr, heard: &Cell<usize>) -> (Vec<String>, usize) {
    let (mut stream, mut texts, mut farewells) = (EventStream::default(), Vec::new(), 0);
    let (mut to, mut since) = (first, "earliest".to_owned());
    loop {
        let mut response = Http1::get(to, "1.1", &format!("/sse?channel={channel}&since={since}"), "", None).await;
        while let Some(bytes) = soon("something to hear", response.read()).await {
            for event in stream.push(&bytes) {
                match &*event.kind {
                    "message" => {
                        heard.set(heard.get() + usize::from(texts.is_empty()));
                        texts.push(event.data);
                    }
                    "tidings:close" => farewells += 1,
                    other => panic!("{channel}: {other}: {}", event.data),
                }
            }
            if texts.last().is_some_and(|text| text == END) {
                return (texts, farewells);
            }
        }
        (to, since) = (then, crate::support::percent(&stream.last_event_id));
        stream = EventStream::resumed(&stream.last_event_id);
    }
}

/// Publishes under one id until somebody says that it is done: first at the node that leaves, as long as it answers.
async fn insist(clients: &[Client], leaving: &Cell<bool>, channel: &str, text: &str) {
    let message = || Message::new(text.to_owned()).id(format!("{channel}-{text}"));
    if leaving.get() {
        match clients[0].within(Duration::from_millis(500)).publish(channel, message()).await {
            Ok(_) => return,
            Err(_) => leaving.set(false),
        }
    }
    for client in clients[1..].iter().cycle().take(20) {
        if client.within(Duration::from_secs(2)).publish(channel, message()).await.is_ok() {
            return;
        }
    }
    panic!("nobody took {text} of {channel}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_handed_over_before_a_client_is_released_and_no_publish_is_lost() {
    let cluster = Cluster::start(2).await;
    let seed = cluster.nodes[0].node.addresses().cluster.unwrap();
    let (key, seeds) = (format!("cluster.keys=[{KEY}]"), format!("cluster.seeds=[\"{seed}\"]"));
    let keys = [&*key, &seeds, "cluster.node=node-2", "cluster.listen=127.0.0.1:0", "drain.grace=6s", "drain.waves=2"];
    let mut leaving = soon("the start", Daemon::start_heard(&keys)).await;
    let (admin, http) = (leaving.admin, leaving.http);
    soon("it has its share", async {
        let takes_part = |scene: &crate::support::Scene| {
            scene.node.embedded().cluster().unwrap().info().nodes.iter().filter(|node| node.home > 0).count() == 3
        };
        while !cluster.nodes.iter().all(takes_part) || metric(admin, "tidings_cluster_active", &[]).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let addresses = [leaving.grpc, cluster.nodes[0].grpc(), cluster.nodes[1].grpc()];
    let clients = futures_util::future::join_all(addresses.map(async |to| Client::connect(&format!("http://{to}")).await.unwrap())).await;
    let channels: Vec<String> = (0..CHANNELS).map(|number| format!("handed-{number}")).collect();
    let (answers, is_over, heard) = (Cell::new(true), Cell::new(false), Cell::new(0));
    for channel in &channels {
        super::hops::publish(&cluster.nodes[0], channel, "0").await;
    }
    assert!(metric(admin, "tidings_cluster_slots", &["part=\"home\""]).await > 0.0, "there is something to hand over");

    let other = cluster.nodes[0].http();
    let listening = futures_util::future::join_all(channels.iter().map(|channel| follow(channel, http, other, &heard)));
    let publishing = async {
        let mut number = 0;
        while !is_over.get() {
            number += 1;
            for channel in &channels {
                insist(&clients, &answers, channel, &number.to_string()).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for channel in &channels {
            insist(&clients, &answers, channel, END).await;
        }
        number
    };
    let ending = async {
        soon("everybody listens", async {
            while heard.get() < CHANNELS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        leaving.terminate();
        let mut happened = Vec::new();
        while let Some(line) = leaving.log_line().await {
            match line["event"].as_str() {
                // The demo's own programs have their sessions, too.
                Some("session_closed") if line["front"] == "sse" => {
                    happened.push(format!("released: {}", line["reason"].as_str().unwrap()))
                }
                Some(event @ ("slots_handed_over" | "slots_not_handed_over" | "drain_cut")) => happened.push(event.to_owned()),
                _ => {}
            }
        }
        let ended = leaving.ended().await;
        assert!(ended.success(), "{ended}");
        is_over.set(true);
        happened
    };
    let (heard, last, happened) = soon("all of it", async { tokio::join!(listening, publishing, ending) }).await;

    let in_order: Vec<String> =
        ["slots_handed_over".to_owned()].into_iter().chain(std::iter::repeat_n("released: draining".to_owned(), CHANNELS)).collect();
    assert_eq!(happened, in_order);
    let all: Vec<String> = (0..=last).map(|number| number.to_string()).chain([END.to_owned()]).collect();
    for (channel, (texts, farewells)) in channels.iter().zip(&heard) {
        assert_eq!((texts, *farewells), (&all, 1), "{channel}: at its listener");
        for scene in &cluster.nodes {
            assert_eq!(super::hops::kept(scene, channel).await, all, "{channel}: in a log");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_and_told_to_leave_takes_nothing_more_and_keeps_what_it_alone_holds_for_a_network_that_heals() {
    let mut cluster = Cluster { nodes: Vec::new() };
    cluster.add(|config| config.drain.grace = Duration::from_secs(60)).await;
    let leaving = cluster.nodes[0].node.embedded();
    let seed = cluster.nodes[0].node.addresses().cluster.unwrap();
    let (key, seeds) = (format!("cluster.keys=[{KEY}]"), format!("cluster.seeds=[\"{seed}\"]"));
    let other = soon("the start", Daemon::start(&[&key, &seeds, "cluster.node=node-1", "cluster.listen=127.0.0.1:0"])).await;
    let nodes = || leaving.cluster().unwrap().info().nodes;
    soon("both have their share", async {
        while nodes().iter().filter(|node| node.home > 0).count() < 2 || metric(other.admin, "tidings_cluster_active", &[]).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let channels: Vec<String> = (0..CHANNELS).map(|number| format!("alone-{number}")).collect();
    for channel in &channels {
        super::hops::publish(&cluster.nodes[0], channel, "with both").await;
    }

    // It is as if a cable were pulled: its sockets are there, and nothing comes.
    other.pause().await;
    soon("it is silent", async {
        while !nodes().iter().any(|node| node.is_silent) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for channel in &channels {
        super::hops::publish(&cluster.nodes[0], channel, "alone").await;
    }
    let back = async {
        while leaving.ready() != Err(NotReady::Draining) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let publish = || Draft::new(ChannelName::parse("too-late").unwrap(), Payload::text("too late"));
        soon("it takes no more", async {
            while cluster.nodes[0].node.broker().publish(publish()).await.err().map(|why| why.code) != Some(ErrorCode::Draining) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        // Several times as long as a node takes that waits for nobody.
        tokio::time::sleep(Duration::from_secs(1)).await;
        other.go_on();
    };
    soon("it never left", async { tokio::join!(leaving.drain(), back) }).await;

    let client = Client::connect(&format!("http://{}", other.grpc)).await.unwrap();
    for channel in &channels {
        assert_eq!(soon("what the other has", all_kept(&client, channel)).await, ["with both", "alone"], "{channel}");
    }
}

/// What a broker keeps of a channel. A page ends where a gap is.
async fn all_kept(client: &Client, channel: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut page = client.history(channel).await.unwrap();
    while !page.messages.is_empty() {
        texts.extend(page.messages.iter().map(|message| String::from_utf8_lossy(&message.data).into_owned()));
        page = client.history(channel).since(page.cursor).await.unwrap();
    }
    texts
}
