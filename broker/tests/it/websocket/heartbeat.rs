//! Pings, and cursors that do not age.

use std::time::Duration;

use serde_json::json;

use crate::support::{Commit, Framed, Scene, WebSocket, masked, sibling, soon};

async fn beating() -> Scene {
    let second = Duration::from_secs(1);
    Scene::with(Commit::AtOnce, |config| (config.shard.heartbeat_min, config.shard.heartbeat_max) = (second, second)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_pings_stays_and_who_does_not_is_closed() {
    let scene = beating().await;
    let mut alive = WebSocket::open(scene.http(), "/ws", "").await;
    let mut lively = WebSocket::open(scene.http(), "/ws", "").await;
    let mut dead = WebSocket::open(scene.http(), "/ws", "").await;
    (lively.answers_pings, dead.answers_pings) = (false, false);
    let answers = async {
        for _ in 0..4 {
            assert_eq!(soon("a ping", alive.frame()).await, Framed::Ping(Vec::new()));
        }
    };
    let says_something = async {
        for _ in 0..4 {
            assert_eq!(soon("a ping", lively.frame()).await, Framed::Ping(Vec::new()));
            // Any word is a sign of life.
            lively.send(&masked(0x8a, b"unasked")).await;
        }
    };
    tokio::join!(answers, says_something);
    let close = dead.object().await.unwrap();
    assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!("unresponsive"), &json!(true)));
    assert_eq!(soon("the close frame", dead.frame()).await, Framed::Close(Some((1008, "unresponsive".to_owned()))));
    assert_eq!(soon("the end", dead.frame()).await, Framed::End);
    while scene.metric("tidings_sessions_closed_total", &["websocket", "unresponsive"]).await < 1.0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_channel_is_told_where_its_slot_stands_and_only_when_that_moved() {
    let scene = beating().await;
    let mut socket = WebSocket::open(scene.http(), "/ws?channel=quiet", "").await;
    assert!(socket.object().await.unwrap().get("subscribed").is_some());
    assert_eq!(soon("a ping", socket.frame()).await, Framed::Ping(Vec::new()), "nothing moved, so nothing is said");
    let elsewhere = scene.publish(&sibling("quiet", "busy"), "x").await;
    let heartbeat = soon("a heartbeat", socket.object()).await.unwrap();
    assert_eq!(heartbeat, json!({ "heartbeat": { "cursor": elsewhere.cursor().to_string() } }));
    // With it the client misses nothing of its own channel.
    scene.publish("quiet", "own").await;
    let path = format!("/ws?channel=quiet&since={}", elsewhere.cursor());
    let mut again = WebSocket::open(scene.http(), &path, "").await;
    assert_eq!(again.object().await.unwrap()["subscribed"]["recovered"], true);
    assert_eq!(again.object().await.unwrap()["message"]["data"], "own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_message_must_be_whole_in_time() {
    let scene = beating().await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    socket.send(&masked(0x01, b"{\"id\":1,")).await;
    // Answered pings do not help.
    let close = soon("the close", socket.object()).await.unwrap();
    assert_eq!(close["close"]["code"], "protocol_error");
    assert_eq!(soon("the close frame", socket.frame()).await, Framed::Close(Some((1008, "protocol_error".to_owned()))));
    let mut slow = WebSocket::open(scene.http(), "/ws", "").await;
    for _ in 0..4 {
        slow.send(&masked(0x01, b"{\"id\":1,")).await;
        assert_eq!(soon("a ping", slow.frame()).await, Framed::Ping(Vec::new()));
        slow.send(&masked(0x80, b"\"ping\":{}}")).await;
        assert_eq!(soon("the answer", slow.object()).await.unwrap(), json!({ "id": 1, "pong": {} }));
    }
}
