//! What a namespace keeps for keys: nobody with a token may do it on any front, whatever the token says.

use serde_json::{Value, json};
use tidings::auth::grant::Who;
use tidings::config::Config;
use tidings::hub::namespace;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::scene::{denied, get, ok, post, start, token, verdict};
use crate::support::WebSocket;

const KEY: &str = "Authorization: Bearer all-key\r\n";

/// `feed` is for everybody to hear and for keys to speak, `locked` for keys alone.
fn kept(config: &mut Config) {
    let mut feed = namespace::Config { presence: true, ..namespace::Config::default() };
    (feed.allow.subscribe, feed.allow.publish) = (Who::Token, Who::Keys);
    let mut locked = namespace::Config { presence: true, ..namespace::Config::default() };
    for who in [&mut locked.allow.subscribe, &mut locked.allow.publish, &mut locked.allow.history, &mut locked.allow.presence] {
        *who = Who::Keys;
    }
    config.namespaces.insert("feed", feed);
    config.namespaces.insert("locked", locked);
}

/// A token that grants everything everywhere.
fn all() -> String {
    let can = json!(["subscribe", "publish", "history", "presence"]);
    token(json!({ "channels": [{ "match": "*", "can": can }, { "match": "locked:#*", "can": can }] }))
}

async fn over_grpc(node: &tidings::node::Node, bearer: &str) -> Result<v1::PublishResult, Status> {
    let grpc = Endpoint::from_shared(format!("http://{}", node.addresses().grpc.unwrap())).unwrap().connect().await.unwrap();
    let mut request = Request::new(v1::PublishRequest { channel: "feed:a".into(), data: "x".into(), ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    BrokerClient::new(grpc).publish(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_publishing_is_for_keys_no_token_publishes_on_any_front_and_a_key_does() {
    let node = start(kept).await;
    let (to, bearer) = (node.addresses().http, format!("Authorization: Bearer {}\r\n", all()));
    let raw = post(to, "/v1/channels/feed:a/messages", &bearer, "x").await;
    assert_eq!(verdict(&raw), denied(403, "permission_denied"));
    assert!(raw.text().contains("`feed` allows publish to nobody but backends with a key, whatever a token says"), "{}", raw.text());
    let body = json!({ "channel": "feed:a", "text": "x" }).to_string();
    assert_eq!(verdict(&post(to, "/v1/publish", &bearer, &body).await), denied(403, "permission_denied"));
    let mut socket = WebSocket::open(to, "/ws", &bearer).await;
    let answer = socket.ask(&json!({ "id": 1, "publish": { "channel": "feed:a", "text": "x" } })).await;
    assert_eq!(answer["error"]["code"], "permission_denied", "{answer}");
    assert_eq!(over_grpc(&node, &all()).await.unwrap_err().code(), Code::PermissionDenied);
    // Elsewhere the same token publishes, and here it listens.
    assert_eq!(verdict(&post(to, "/v1/channels/chat:a/messages", &bearer, "x").await), ok());
    assert_eq!(verdict(&get(to, "/poll?channel=feed:a&wait=0", &bearer).await), ok());
    assert_eq!(verdict(&post(to, "/v1/channels/feed:a/messages", KEY, "x").await), ok());
    over_grpc(&node, "all-key").await.unwrap();
    // Who shows nothing might be a backend that forgot its key.
    assert_eq!(verdict(&post(to, "/v1/channels/feed:a/messages", "", "x").await), denied(401, "unauthenticated"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listening_looking_back_and_who_is_there_may_be_for_keys_too() {
    let node = start(kept).await;
    let (to, bearer) = (node.addresses().http, format!("Authorization: Bearer {}\r\n", all()));
    for channel in ["locked:a", "locked:%23ann"] {
        let paths = [
            format!("/sse?channel={channel}"),
            format!("/poll?channel={channel}&wait=0"),
            format!("/v1/channels/{channel}/messages"),
            format!("/v1/channels/{channel}/presence"),
        ];
        for path in paths {
            assert_eq!(verdict(&get(to, &path, &bearer).await), denied(403, "permission_denied"), "{path}");
            if !path.starts_with("/sse") {
                assert_eq!(verdict(&get(to, &path, KEY).await), ok(), "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_names_the_rule() {
    let node = start(kept).await;
    let to = node.addresses().http;
    let question = json!({ "token": all(), "channel": "feed:a", "action": "publish" }).to_string();
    let told: Value = serde_json::from_slice(&post(to, "/v1/explain", "", &question).await.body).unwrap();
    assert_eq!((&told["allowed"], &told["rule"]), (&json!(false), &json!("only_keys")), "{told}");
    let question = json!({ "channel": "feed:a", "action": "publish" }).to_string();
    let told: Value = serde_json::from_slice(&post(to, "/v1/explain", KEY, &question).await.body).unwrap();
    assert_eq!((&told["allowed"], &told["rule"]), (&json!(true), &json!("scope")), "{told}");
}
