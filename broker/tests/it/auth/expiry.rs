//! A stay ends with its token, on every front, and goes on with a fresh one.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tidings_proto::v1::subscribe_reply::Reply;
use tonic::transport::Endpoint;

use super::scene::{denied, get, now, start, token, verdict};
use crate::raw::{Raw, request};
use crate::support::{Framed, Http2, WebSocket, soon};

const CHANNELS: [(&str, &[&str]); 1] = [("chat:*", &["subscribe", "publish"])];

fn lasting(seconds: u64) -> String {
    granting(seconds, "ann", &CHANNELS)
}

fn granting(seconds: u64, user: &str, channels: &[(&str, &[&str])]) -> String {
    let channels: Vec<Value> = channels.iter().map(|(pattern, can)| json!({ "match": pattern, "can": can })).collect();
    token(json!({ "sub": user, "exp": now() + seconds, "channels": channels }))
}

async fn node() -> tidings::node::Node {
    start(|config| config.tokens.leeway = Duration::ZERO).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_a_word_that_says_come_back() {
    let node = node().await;
    let to = node.addresses().http;
    for (path, says) in
        [("/sse", "event: tidings:close\ndata: {\"code\":\"token_expired\""), ("/stream", "{\"close\":{\"code\":\"token_expired\"")]
    {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", &format!("{path}?channel=chat:a&token={}", lasting(4)), to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        let heard = soon("the end", raw.chunks_until(|text| text.contains(says))).await;
        assert!(heard.contains("\"retry\":true"), "{heard}");
    }
    let mut stream = Http2::get(to, &format!("/sse?channel=chat:a&token={}", lasting(4)), &[]).await;
    let heard = String::from_utf8(soon("the end over HTTP/2", stream.rest()).await).unwrap();
    assert!(heard.contains("\"code\":\"token_expired\""), "{heard}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_poll_ends_with_its_token_and_the_next_is_told() {
    let node = node().await;
    let (to, token) = (node.addresses().http, lasting(4));
    let head = get(to, &format!("/poll?channel=chat:a&token={token}"), "").await;
    let cursor = head.header("tidings-cursor").unwrap().to_owned();
    let path = format!("/poll?channel=chat:a&since={cursor}&wait=50&token={token}");
    let held = soon("the end of the poll", get(to, &path, "")).await;
    assert_eq!(held.status, 204);
    assert_eq!(verdict(&get(to, &path, "").await), denied(401, "token_expired"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_closed_unless_it_shows_a_fresh_token_in_time() {
    let node = node().await;
    let to = node.addresses().http;
    let mut left = WebSocket::open(to, &format!("/ws?channel=chat:a&token={}", lasting(4)), "").await;
    let mut stays = WebSocket::open(to, &format!("/ws?channel=chat:a&token={}", lasting(4)), "").await;
    for socket in [&mut left, &mut stays] {
        assert!(socket.object().await.unwrap().get("subscribed").is_some());
    }
    let answer = stays.ask(&json!({ "id": 1, "auth": { "token": lasting(60) } })).await;
    assert!(answer.get("authenticated").is_some(), "{answer}");
    let close = soon("the close", left.object()).await.unwrap();
    assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!("token_expired"), &json!(true)));
    assert_eq!(left.frame().await, Framed::Close(Some((4401, "token_expired".into()))));
    assert_eq!(stays.ask(&json!({ "id": 2, "ping": {} })).await, json!({ "id": 2, "pong": {} }), "the other one goes on");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_token_takes_away_what_it_does_not_grant_and_is_of_the_same_user() {
    let node = node().await;
    let to = node.addresses().http;
    let mut socket = WebSocket::open(to, &format!("/ws?channel=chat:a&channel=chat:b&token={}", lasting(60)), "").await;
    for _ in 0..2 {
        assert!(socket.object().await.unwrap().get("subscribed").is_some());
    }
    let other = socket.ask(&json!({ "id": 1, "auth": { "token": granting(60, "bob", &CHANNELS) } })).await;
    assert_eq!(other["error"]["code"], "permission_denied");
    let less = granting(60, "ann", &[("chat:a", &["subscribe"])]);
    assert!(socket.ask(&json!({ "id": 2, "auth": { "token": less } })).await.get("authenticated").is_some());
    let gone = soon("the channel that is gone", socket.object()).await.unwrap();
    assert_eq!((&gone["unsubscribed"]["channel"], &gone["unsubscribed"]["error"]["code"]), (&json!("chat:b"), &json!("permission_denied")));
    let all = "Authorization: Bearer all-key\r\n";
    for channel in ["chat:b", "chat:a"] {
        super::scene::post(to, &format!("/v1/channels/{channel}/messages"), all, channel).await;
    }
    let heard = soon("a message", socket.object()).await.unwrap();
    assert_eq!(heard["message"]["channel"], "chat:a");
    let published = socket.ask(&json!({ "id": 3, "publish": { "channel": "chat:a", "text": "x" } })).await;
    assert_eq!(published["error"]["code"], "permission_denied", "publishing went with it");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_subscription_ends_with_its_token() {
    let node = node().await;
    let address = format!("http://{}", node.addresses().grpc.unwrap());
    let mut client = BrokerClient::new(Endpoint::from_shared(address).unwrap().connect().await.unwrap());
    let mut request = tonic::Request::new(v1::SubscribeRequest { channels: vec!["chat:a".into()], ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", lasting(4)).parse().unwrap());
    let mut replies = client.subscribe(request).await.unwrap().into_inner();
    let closed = loop {
        match soon("a reply", replies.message()).await.unwrap().unwrap().reply {
            Some(Reply::Closed(closed)) => break closed,
            other => assert!(matches!(other, Some(Reply::Subscribed(_) | Reply::Heartbeat(_))), "{other:?}"),
        }
    };
    assert_eq!((&*closed.code, closed.retry), ("token_expired", true));
    assert!(closed.retry_after_ms <= 1000);
    node.stop().await;
}
