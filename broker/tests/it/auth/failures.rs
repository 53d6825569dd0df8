//! Tokens and signed addresses that are refused have a rate for each address, since finding out costs.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::auth::token::{SigningKey, sign};
use tidings::config::Config;
use tidings::node::Node;
use tidings_proto::v1::PublishRequest;
use tidings_proto::v1::broker_client::BrokerClient;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::scene::{chat, denied, get, now, ok, post, start, token_key, verdict};
use crate::raw::{Answer, Raw, request};
use crate::support::{WebSocket, soon};

const FLOODED: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";

/// One a second, so that it takes long until there is room again.
fn bounded(config: &mut Config) {
    config.limits.failure_rate = 1;
    config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
}

/// As a good one, signed by somebody else.
fn forged() -> String {
    let key = SigningKey::of_secret(&token_key("somebody else's secret, long enough for HS256")).unwrap();
    sign(&key, &json!({ "sub": "ann", "exp": now() + 60, "channels": [] })).unwrap()
}

fn from(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

fn bearer(address: &str, token: &str) -> String {
    format!("{}Authorization: Bearer {token}\r\n", from(address))
}

async fn poll(to: SocketAddr, address: &str, token: &str) -> Answer {
    get(to, "/poll?channel=chat:a", &bearer(address, token)).await
}

/// Shows what is forged until it is not looked at any more.
async fn use_up(to: SocketAddr, address: &str) {
    soon("the bound", async {
        loop {
            let answer = poll(to, address, &forged()).await;
            if verdict(&answer) == denied(503, "overloaded") {
                let told: Value = serde_json::from_str(answer.text()).unwrap();
                let ms = told["error"]["retry_after_ms"].as_u64().unwrap();
                assert!((1..=1001).contains(&ms) && answer.header("retry-after").is_some(), "{told}");
                break assert!(answer.text().contains("limits.failure_rate"), "{told}");
            }
            assert_eq!(verdict(&answer), denied(401, "unauthenticated"));
        }
    })
    .await;
}

/// Whether a good token of this address was refused for its rate; on every front the code is the same.
async fn is_refused(node: &Node, front: &str, address: &str, token: &str) -> bool {
    let to = node.addresses().http;
    let publish = json!({ "channel": "chat:a", "text": "x" }).to_string();
    let by_token = bearer(address, token);
    let code = match front {
        "publish" => verdict(&post(to, "/v1/publish", &by_token, &publish).await).1,
        "sse" | "stream" => {
            let mut raw = Raw::connect(to).await;
            raw.send(request("GET", &format!("/{front}?channel=chat:a&token={token}"), to, &from(address))).await;
            let status = raw.head().await.status;
            assert!([200, 503].contains(&status), "{status}");
            if status == 503 { "overloaded".to_owned() } else { String::new() }
        }
        "poll" => verdict(&poll(to, address, token).await).1,
        "socket" => {
            let mut socket = WebSocket::open(to, "/ws?channel=chat:a", &by_token).await;
            let told = socket.object().await.unwrap();
            told["close"]["code"].as_str().unwrap_or_default().to_owned()
        }
        "auth" => {
            let mut socket = WebSocket::open(to, "/ws", &from(address)).await;
            let told = socket.ask(&json!({ "id": 1, "auth": { "token": token } })).await;
            told["error"]["code"].as_str().unwrap_or_default().to_owned()
        }
        "explain" => {
            let body = json!({ "token": token, "channel": "chat:a", "action": "subscribe" }).to_string();
            verdict(&post(to, "/v1/explain", &from(address), &body).await).1
        }
        _ => {
            let grpc = Endpoint::from_shared(format!("http://{}", node.addresses().grpc.unwrap())).unwrap().connect().await.unwrap();
            let mut request = Request::new(PublishRequest { channel: "chat:a".into(), data: "x".into(), ..Default::default() });
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
            match BrokerClient::new(grpc).publish(request).await {
                Ok(_) => String::new(),
                Err(status) => {
                    assert!(status.code() == Code::ResourceExhausted && status.message().contains("limits.failure_rate"), "{status}");
                    "overloaded".to_owned()
                }
            }
        }
    };
    assert!(["", "overloaded"].contains(&&*code), "{front}: {code}");
    code == "overloaded"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_where_too_much_was_forged_no_token_is_looked_at_on_any_front() {
    let node = start(bounded).await;
    let to = node.addresses().http;
    for front in ["publish", "sse", "stream", "poll", "socket", "auth", "explain", "grpc"] {
        soon(front, async {
            // A second later one more is looked at.
            loop {
                use_up(to, FLOODED).await;
                if is_refused(&node, front, FLOODED, &chat()).await {
                    break;
                }
            }
        })
        .await;
        assert!(!is_refused(&node, front, OTHER, &chat()).await, "{front}: another address has its own");
    }
    // What costs nothing to look at is looked at: keys, and who shows nothing.
    use_up(to, FLOODED).await;
    assert_eq!(verdict(&post(to, "/v1/channels/chat:a/messages", &bearer(FLOODED, "shop-key"), "x").await), ok());
    assert_eq!(verdict(&get(to, "/poll?channel=open:a", &from(FLOODED)).await), ok());
    // It is over by itself.
    soon("room", async { while is_refused(&node, "poll", FLOODED, &chat()).await {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_counts_wherever_it_is_shown() {
    let node = start(bounded).await;
    let to = node.addresses().http;
    let forged = forged();
    for (nth, front) in ["publish", "auth", "explain", "grpc"].into_iter().enumerate() {
        let address = format!("192.0.2.{nth}");
        soon(front, async {
            while !match front {
                "publish" => verdict(&post(to, "/v1/publish", &bearer(&address, &forged), "{}").await) == denied(503, "overloaded"),
                "auth" => {
                    let mut socket = WebSocket::open(to, "/ws", &from(&address)).await;
                    socket.ask(&json!({ "id": 1, "auth": { "token": forged } })).await["error"]["code"] == "overloaded"
                }
                "explain" => {
                    let body = json!({ "token": forged, "channel": "chat:a", "action": "subscribe" }).to_string();
                    verdict(&post(to, "/v1/explain", &from(&address), &body).await) == denied(503, "overloaded")
                }
                _ => {
                    let grpc = Endpoint::from_shared(format!("http://{}", node.addresses().grpc.unwrap())).unwrap();
                    let mut request = Request::new(PublishRequest::default());
                    request.metadata_mut().insert("authorization", format!("Bearer {forged}").parse().unwrap());
                    request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
                    BrokerClient::new(grpc.connect().await.unwrap()).publish(request).await.unwrap_err().code() == Code::ResourceExhausted
                }
            } {}
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_tokens_and_unknown_keys_are_no_failures_and_without_a_bound_nothing_is() {
    let node = start(bounded).await;
    let to = node.addresses().http;
    for _ in 0..20 {
        assert_eq!(verdict(&poll(to, FLOODED, &chat()).await), ok());
        assert_eq!(verdict(&poll(to, FLOODED, "no-such-key").await), denied(401, "unauthenticated"));
    }
    let node = start(|_| {}).await;
    for _ in 0..50 {
        assert_eq!(verdict(&poll(node.addresses().http, FLOODED, &forged()).await), denied(401, "unauthenticated"));
    }
}
