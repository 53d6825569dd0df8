//! Orders about clients that are given on one node and obeyed on all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tidings::config::Config;

use super::scene::{Cluster, KEY};
use crate::raw::{Answer, Raw, ask, request};
use crate::support::{Daemon, Scene, WebSocket, soon};

const SECRET: &str = "the secret of these tests, long enough for HS256";

fn token_key() -> TokenKey {
    let secret = Some(Secret::new(SECRET));
    TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None }
}

/// Closed but for tokens and one key.
pub(super) fn close(config: &mut Config) {
    config.dev = false;
    config.tokens.keys.push(token_key());
    config.keys.push(Key::new("all", KeyHash::of(b"all-key")));
}

async fn closed(count: usize) -> Cluster {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..count {
        cluster.add(close).await;
    }
    cluster.settle().await;
    cluster
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of this user, issued a while ago.
fn token(user: &str) -> String {
    let claims = json!({ "sub": user, "jti": format!("{user}-1"), "iat": now() - 9, "exp": now() + 600,
        "channels": [{ "match": "*", "can": ["subscribe"] }] });
    sign(&SigningKey::of_secret(&token_key()).unwrap(), &claims).unwrap()
}

pub(super) async fn order(to: std::net::SocketAddr, path: &str, body: Value) -> Value {
    let body = body.to_string();
    let headers = format!("Authorization: Bearer all-key\r\nContent-Length: {}\r\n", body.len());
    let answer = ask(to, format!("{}{body}", request("POST", path, to, &headers))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

async fn listen(to: std::net::SocketAddr, user: &str) -> Raw {
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", &format!("/sse?channel=a&token={}", token(user)), to, "")).await;
    assert_eq!(raw.head().await.status, 200);
    raw.chunk().await.unwrap();
    raw
}

async fn poll(to: std::net::SocketAddr, user: &str) -> Answer {
    ask(to, request("GET", &format!("/poll?channel=a&token={}", token(user)), to, "")).await
}

async fn ends_with(raw: &mut Raw, code: &str) {
    let says = format!("event: tidings:close\ndata: {{\"code\":\"{code}\"");
    soon("the end", raw.chunks_until(|text| text.contains(&says))).await;
}

/// The nodes of an answer, by name.
pub(super) fn names(of: &Value) -> Vec<String> {
    let mut names: Vec<String> = of.as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn http(scene: &Scene) -> std::net::SocketAddr {
    scene.node.addresses().http
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_on_one_node_ends_on_another_and_is_refused_on_all() {
    let cluster = closed(3).await;
    let mut streams = [listen(http(&cluster.nodes[2]), "ann").await, listen(http(&cluster.nodes[1]), "ann").await];
    let mut other = listen(http(&cluster.nodes[2]), "bob").await;
    let done = order(http(&cluster.nodes[0]), "/v1/revoke", json!({ "user": "ann", "until": now() + 600 })).await;
    assert_eq!((&done["ended"], &done["missed"]), (&json!(2), &json!([])), "{done}");
    assert_eq!(names(&done["reached"]), ["node-0", "node-1", "node-2"]);
    assert_eq!(done["reached"][0]["node"], "node-0", "the one that was asked comes first");
    for stream in &mut streams {
        ends_with(stream, "revoked").await;
    }
    for scene in &cluster.nodes {
        let refused = poll(http(scene), "ann").await;
        assert_eq!((refused.status, refused.code()), (401, "revoked".to_owned()));
        assert_eq!(poll(http(scene), "bob").await.status, 200);
    }
    let done = order(http(&cluster.nodes[1]), "/v1/disconnect", json!({ "user": "bob", "reconnect": true })).await;
    assert_eq!(done["ended"], 1, "{done}");
    ends_with(&mut other, "reconnect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_end_on_every_node() {
    let cluster = closed(2).await;
    let mut sockets = Vec::new();
    for scene in &cluster.nodes {
        let path = format!("/ws?channel=news-a&channel=news-b&channel=c&token={}", token("ann"));
        let mut socket = WebSocket::open(http(scene), &path, "").await;
        for _ in 0..3 {
            assert!(soon("a subscription", socket.object()).await.unwrap().get("subscribed").is_some());
        }
        sockets.push(socket);
    }
    let done = order(http(&cluster.nodes[0]), "/v1/unsubscribe", json!({ "token_id": "ann-1", "channel": "news-*" })).await;
    assert_eq!((&done["ended"], names(&done["reached"]).len()), (&json!(4), 2), "{done}");
    for socket in &mut sockets {
        let mut gone = Vec::new();
        for _ in 0..2 {
            gone.push(soon("a word", socket.object()).await.unwrap()["unsubscribed"]["channel"].as_str().unwrap().to_owned());
        }
        gone.sort();
        assert_eq!(gone, ["news-a", "news-b"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_later_knows_what_is_revoked_before_anybody_asks() {
    let mut cluster = closed(2).await;
    order(http(&cluster.nodes[0]), "/v1/revoke", json!({ "user": "ann", "until": now() + 600 })).await;
    cluster.add(close).await;
    cluster.settle().await;
    let late = &cluster.nodes[2];
    soon("it never learned of it", async {
        while poll(http(late), "ann").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_named_and_catches_up_when_it_goes_on() {
    let cluster = closed(2).await;
    let seed = cluster.nodes[0].node.addresses().cluster.unwrap();
    let file = format!(
        "cluster: {{keys: ['{KEY}'], node: hangs, listen: '127.0.0.1:0', seeds: ['{seed}']}}\n\
         tokens: {{keys: [{{algorithm: HS256, secret: '{SECRET}'}}]}}\n\
         keys: [{{name: all, sha256: {}}}]\n",
        KeyHash::of(b"all-key")
    );
    let daemon = Daemon::start_from(&file, &[]).await;
    let to = http(&cluster.nodes[0]);
    // As soon as it is part of it, it is reached.
    soon("it never joined", async {
        while names(&order(to, "/v1/disconnect", json!({ "user": "nobody" })).await["reached"]).len() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let mut stream = listen(daemon.http, "ann").await;
    daemon.pause().await;
    let done = order(to, "/v1/revoke", json!({ "user": "ann", "until": now() + 600 })).await;
    assert_eq!(names(&done["reached"]), ["node-0", "node-1"], "{done}");
    assert_eq!(names(&done["missed"]), ["hangs"], "{done}");
    assert!(!done["missed"][0]["reason"].as_str().unwrap().is_empty(), "{done}");
    daemon.go_on();
    ends_with(&mut stream, "revoked").await;
    let refused = poll(daemon.http, "ann").await;
    assert_eq!((refused.status, refused.code()), (401, "revoked".to_owned()));
}
