//! A user has so many connections on a node, by whatever fronts, and others have their own.

use serde_json::{Value, json};
use tidings::node::Node;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tonic::transport::Endpoint;

use super::scene::{chat, get, start, token};
use crate::raw::{Raw, request};
use crate::support::{Framed, Http2, WebSocket, metric, soon};

const MOST: u32 = 2;

async fn node() -> Node {
    start(|config| config.limits.connections_per_user = MOST).await
}

fn bobs() -> String {
    token(json!({ "sub": "bob", "channels": [{ "match": "chat:*", "can": ["subscribe"] }] }))
}

/// A connection that stays as long as it is kept.
type Held = Box<dyn std::any::Any>;

async fn subscribe(node: &Node, token: &str) -> Result<tonic::codec::Streaming<v1::SubscribeReply>, tonic::Status> {
    let channel = Endpoint::from_shared(format!("http://{}", node.addresses().grpc.unwrap())).unwrap().connect().await.unwrap();
    let mut request = tonic::Request::new(v1::SubscribeRequest { channels: vec!["chat:a".into()], ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    BrokerClient::new(channel).subscribe(request).await.map(tonic::Response::into_inner)
}

/// Opens one by each front: what stays open, or the code by which it was refused.
async fn open(node: &Node, front: &str, token: &str) -> Result<Held, String> {
    let to = node.addresses().http;
    let code = |text: &str| text.split("\"code\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    match front {
        "websocket" => {
            let mut socket = WebSocket::open(to, &format!("/ws?channel=chat:a&token={token}"), "").await;
            let said = soon("a word", socket.object()).await.unwrap();
            if said.get("subscribed").is_some() {
                return Ok(Box::new(socket));
            }
            assert_eq!((&said["close"]["retry"], socket.frame().await), (&json!(true), Framed::Close(Some((1013, "overloaded".into())))));
            Err(said["close"]["code"].as_str().unwrap().to_owned())
        }
        "http2" => {
            let mut stream = Http2::get(to, &format!("/sse?channel=chat:a&token={token}"), &[]).await;
            if stream.status == 200 { Ok(Box::new(stream)) } else { Err(code(&String::from_utf8(stream.rest().await).unwrap())) }
        }
        "grpc" => match subscribe(node, token).await {
            Ok(replies) => Ok(Box::new(replies)),
            Err(status) => Err(status.metadata().get("tidings-code").unwrap().to_str().unwrap().to_owned()),
        },
        "poll" => {
            // Held, because nothing comes.
            let head = get(to, &format!("/poll?channel=chat:a&token={token}"), "").await;
            if head.status != 200 {
                return Err(head.code());
            }
            let cursor = head.header("tidings-cursor").unwrap().to_owned();
            let mut raw = Raw::connect(to).await;
            raw.send(request("GET", &format!("/poll?channel=chat:a&since={cursor}&wait=60&token={token}"), to, "")).await;
            let held = || async { metric(node.addresses().admin, "tidings_sessions", &["long_poll"]).await };
            soon("a held poll", async { while held().await < 1.0 {} }).await;
            Ok(Box::new(raw))
        }
        path => {
            let mut raw = Raw::connect(to).await;
            raw.send(request("GET", &format!("/{path}?channel=chat:a&token={token}"), to, "")).await;
            let head = raw.head().await;
            if head.status == 200 {
                return Ok(Box::new(raw));
            }
            assert_eq!(head.status, 503);
            let body = raw.take(head.header("content-length").unwrap().parse().unwrap()).await;
            Err(code(std::str::from_utf8(&body).unwrap()))
        }
    }
}

const FRONTS: [&str; 6] = ["sse", "stream", "poll", "websocket", "http2", "grpc"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_whatever_fronts_a_user_has_so_many_connections_and_who_leaves_makes_room() {
    let node = node().await;
    let (ann, bob) = (chat(), bobs());
    for (at, front) in FRONTS.into_iter().enumerate() {
        let other = FRONTS[(at + 1) % FRONTS.len()];
        let first = open(&node, front, &ann).await.unwrap_or_else(|code| panic!("{front}: {code}"));
        let second = open(&node, other, &ann).await.unwrap_or_else(|code| panic!("{other}: {code}"));
        for front in FRONTS {
            assert_eq!(open(&node, front, &ann).await.err().as_deref(), Some("overloaded"), "{front}");
        }
        let anothers = open(&node, front, &bob).await;
        assert!(anothers.is_ok(), "{front}: another user has connections of its own");
        drop(first);
        let third = soon("room again", async {
            loop {
                if let Ok(held) = open(&node, "websocket", &ann).await {
                    return held;
                }
            }
        })
        .await;
        drop((second, third, anothers));
        // As long as one of them counts, the next round has no room.
        soon("all gone", async { while metric(node.addresses().admin, "tidings_sessions", &[]).await > 0.0 {} }).await;
    }
    assert!(metric(node.addresses().admin, "tidings_connections_refused_total", &["user"]).await >= 36.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_a_token_later_is_counted_then_and_stays_who_it_was_when_it_may_not() {
    let node = node().await;
    let to = node.addresses().http;
    let auth = |token: &str| json!({ "id": 1, "auth": { "token": token } });
    let mut sockets = Vec::new();
    for _ in 0..MOST {
        let mut socket = WebSocket::open(to, "/ws?channel=open:a", "").await;
        assert!(soon("subscribed", socket.object()).await.unwrap().get("subscribed").is_some());
        let answer = socket.ask(&auth(&chat())).await;
        assert!(answer.get("authenticated").is_some(), "{answer}");
        // Again, in time: it has its place already.
        let answer: Value = socket.ask(&auth(&chat())).await;
        assert!(answer.get("authenticated").is_some(), "{answer}");
        sockets.push(socket);
    }
    let mut late = WebSocket::open(to, "/ws?channel=open:a", "").await;
    assert!(soon("subscribed", late.object()).await.unwrap().get("subscribed").is_some());
    let answer = late.ask(&auth(&chat())).await;
    assert_eq!(answer["error"]["code"], "overloaded", "{answer}");
    let answer = late.ask(&json!({ "id": 2, "publish": { "channel": "chat:a", "text": "x" } })).await;
    assert_eq!(answer["error"]["code"], "unauthenticated", "it is still nobody: {answer}");
    drop(sockets);
    soon("room again", async { while late.ask(&auth(&chat())).await.get("authenticated").is_none() {} }).await;
    node.stop().await;
}
