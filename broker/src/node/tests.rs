//! A shard that dies or hangs, and what the node makes of it; time that passes at command. Only here can a shard be made to.

mod beats;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Node;
use crate::admin::NotReady;
use crate::config::Config;
use crate::hub::Hub;
use crate::log::Slot;
use crate::message::{ChannelName, Draft, Payload};
use crate::shard::Shard;

async fn start(change: impl FnOnce(&mut Config)) -> Node {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { dev: true, shards: 2, ..Config::default() };
    (config.http.listen, config.grpc.listen, config.admin.listen) = (local, None, local);
    config.admin.probe_interval = Duration::from_millis(100);
    change(&mut config);
    Node::start(config).await.unwrap()
}

/// What must come, comes.
async fn soon<T>(wait: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), wait).await.unwrap()
}

fn make(node: &Node, shard: usize, mischief: impl FnOnce(&Shard) + Send + 'static) {
    node.embedded.shards[shard].inflict(mischief);
}

async fn asked(to: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// A stream on the shard that has the fewest connections, once it has begun.
async fn stream(node: &Node) -> TcpStream {
    let mut socket = TcpStream::connect(node.addresses().http).await.unwrap();
    socket.write_all(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|part| part == b"id: ") {
        assert!(soon(socket.read_buf(&mut seen)).await.unwrap() > 0);
    }
    socket
}

fn draft() -> Draft {
    draft_of("a")
}

fn draft_of(channel: &str) -> Draft {
    Draft::new(ChannelName::parse(channel).unwrap(), Payload::text("x"))
}

async fn a_death_is_noticed(mischief: impl FnOnce(&Shard) + Send + 'static) {
    let node = start(|config| config.shard.inbox = 16).await;
    // One on each.
    let mut streams = [stream(&node).await, stream(&node).await];
    let [dying, living] = &node.embedded.shards[..] else { panic!("two shards") };
    make(&node, dying.number, mischief);
    soon(node.failed()).await;
    assert!(!dying.load.is_alive() && living.load.is_alive());

    let admin = node.addresses().admin;
    assert!(asked(admin, "/livez").await.starts_with("HTTP/1.1 503 "));
    let ready = asked(admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("shard_died"), "{ready}");
    assert!(asked(admin, "/metrics").await.contains("\ntidings_shards_died_total 1\n"));
    assert_eq!(node.embedded.ready(), Err(NotReady::ShardDied));

    // Its connections end; nobody else notices: not those who publish, not those on the other shard, not those who come.
    let mut ended = 0;
    for socket in &mut streams {
        // What came with the first bytes may still be unread.
        let mut bytes = Vec::new();
        ended += usize::from(timeout(Duration::from_millis(500), socket.read_to_end(&mut bytes)).await.is_ok());
    }
    assert_eq!(ended, 1);
    for _ in 0..100 {
        soon(node.broker().publish(draft())).await.unwrap();
    }
    for _ in 0..4 {
        assert!(asked(node.addresses().http, "/poll?channel=a&since=earliest").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(dying.load.connections(), 0);
    soon(node.drain()).await;
}

#[tokio::test]
async fn a_shard_whose_thread_panics_is_noticed() {
    a_death_is_noticed(|_| panic!("planted: what a shard is told")).await;
}

#[tokio::test]
async fn a_shard_that_panics_in_a_task_with_its_state_in_hand_is_noticed() {
    a_death_is_noticed(|shard| {
        let shard = shard.clone();
        // As a session's own task, or the walk.
        tokio::task::spawn_local(async move { shard.tear("planted: a walk") });
    })
    .await;
}

#[tokio::test]
async fn a_panic_of_a_task_that_holds_nothing_of_the_shard_ends_only_itself() {
    let node = start(|_| {}).await;
    let _stream = stream(&node).await;
    for shard in 0..2 {
        make(&node, shard, |_| drop(tokio::task::spawn_local(async { panic!("planted: one connection") })));
    }
    assert!(timeout(Duration::from_millis(300), node.failed()).await.is_err());
    assert!(asked(node.addresses().admin, "/livez").await.starts_with("HTTP/1.1 200 "));
    node.stop().await;
}

/// Publishes when it is woken for the first time.
struct Publisher {
    hub: Arc<Hub>,
    has_published: AtomicBool,
}

impl Wake for Publisher {
    fn wake(self: Arc<Self>) {
        if !self.has_published.swap(true, Ordering::Relaxed) {
            self.hub.append(draft()).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_published_while_a_shard_goes_round_is_delivered_in_that_round() {
    let node = start(|config| config.shards = 1).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    make(&node, 0, move |shard| {
        let hub = shard.hub().clone();
        let publisher = Waker::from(Arc::new(Publisher { hub: hub.clone(), has_published: AtomicBool::new(false) }));
        let mut listeners: Vec<_> = (0..3).map(|_| shard.watch_poll(&[draft().channel]).unwrap()).collect();
        for listener in &mut listeners {
            assert!(listener.poll_woken(&mut Context::from_waker(&publisher)).is_pending());
        }
        let newest = || hub.commit(Slot::of(&draft().channel)).idx;
        let before = newest();
        hub.append(draft()).unwrap();
        shard.turn();
        tell.send((newest() - before, hub.inbox(0).depth())).unwrap();
    });
    assert_eq!(soon(told).await.unwrap(), (2, 0), "both are committed, and none waits for another round");
    node.stop().await;
}

#[tokio::test]
async fn the_self_probe_passes_through_every_shard() {
    let node = start(|_| {}).await;
    let probed = |result: &'static str| {
        let admin = node.addresses().admin;
        async move {
            let metrics = asked(admin, "/metrics").await;
            let line = metrics.lines().find(|line| line.starts_with(&format!("tidings_probes_made_total{{result=\"{result}\"}}"))).unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        }
    };
    soon(async { while probed("passed").await == 0 {} }).await;
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    make(&node, 1, move |_| {
        let _ = wait.recv();
    });
    // Whatever was on its way may still pass, then nothing does: the probe waits for the shard that hangs.
    let mut before = probed("passed").await;
    soon(async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = probed("passed").await;
            if std::mem::replace(&mut before, now) == now {
                return;
            }
        }
    })
    .await;
    drop(go_on);
    soon(async { while probed("passed").await == before {} }).await;
    let subscriptions = asked(node.addresses().admin, "/metrics").await;
    assert!(subscriptions.contains("\ntidings_subscriptions_joined_total 0\n"), "probes are no sessions");
    node.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_shard_that_hangs_is_seen() {
    let node = start(|_| {}).await;
    let waiting = || node.embedded.watched.gauges().shard_commands;
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    make(&node, 1, move |_| {
        let _ = begin.send(());
        let _ = wait.recv();
    });
    soon(begun).await.unwrap();
    for _ in 0..3 {
        make(&node, 1, |_| {});
    }
    assert!(waiting() >= 3, "the probe may wait there, too");
    let page = asked(node.addresses().admin, "/metrics").await;
    assert!(!page.contains("\ntidings_bound_used{bound=\"shard_commands\"} 0\n"), "{page}");
    assert!(page.contains("\ntidings_bound_limit{bound=\"shard_commands\"} 4096\n"), "{page}");
    drop(go_on);
    soon(async {
        while waiting() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn a_shard_that_hangs_does_not_hold_up_the_end() {
    let node = start(|config| (config.drain.grace, config.drain.waves) = (Duration::from_secs(2), 4)).await;
    let mut streams = [stream(&node).await, stream(&node).await];
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    make(&node, 0, move |_| {
        let _ = wait.recv();
    });
    let began = tokio::time::Instant::now();
    soon(node.drain()).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?} for a grace of 2 s");
    drop(go_on);
    // Who is on the other one was let go as ever.
    let mut farewells = 0;
    for socket in &mut streams {
        let mut last = Vec::new();
        let _ = soon(socket.read_to_end(&mut last)).await;
        farewells += usize::from(String::from_utf8_lossy(&last).contains("tidings:close"));
    }
    assert!(farewells >= 1);
}

/// Reads until this was said.
async fn until(socket: &mut TcpStream, words: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(words) {
        assert!(soon(socket.read_buf(&mut seen)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test]
async fn who_asks_for_it_is_told_on_every_stream_that_the_cluster_is_degraded_and_that_it_is_whole_again() {
    let node = start(|_| {}).await;
    let mut streams = Vec::new();
    for (path, more, whole, degraded) in [
        ("/sse", "", "event: tidings:cluster\ndata: {\"condition\":\"whole\"}", "data: {\"condition\":\"degraded\"}"),
        ("/stream", "", "{\"cluster\":{\"condition\":\"whole\"}}", "{\"cluster\":{\"condition\":\"degraded\"}}"),
        // With a body the socket cannot be taken over: the stream is one that HTTP writes, as over HTTP/2.
        ("/stream", "Content-Length: 1\r\n", "{\"cluster\":{\"condition\":\"whole\"}}", "{\"cluster\":{\"condition\":\"degraded\"}}"),
    ] {
        let mut socket = TcpStream::connect(node.addresses().http).await.unwrap();
        let body = if more.is_empty() { "" } else { "x" };
        let request = format!("GET {path}?channel=a&cluster=1 HTTP/1.1\r\nHost: localhost\r\n{more}\r\n{body}");
        socket.write_all(request.as_bytes()).await.unwrap();
        until(&mut socket, whole).await;
        streams.push((socket, whole, degraded));
    }
    let mut socket = shake_hands(&node, "/ws?channel=a&cluster=1").await;
    until(&mut socket, "{\"cluster\":{\"condition\":\"whole\"}}").await;
    streams.push((socket, "{\"cluster\":{\"condition\":\"whole\"}}", "{\"cluster\":{\"condition\":\"degraded\"}}"));
    let mut unasked = stream(&node).await;
    node.embedded.hub.set_degraded(true);
    for (socket, _, degraded) in &mut streams {
        until(socket, degraded).await;
    }
    let polled = asked(node.addresses().http, "/poll?channel=a&cluster=true").await;
    assert!(polled.contains(",\"cluster\":{\"condition\":\"degraded\"}"), "{polled}");
    assert!(!asked(node.addresses().http, "/poll?channel=a").await.contains("cluster"));
    node.embedded.hub.set_degraded(false);
    for (socket, whole, _) in &mut streams {
        until(socket, whole).await;
    }
    node.broker().publish(draft()).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("data: x") {
        soon(unasked.read_buf(&mut heard)).await.unwrap();
    }
    assert!(!String::from_utf8_lossy(&heard).contains("cluster"), "who did not ask is told nothing");
    node.stop().await;
}

/// A WebSocket, right behind its handshake.
async fn shake_hands(node: &Node, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(node.addresses().http).await.unwrap();
    let shake = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(shake.as_bytes()).await.unwrap();
    // Byte by byte: the first words come right behind it.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(socket.read_u8()).await.unwrap());
    }
    socket
}

/// A client's text frame; a mask of zeros changes nothing.
fn text_frame(text: &str) -> Vec<u8> {
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[tokio::test]
async fn what_a_client_asked_is_done_though_it_left_while_there_was_no_room() {
    let node = start(|config| (config.shard.inbox, config.limits.publish_wait) = (8, Duration::from_secs(20))).await;
    // One listens on each shard, so that the one that hangs holds publishers up.
    let _streams = [stream(&node).await, stream(&node).await];
    let mut socket = shake_hands(&node, "/ws").await;
    // Whichever carries two: the WebSocket is there.
    let hanging = usize::from(node.embedded.shards[0].load.connections() == 2);
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    make(&node, hanging, move |_| {
        let _ = wait.recv();
    });
    let publishes: Vec<u8> = (1..=10).flat_map(|_| text_frame(r#"{"publish":{"channel":"a","text":"x"}}"#)).collect();
    socket.write_all(&publishes).await.unwrap();
    let kept = || node.embedded.hub.totals().history_messages;
    // Some found room. The others wait, and meanwhile the client goes.
    soon(async {
        while kept() < 4 {
            tokio::task::yield_now().await
        }
    })
    .await;
    drop(socket);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(kept() < 10, "there was room for all");
    drop(go_on);
    soon(async {
        while kept() < 10 {
            tokio::task::yield_now().await
        }
    })
    .await;
    soon(async {
        while node.embedded.shards.iter().map(|shard| shard.load.connections()).sum::<usize>() > 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    node.stop().await;
}
