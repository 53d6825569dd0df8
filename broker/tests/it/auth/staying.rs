//! Who may do nothing does not stay, whatever it answers to pings.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{chat, closed, start};
use crate::support::{Framed, WebSocket, metric, soon};

async fn node(is_open_anywhere: bool) -> tidings::node::Node {
    start(|config| {
        if !is_open_anywhere {
            config.namespaces = tidings::hub::namespace::Namespaces::default();
            config.namespaces.insert("chat", tidings::hub::namespace::Config::default());
        }
        (config.shard.heartbeat_min, config.shard.heartbeat_max) = (Duration::from_secs(1), Duration::from_secs(1));
    })
    .await
}

/// It is told why, and closed, although it answers pings.
async fn is_sent_away(mut socket: WebSocket) {
    let close = soon("the close", socket.object()).await.unwrap();
    assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!("unauthenticated"), &json!(false)), "{close}");
    assert_eq!(socket.frame().await, Framed::Close(Some((1008, "unauthenticated".into()))));
}

/// Two heartbeats pass; it answers both.
async fn is_kept(socket: &mut WebSocket) {
    for _ in 0..2 {
        let ping = soon("a ping", socket.frame()).await;
        assert!(matches!(ping, Framed::Ping(_)), "{ping:?}");
    }
    let pong = socket.ask(&json!({ "id": 9, "ping": {} })).await;
    assert!(pong.get("pong").is_some(), "{pong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_shows_nothing_is_closed_where_nobody_unknown_may_do_anything() {
    let node = node(false).await;
    let to = node.addresses().http;
    let stranger = WebSocket::open(to, "/ws", "").await;
    let mut known = WebSocket::open(to, "/ws", "").await;
    let answer = known.ask(&json!({ "id": 1, "auth": { "token": chat() } })).await;
    assert!(answer.get("authenticated").is_some(), "{answer}");
    tokio::join!(is_sent_away(stranger), is_kept(&mut known));
    assert_eq!(metric(node.addresses().admin, "tidings_auth_calls_refused_total", &["\"missing\""]).await as u64, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_where_something_is_open_to_anyone() {
    let node = node(true).await;
    let mut socket = WebSocket::open(node.addresses().http, "/ws", "").await;
    is_kept(&mut socket).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_of_a_key_that_is_taken_out_is_closed_with_all_it_listens_to() {
    let node = node(true).await;
    let to = node.addresses().http;
    let mut socket = WebSocket::open(to, "/ws?channel=chat:a", "Authorization: Bearer all-key\r\n").await;
    let subscribed: Option<Value> = socket.object().await;
    assert!(subscribed.unwrap().get("subscribed").is_some());
    let mut next = closed();
    next.keys.retain(|key| key.name != "all");
    node.embedded().gate().exchange(&next.auth()).unwrap();
    is_sent_away(socket).await;
    node.stop().await;
}
