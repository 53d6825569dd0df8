//! A slow client hurts nobody and costs nothing; and nobody is called slow who is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidings::hub::namespace::{Config as Rules, Lagging};

use crate::support::{Commit, Daemon, Http1, Listener, News, Scene, Since, Way, soon};

const CHANNEL: &str = "ticker";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_a_busy_channel_without_history_is_not_too_slow() {
    for way in [Way::SseHttp1, Way::SseHttp10] {
        let scene = Scene::keeping(Commit::AtOnce, "default", 0).await;
        let is_over = AtomicBool::new(false);
        let publish = async {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                scene.publish(CHANNEL, &number.to_string()).await;
                tokio::task::yield_now().await;
            }
        };
        let join = async {
            for _ in 0..300 {
                let mut listener = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
                let first = soon("a message", listener.next()).await;
                assert!(matches!(first, News::Message(_)), "{first:?}");
            }
            is_over.store(true, Ordering::Relaxed);
        };
        tokio::join!(publish, join);
    }
}

/// Messages, each large, of which the window holds only a few.
const LARGE: usize = 8 << 10;
const MANY: u64 = 3000;

fn large(number: u64) -> String {
    format!("{number} {}", "x".repeat(LARGE))
}

/// Messages in order, nothing twice, and every hole declared right before it. Returns (messages, gaps).
async fn nothing_is_lost_in_silence(listener: &mut Listener, upto: u64) -> (u64, u64) {
    let (mut last, mut messages, mut gaps, mut is_declared) = (0, 0, 0, false);
    while last < upto {
        match soon("news for the slow one", listener.next()).await {
            News::Message(message) => {
                assert!(message.offset > last, "{} after {last}", message.offset);
                assert_eq!(message.offset != last + 1, is_declared, "a hole is declared, and only a hole: {last} → {}", message.offset);
                assert!(message.text.starts_with(&format!("{} ", message.offset)) && message.text.len() > LARGE);
                (last, is_declared) = (message.offset, false);
                messages += 1;
            }
            News::Gap { reason, .. } => {
                assert_eq!(reason, "window");
                is_declared = true;
                gaps += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    (messages, gaps)
}

async fn stopped_readers(way: Way) {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(Listener::open(way, &scene, &[CHANNEL], Since::Live).await);
    }
    let mut quick = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    for number in 1..=MANY {
        scene.publish(CHANNEL, &large(number)).await;
        let message = quick.message().await;
        assert_eq!(message.offset, number, "who reads does not notice those who do not");
    }
    for listener in &mut slow {
        let (messages, gaps) = nothing_is_lost_in_silence(listener, MANY).await;
        assert!(gaps >= 1, "24 MiB are more than sockets and the window hold");
        assert!((100..MANY).contains(&messages), "the window is still there: {messages}");
    }
    let fronts = if way == Way::Grpc { "grpc" } else { "sse" };
    if way != Way::Door {
        assert!(scene.metric("tidings_gaps_declared_total", &[fronts, "window"]).await >= 4.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_over_http1_go_on_with_the_window_and_a_declared_gap() {
    stopped_readers(Way::SseHttp1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_over_http2_go_on_with_the_window_and_a_declared_gap() {
    stopped_readers(Way::SseHttp2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_over_grpc_go_on_with_the_window_and_a_declared_gap() {
    stopped_readers(Way::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_listener_in_process_goes_on_with_the_window_and_a_declared_gap() {
    stopped_readers(Way::Door).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_a_channel_without_history_is_closed_with_a_reason() {
    let scene = Scene::keeping(Commit::AtOnce, "default", 0).await;
    let mut slow = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    let mut quick = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    for number in 1..=MANY {
        scene.publish(CHANNEL, &large(number)).await;
        assert_eq!(quick.message().await.offset, number);
    }
    let mut last = 0;
    let end = loop {
        match soon("the end", slow.next()).await {
            News::Message(message) => {
                assert_eq!(message.offset, last + 1, "until the end nothing is missing");
                last = message.offset;
            }
            other => break other,
        }
    };
    assert_eq!(end, News::Closed { code: "too_slow".to_owned(), retry: true });
    assert!(last < MANY);
    let closed = async { while scene.metric("tidings_sessions_closed_total", &["sse", "too_slow"]).await < 1.0 {} };
    soon("the close is counted", closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_the_daemon_does_not_grow_with_stopped_readers() {
    let daemon = soon("the start", Daemon::start(&[])).await;
    let publisher = tidings_sdk::Client::connect(&format!("http://{}", daemon.grpc)).await.unwrap();
    let mut stopped = Vec::new();
    for _ in 0..50 {
        let mut response = Http1::get(daemon.http, "1.1", "/sse?channel=ticker", "", Some(4096)).await;
        assert_eq!(response.status().await, 200);
        stopped.push(response);
    }
    let publish = async |count: u64| {
        for number in 1..=count {
            publisher.publish(CHANNEL, tidings_sdk::Message::new(large(number))).await.unwrap();
        }
    };
    // What the window, the rings and the allocator need at all is there after this.
    publish(1000).await;
    let before = daemon.resident();
    publish(4000).await;
    let grown = daemon.resident().saturating_sub(before);
    println!("resident {before} + {grown} bytes");
    // The allocator gives back by time; one copy of all would be 32 MiB.
    assert!(grown < 12 << 20, "32 MiB flowed past 50 stopped readers and {grown} bytes stayed");
    assert!(crate::support::metric(daemon.admin, "tidings_sessions", &["sse"]).await >= 50.0, "nobody was thrown out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_room_for_a_burst_on_a_channel_without_history_gets_it_in_as_many_writes_as_it_takes() {
    // Many writes per session, and more messages than the tail keeps; all of it fits into the socket's buffers.
    const BURST: u64 = 480;
    let scene = Scene::with(Commit::AtOnce, |config| {
        let mut rules = tidings::hub::namespace::Config::default();
        rules.history.size = 0;
        config.namespaces.insert("default", rules);
        (config.shards, config.shard.page_bytes) = (1, 4 << 10);
    })
    .await;
    let mut listeners = Vec::new();
    for _ in 0..100 {
        listeners.push(Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await);
    }
    scene.publish_numbers(CHANNEL, 1..=BURST).await;
    for listener in &mut listeners {
        for number in 1..=BURST {
            match soon("a message of the burst", listener.next()).await {
                News::Message(message) => assert_eq!(message.offset, number),
                other => panic!("instead of message {number}: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_is_waited_for_as_long_as_the_configuration_says() {
    // The system counts a window that stays shut like a peer that answers nothing.
    let scene = Scene::with(Commit::AtOnce, |config| config.http.write_timeout = Duration::from_secs(1)).await;
    let mut stopped = Http1::get(scene.http(), "1.1", "/sse?channel=ticker", "", Some(4096)).await;
    assert_eq!(stopped.status().await, 200);
    for number in 1..=100 {
        scene.publish(CHANNEL, &large(number)).await;
    }
    let gone = async {
        while scene.metric("tidings_sessions_closed_total", &["sse", "client_gone"]).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("the end of the wait", gone).await;
    let patience = tidings::config::Config::default().http.write_timeout;
    assert!(patience >= Duration::from_secs(300), "a suspended page or a debugged program is no dead peer: {patience:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_that_overflows_the_inbox_reaches_everyone_to_its_end() {
    let scene = Scene::with(Commit::Late, |config| {
        config.shard.inbox = 2;
        config.limits.publish_wait = std::time::Duration::from_secs(20);
    })
    .await;
    let mut listeners = Vec::new();
    for way in [Way::SseHttp1, Way::SseHttp2, Way::SseHttp10] {
        listeners.push(Listener::open(way, &scene, &[CHANNEL], Since::Live).await);
    }
    for burst in 0..40 {
        // Appended before any of it is committed, so that nobody waits for room; nothing follows that would make up for
        // what the last of them missed.
        scene.publish_numbers(CHANNEL, burst * 30 + 1..=burst * 30 + 30).await;
        for listener in &mut listeners {
            for number in burst * 30 + 1..=burst * 30 + 30 {
                assert_eq!(listener.message().await.offset, number);
            }
        }
    }
    let overflowed = scene.metric("tidings_shard_inbox_overflowed_total", &[]).await;
    assert!(overflowed > 0.0, "this is about inboxes that overflow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_a_socket_took_in_parts_are_all_counted() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut slow = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    for number in 1..=300 {
        scene.publish(CHANNEL, &large(number)).await;
    }
    for number in 1..=300 {
        assert_eq!(slow.message().await.offset, number);
    }
    let all = async {
        while scene.metric("tidings_messages_delivered_total", &["sse"]).await < 300.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the count of messages", all).await;
    let bytes = scene.metric("tidings_messages_delivered_bytes_total", &["sse"]).await;
    assert!(bytes >= (300 * LARGE) as f64, "{bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_often_as_a_session_fell_behind_it_caught_up() {
    let scene = Scene::open(Commit::AtOnce).await;
    scene.publish_numbers(CHANNEL, 1..=50).await;
    let behind = async || {
        let fell = scene.metric("tidings_sessions_fell_behind_total", &[]).await;
        (fell, scene.metric("tidings_sessions_caught_up_total", &[]).await)
    };
    // Reading what was there before one came is not falling behind.
    let mut quick = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Earliest).await;
    assert_eq!(quick.texts(50).await.len(), 50);
    scene.publish(CHANNEL, "51").await;
    assert_eq!(quick.texts(1).await, ["51"]);
    assert_eq!(behind().await, (0.0, 0.0));
    // A full socket is.
    let mut slow = Listener::open(Way::SseHttp1, &scene, &[CHANNEL], Since::Live).await;
    drop(quick);
    for number in 52..=MANY {
        scene.publish(CHANNEL, &large(number)).await;
    }
    let mut last = 0;
    while last < MANY {
        if let News::Message(message) = soon("news for the slow one", slow.next()).await {
            last = message.offset;
        }
    }
    scene.publish(CHANNEL, "the end").await;
    while slow.message().await.text != "the end" {}
    // Told of a turn after the last byte is out.
    soon("it caught up as often as it fell behind", async {
        loop {
            let (fell, caught_up) = behind().await;
            if fell >= 1.0 && fell == caught_up {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// So many of them are more than a window of HTTP/2 takes, of which clients have 2 MiB.
const ENOUGH: u64 = 600;

/// Who stopped reading is counted as behind, with for how long, whatever carries its stream, and that it fell behind and caught up is counted and
/// stands in its story; who reads is not, and nobody is once all have read.
async fn stopped_readers_are_counted(way: Way, front: &str) {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(Listener::open(way, &scene, &[CHANNEL], Since::Live).await);
    }
    let mut quick = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
    for number in 1..=ENOUGH {
        scene.publish(CHANNEL, &large(number)).await;
        assert_eq!(quick.message().await.offset, number);
    }
    let behind =
        async || (scene.metric("tidings_sessions_behind", &[front]).await, scene.metric("tidings_sessions_behind_seconds", &[]).await);
    soon("those who stopped are counted", async {
        while !matches!(behind().await, (count, seconds) if count == 3.0 && seconds >= 1.0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // A part of them is in the system's buffers or a window of HTTP/2.
    let lacked = async || scene.metric("tidings_sessions_behind_messages", &[]).await;
    soon("it is counted how many they lack", async { while lacked().await == 0.0 {} }).await;
    assert!(lacked().await < ENOUGH as f64);
    let turns = async || {
        let fell = scene.metric("tidings_sessions_fell_behind_total", &[front]).await;
        (fell, scene.metric("tidings_sessions_caught_up_total", &[front]).await)
    };
    assert_eq!(turns().await, (3.0, 0.0), "told while they stand still, and not only when they go on");
    for listener in &mut slow {
        nothing_is_lost_in_silence(listener, ENOUGH).await;
    }
    soon("nobody is behind any more", async {
        while behind().await != (0.0, 0.0) || lacked().await > 0.0 || turns().await != (3.0, 3.0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let admin = scene.node.addresses().admin;
    let fell = crate::admin::get(admin, "/api/sessions?event=fell_behind").await;
    let fell: Vec<&str> = fell["happenings"].as_array().unwrap().iter().map(|one| one["session"].as_str().unwrap()).collect();
    assert_eq!(fell.len(), 3, "{fell:?}");
    for name in fell {
        let told = crate::admin::get(admin, &format!("/api/sessions/{name}")).await;
        let events: Vec<&str> = told["story"].as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect();
        // A WebSocket subscribes, and what is kept no longer is told as a gap.
        let events: Vec<&str> = events.into_iter().filter(|event| !["session_subscribed", "session_gap"].contains(event)).collect();
        assert_eq!(events, ["session_opened", "session_fell_behind", "session_caught_up"], "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_on_sockets_are_counted_as_behind() {
    stopped_readers_are_counted(Way::SseHttp1, "sse").await;
    stopped_readers_are_counted(Way::WebSocket, "websocket").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_over_http2_are_counted_as_behind() {
    stopped_readers_are_counted(Way::SseHttp2, "sse").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_of_lines_over_http2_are_counted_as_behind() {
    stopped_readers_are_counted(Way::StreamHttp2, "http_stream").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_over_grpc_are_counted_as_behind() {
    stopped_readers_are_counted(Way::Grpc, "grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_readers_in_a_host_are_counted_as_behind() {
    stopped_readers_are_counted(Way::SseGuestHttp2, "sse").await;
}

/// A namespace with so much history, changed.
async fn with_rules(size: u32, change: impl FnOnce(&mut Rules)) -> Scene {
    Scene::with(Commit::AtOnce, |config| {
        let mut rules = Rules::default();
        rules.history.size = size;
        change(&mut rules);
        config.namespaces.insert("default", rules);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lags_where_that_closes_is_told_why_and_hears_of_the_gap_when_it_comes_back() {
    for way in [Way::SseHttp1, Way::SseHttp2, Way::StreamHttp1, Way::WebSocket, Way::Grpc, Way::Door] {
        let scene = with_rules(20, |rules| rules.lagging = Lagging::Close).await;
        let mut slow = Listener::open(way, &scene, &[CHANNEL], Since::Live).await;
        for number in 1..=MANY {
            scene.publish(CHANNEL, &large(number)).await;
        }
        let mut last = 0;
        let end = loop {
            match soon("the end", slow.next()).await {
                News::Message(message) => {
                    assert_eq!(message.offset, last + 1, "{way:?}: until the end nothing is missing");
                    last = message.offset;
                }
                other => break other,
            }
        };
        assert_eq!(end, News::Closed { code: "lagged".to_owned(), retry: true }, "{way:?}");
        assert!(last < MANY);
        let mut back = Listener::open(way, &scene, &[CHANNEL], slow.cursor()).await;
        let told = soon("the gap", back.next()).await;
        assert!(matches!(&told, News::Gap { reason, .. } if reason == "window"), "{way:?}: {told:?}");
        assert_eq!(back.message().await.offset, MANY - 19, "{way:?}: what is kept follows, and nobody is closed for coming late");
    }
}
