//! Who asks and does not read, and who listens to everything: what they cost has a bound, and others are served.

use std::time::Duration;

use serde_json::json;
use tidings::broker::Subscribe;
use tidings::config::Config;
use tidings::error::ErrorCode;
use tidings::message::ChannelName;
use tidings::session::Since as From;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::cluster::scene::Cluster;
use crate::support::{Commit, Framed, Http1, Listener, Scene, Since, Way, WebSocket, masked, soon};

/// A history of four megabytes.
async fn large(scene: &Scene, channel: &str) {
    for _ in 0..68 {
        scene.publish(channel, &"x".repeat(60_000)).await;
    }
}

/// Little for slow readers, and sockets that are soon full.
fn little(config: &mut Config) {
    config.shards = 1;
    config.http.send_buffer_bytes = 16 << 10;
    config.limits.unsent_bytes = 1 << 20;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_are_cut_when_they_hold_too_much_and_the_rest_goes_on() {
    let scene = Scene::with(Commit::AtOnce, little).await;
    large(&scene, "much").await;
    let mut live = Listener::open(Way::SseHttp1, &scene, &["live"], Since::Live).await;
    let mut stopped = Vec::new();
    for _ in 0..100 {
        let stream = Http1::get(scene.http(), "1.1", "/sse?channel=much&since=earliest", "", Some(4096)).await;
        stopped.push(stream);
    }
    soon("the oldest are cut", async { while scene.metric("tidings_sessions_closed_total", &["sse", "too_slow"]).await < 50.0 {} }).await;
    scene.publish("live", "on").await;
    assert_eq!(live.texts(1).await, ["on"]);
    // What one was in the middle of is cut off; it comes back with its cursor.
    let mut ended = 0;
    for stream in &mut stopped {
        ended += usize::from(timeout(Duration::from_millis(200), stream.rest()).await.is_ok());
    }
    assert!(ended >= 50, "{ended} ended");
    // Who reads gets all of it.
    let mut reader = Listener::open(Way::SseHttp1, &scene, &["much"], Since::Earliest).await;
    assert_eq!(reader.texts(60).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_push_out_their_own_oldest() {
    let scene = Scene::with(Commit::AtOnce, little).await;
    large(&scene, "much").await;
    let mut unread = Vec::new();
    for _ in 0..50 {
        unread.push(Http1::get(scene.http(), "1.1", "/poll?channel=much&since=earliest", "", Some(4096)).await);
    }
    soon("the oldest go", async { while scene.metric("tidings_connections_refused_total", &["unread"]).await < 40.0 {} }).await;
    let mut fresh = Http1::get(scene.http(), "1.1", "/poll?channel=much&since=earliest", "Connection: close\r\n", None).await;
    assert!(soon("an answer", fresh.rest()).await.len() > 200_000);
    assert!(unread.len() == 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_of_http2_has_a_bound_of_what_it_may_leave_unread() {
    let scene = Scene::open(Commit::AtOnce).await;
    large(&scene, "much").await;
    let socket = tokio::net::TcpStream::connect(scene.http()).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let mut builder = hyper::client::conn::http2::Builder::new(executor);
    builder.initial_stream_window_size(0);
    let (sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..90 {
        let request = http::Request::get(format!("http://{}/poll?channel=much&since=earliest", scene.http()));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        answers.push(soon("a head", sender.clone().send_request(request)).await.unwrap());
    }
    let refused = answers.iter().filter(|answer| answer.status() == 503).count();
    assert!((70..80).contains(&refused), "{refused} of 90: sixteen of 256 KiB make four megabytes");
    assert_eq!(scene.metric("tidings_connections_refused_total", &["unread"]).await, refused as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_and_goes_leaves_no_channel_behind() {
    let scene = Scene::with(Commit::AtOnce, |config| config.websocket.subscribe_rate = 0).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    for round in 0..20 {
        let mut said = Vec::new();
        for n in 0..100 {
            let channel = format!("made-up-{round}-{n}");
            said.extend(masked(0x81, json!({ "subscribe": { "channel": channel } }).to_string().as_bytes()));
            said.extend(masked(0x81, json!({ "unsubscribe": { "channel": channel } }).to_string().as_bytes()));
        }
        socket.send(&said).await;
        for _ in 0..200 {
            assert!(matches!(soon("an answer", socket.frame()).await, Framed::Text { .. }));
        }
    }
    let left = scene.metric("tidings_bound_used", &["\"channels_silent\""]).await;
    assert_eq!(left, 0.0, "of 2,000 that were listened to for a moment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_looks_leaves_no_channel_behind() {
    let scene = Scene::open(Commit::AtOnce).await;
    for round in 0..10 {
        let channels: String = (0..60).map(|n| format!("&channel=%7Bs%7Dmade-up-{round}-{n}")).collect();
        for (method, path) in [("GET", "/poll?wait=0"), ("GET", "/poll?wait=0&since=earliest"), ("HEAD", "/sse?"), ("HEAD", "/stream?")] {
            let mut socket = tokio::net::TcpStream::connect(scene.http()).await.unwrap();
            let asked = format!("{method} {path}{channels} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            socket.write_all(asked.as_bytes()).await.unwrap();
            let mut answer = Http1::reading(socket);
            assert!([200, 204].contains(&soon("an answer", answer.status()).await), "{method} {path}");
        }
    }
    let left = scene.metric("tidings_bound_used", &["\"channels_silent\""]).await;
    assert_eq!(left, 0.0, "of 600 that were looked at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_listens_cannot_use_up_the_channels_of_those_who_publish() {
    let scene = Scene::with(Commit::AtOnce, |config| (config.limits.channels, config.limits.channels_silent) = (20, 10)).await;
    let mut greedy = WebSocket::open(scene.http(), "/ws", "").await;
    let mut codes = Vec::new();
    for n in 0..12 {
        let answer = greedy.ask(&json!({ "id": n, "subscribe": { "channel": format!("{{s}}made-up-{n}") } })).await;
        codes.push(answer["error"]["code"].as_str().map(str::to_owned));
    }
    assert!(codes[0].is_none() && codes[11].as_deref() == Some("overloaded"), "{codes:?}");
    // Publishers do not notice, and what they publish to is listened to as ever.
    for n in 0..5 {
        scene.publish(&format!("real-{n}"), "x").await;
    }
    let mut listener = Listener::open(Way::SseHttp1, &scene, &["real-0"], Since::Earliest).await;
    assert_eq!(listener.texts(1).await, ["x"]);
    // A channel that somebody speaks on counts no more among the silent: there is room for another listener.
    scene.publish("{s}made-up-0", "x").await;
    let mut other = WebSocket::open(scene.http(), "/ws", "").await;
    assert!(other.ask(&json!({ "id": 1, "subscribe": { "channel": "{s}one-more" } })).await.get("subscribed").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_to_too_many_channels_is_refused_before_any_of_them_is_opened_or_asked_for_elsewhere() {
    let cluster = Cluster::start(2).await;
    let used = async |scene: &Scene| scene.metric("tidings_bound_used", &["\"channels_silent\""]).await;
    for scene in &cluster.nodes {
        let before = used(scene).await;
        let broker = scene.node.embedded().broker();
        let asked = |count: usize| (0..count).map(|n| ChannelName::parse(&format!("many-{n}")).unwrap()).collect();
        let refused = broker.subscribe(Subscribe::to(asked(5_000), From::Live)).await.unwrap_err();
        assert!(refused.code == ErrorCode::InvalidRequest && refused.message.contains("limits.subscribe_channels"), "{refused}");
        // Few enough, but each in a slot of its own: as many as no cursor holds.
        let refused = broker.subscribe(Subscribe::to(asked(40), From::Live)).await.unwrap_err();
        assert!(refused.code == ErrorCode::InvalidRequest && refused.message.contains("limits.subscribe_slots"), "{refused}");
        // The probe has channels of its own.
        assert!(used(scene).await < before + 20.0, "channels were opened for it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_asked_for_over_websockets_and_not_read_keep_nobody_from_his() {
    let scene = Scene::with(Commit::AtOnce, |config| (config.shards, config.http.send_buffer_bytes) = (1, 16 << 10)).await;
    large(&scene, "much").await;
    let mut unread = Vec::new();
    for _ in 0..5 {
        let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
        let ask = |id| masked(0x81, json!({ "id": id, "history": { "channel": "much", "limit": 1000 } }).to_string().as_bytes());
        socket.send(&(0..16).flat_map(ask).collect::<Vec<u8>>()).await;
        unread.push(socket);
    }
    // The first has begun to write a page of two megabytes, and the others behind it wait unwritten.
    soon("it stands", async { while scene.metric("tidings_bound_used", &["\"unsent_bytes\""]).await < 1e6 {} }).await;
    for _ in 0..3 {
        let mut page = Http1::get(scene.http(), "1.1", "/v1/channels/much/messages?limit=1000", "Connection: close\r\n", None).await;
        assert!(soon("a page", page.rest()).await.len() > 1_000_000);
    }
    let mut first = unread.remove(0);
    for _ in 0..16 {
        assert!(matches!(soon("what it asked for", first.frame()).await, Framed::Text { .. }));
    }
}
