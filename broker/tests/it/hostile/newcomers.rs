//! Connections that come and ask nothing, in numbers.

use super::scene::{DOORS, Door, Scene, impatient, shout};
use crate::raw::{Raw, ask, config, request};

#[tokio::test]
async fn silent_connections_give_way_to_those_that_ask() {
    let mut config = config();
    config.limits.connections_pending = 10;
    // One shard, so that they are met in the order in which they came.
    config.shards = 1;
    let scene = Scene::with(config).await;
    let to = scene.http();
    let mut silent = Vec::new();
    for n in 0..50 {
        let mut raw = Raw::connect(to).await;
        raw.send(["", "P", "GET / HTTP/1.1\r\nX: "][n % 3]).await;
        silent.push(raw);
    }
    scene.until("tidings_connections_refused_total{reason=\"limit\"}", |refused| refused >= 40).await;
    scene.answers().await;
    for raw in silent.iter_mut().take(40) {
        assert_eq!(raw.answer().await.status, 503);
        assert!(raw.is_closed().await);
    }
    // Who has asked is no newcomer any more, however long it stays.
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/sse?channel=stay", to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        streams.push(raw);
    }
    scene.until("tidings_sessions{front=\"sse\"}", |sessions| sessions == 20).await;
    drop((silent, streams));
    scene.is_unharmed("silent connections").await;
}

#[tokio::test]
async fn no_port_can_be_kept_shut_by_silence() {
    let scene = Scene::start().await;
    let mut silent = Vec::new();
    for door in DOORS {
        for n in 0..150 {
            let mut socket = scene.connect(door).await;
            shout(&mut socket, [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"][n % 3]).await;
            silent.push(socket);
        }
        scene.answers().await;
    }
    drop(silent);
    scene.is_unharmed("silence").await;
}

#[tokio::test]
async fn past_the_limit_programs_are_told_and_event_sources_come_back() {
    let mut config = impatient();
    config.limits.connections = 5;
    config.http.idle_timeout = std::time::Duration::from_secs(60);
    let scene = Scene::with(config).await;
    let to = scene.http();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/sse?channel=full", to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        streams.push(raw);
    }
    for _ in 0..20 {
        let refused = ask(to, request("GET", "/poll?channel=full", to, "")).await;
        assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (503, "overloaded", Some("2")));
    }
    let mut source = Raw::connect(to).await;
    source.send(request("GET", "/sse?channel=full", to, "Accept: text/event-stream\r\n")).await;
    assert!(source.is_closed().await, "an answer would end an EventSource for good");
    assert_eq!(scene.metric("tidings_connections_refused_total{reason=\"limit\"}").await, 21);
    streams.pop();
    scene.until("tidings_connections", |connections| connections == 4).await;
    drop(streams);
    scene.is_unharmed("too many").await;
}

#[tokio::test]
async fn connections_opened_and_dropped_in_numbers() {
    let scene = Scene::start().await;
    for door in [Door::Http, Door::Grpc, Door::Admin] {
        for _ in 0..20 {
            let sockets = futures_util::future::join_all((0..50).map(|_| scene.connect(door))).await;
            drop(sockets);
        }
    }
    let to = scene.http();
    for _ in 0..200 {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/sse?channel=churn", to, "")).await;
    }
    scene.is_unharmed("churn").await;
}
