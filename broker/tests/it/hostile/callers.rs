//! Rates of callers: bytes as well as publishes, over every front together, and for who has no name by its address.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::grant::Who;
use tidings::config::Config;
use tidings::hub::namespace;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tidings_proto::v1::publish_outcome::Outcome;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::incoming::{Call, publish_of};
use crate::raw::{Answer, Raw, ask, request};
use crate::support::{Commit, Scene, WebSocket, percent, soon};

/// More than anybody may say in many minutes, and let through all the same while nothing was said before.
const MUCH: usize = 40_000;
/// Bytes a second: after that much it takes long enough for any test.
const BYTES: u64 = 50;

fn known(config: &mut Config) {
    config.keys = ["wild", "calm"].map(|name| Key::new(name, KeyHash::of(name.as_bytes()))).into();
}

/// Who shows nothing may publish and listen, and comes through a proxy that says from where.
fn nameless(config: &mut Config) {
    known(config);
    let mut rules = namespace::Config::default();
    (rules.allow.subscribe, rules.allow.publish) = (Who::Anyone, Who::Anyone);
    config.namespaces.insert("default", rules);
    config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
}

/// The header in which the proxy says for whom it asks.
fn from(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

async fn post(to: SocketAddr, target: &str, headers: &str, body: &str) -> Answer {
    let headers = format!("{headers}Content-Length: {}\r\n", body.len());
    ask(to, request("POST", target, to, &headers) + body).await
}

async fn over_http(scene: &Scene, headers: &str, text: &str) -> Answer {
    post(scene.http(), "/v1/channels/a/messages", headers, text).await
}

async fn over_websocket(scene: &Scene, headers: &str, text: &str) -> Value {
    let mut socket = WebSocket::open(scene.http(), "/ws", headers).await;
    socket.ask(&json!({ "id": 1, "publish": { "channel": "a", "text": text } })).await
}

async fn grpc(scene: &Scene) -> BrokerClient<Channel> {
    BrokerClient::new(Endpoint::from_shared(format!("http://{}", scene.grpc())).unwrap().connect().await.unwrap())
}

/// A gRPC request with one header of an HTTP request.
fn with<T>(header: &str, message: T) -> Request<T> {
    let (name, value) = header.trim_end().split_once(": ").unwrap();
    let mut request = Request::new(message);
    let name = tonic::metadata::AsciiMetadataKey::from_bytes(name.to_lowercase().as_bytes()).unwrap();
    request.metadata_mut().insert(name, MetadataValue::try_from(value).unwrap());
    request
}

async fn over_grpc(scene: &Scene, header: &str, text: &str) -> Result<v1::PublishResult, Status> {
    let publish = v1::PublishRequest { channel: "a".into(), data: text.to_owned().into(), ..Default::default() };
    grpc(scene).await.publish(with(header, publish)).await.map(tonic::Response::into_inner)
}

/// Nobody who has said too much gets further on any front, and hears why.
async fn is_bounded_everywhere(scene: &Scene, who: &str, by: &str) {
    let answer = over_http(scene, who, "x").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains(by) && answer.text().contains("ask again in"), "{}", answer.text());
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait} s");
    let told: Value = serde_json::from_str(answer.text()).unwrap();
    let ms = told["error"]["retry_after_ms"].as_u64().unwrap();
    assert_eq!((ms.div_ceil(1000).min(60), ms > 0), (wait, true), "{told}");
    let answer = over_websocket(scene, who, "x").await;
    assert_eq!((&answer["error"]["code"], &answer["error"]["retry"]), (&json!("overloaded"), &json!(true)), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains(by), "{answer}");
    let status = over_grpc(scene, who, "x").await.unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains(by), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_a_key_are_bounded_over_all_fronts_together_and_another_key_has_its_own() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        known(config);
        config.limits.byte_rate = BYTES;
    })
    .await;
    let (wild, calm) = (bearer("wild"), bearer("calm"));
    assert_eq!(over_http(&scene, &wild, &"x".repeat(MUCH)).await.status, 200);
    is_bounded_everywhere(&scene, &wild, "limits.byte_rate").await;
    assert!(scene.metric("tidings_rates_exceeded_total", &["caller_bytes"]).await >= 3.0);
    over_grpc(&scene, &calm, &"x".repeat(MUCH)).await.unwrap();
    is_bounded_everywhere(&scene, &calm, "limits.byte_rate").await;
    assert!(scene.metric("tidings_bound_used", &["rate_callers"]).await >= 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_each_channel_of_a_publish_are_bytes_too() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        known(config);
        config.limits.byte_rate = BYTES;
    })
    .await;
    let header = json!({ "channel": "a", "text": "", "headers": { "much": "x".repeat(4_000) } }).to_string();
    assert_eq!(post(scene.http(), "/v1/publish", &bearer("wild"), &header).await.status, 200);
    is_bounded_everywhere(&scene, &bearer("wild"), "limits.byte_rate").await;
    let many = json!({ "channels": ["a", "b"], "text": "x".repeat(MUCH) }).to_string();
    let answer = post(scene.http(), "/v1/publish", &bearer("calm"), &many).await;
    let results: Value = serde_json::from_str(answer.text()).unwrap();
    assert!(results["results"][0].get("error").is_none(), "{results}");
    assert_eq!(results["results"][1]["error"]["code"], "overloaded", "{results}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_name_is_bounded_by_its_address_over_all_fronts_together() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        nameless(config);
        config.limits.byte_rate = BYTES;
    })
    .await;
    let (flooding, other) = (from("198.51.100.1"), from("198.51.100.2"));
    assert!(over_websocket(&scene, &flooding, &"x".repeat(MUCH)).await.get("published").is_some());
    is_bounded_everywhere(&scene, &flooding, "limits.byte_rate").await;
    assert_eq!(over_http(&scene, &other, "x").await.status, 200);
    // An IPv6 customer has 64 bits of addresses, and is one.
    over_grpc(&scene, &from("2001:db8::1"), &"x".repeat(MUCH)).await.unwrap();
    is_bounded_everywhere(&scene, &from("2001:db8::2"), "limits.byte_rate").await;
    over_grpc(&scene, &from("2001:db8:0:1::1"), "x").await.unwrap();
    // Who shows a name is not that address.
    let named = format!("{}{}", from("198.51.100.1"), bearer("calm"));
    assert_eq!(over_http(&scene, &named, "x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_name_publishes_so_often_over_http_and_grpc() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        nameless(config);
        config.limits.publish_rate = 1;
    })
    .await;
    let channels: Vec<String> = (0..60).map(|n| format!("channel{n}")).collect();
    let publish = json!({ "channels": channels, "text": "x" }).to_string();
    let answer = post(scene.http(), "/v1/publish", &from("198.51.100.1"), &publish).await;
    let results: Value = serde_json::from_str(answer.text()).unwrap();
    let refused = results["results"].as_array().unwrap().iter().filter(|result| result["error"]["code"] == "overloaded").count();
    // Two at once, and one more for each second that it takes.
    assert!((30..=58).contains(&refused), "{refused} of 60 were refused");
    let publish = v1::PublishRequest { channels, data: "x".into(), ..Default::default() };
    let result = grpc(&scene).await.publish(with(&from("198.51.100.2"), publish)).await.unwrap().into_inner();
    let refused = result.results.iter().filter(|outcome| matches!(outcome.outcome, Some(Outcome::Error(_)))).count();
    assert!((30..=58).contains(&refused), "{refused} of 60 were refused");
    assert!(scene.metric("tidings_rates_exceeded_total", &["caller_publishes"]).await >= 60.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_name_subscribes_so_often_over_http_and_grpc() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        nameless(config);
        config.limits.subscribe_rate = 1;
    })
    .await;
    let channels: Vec<String> = (0..60).map(|n| format!("{{tag}}{n}")).collect();
    let query = channels.iter().map(|name| format!("channel={}", percent(name))).collect::<Vec<_>>().join("&");
    let target = format!("/poll?{query}");
    let refused = ask(scene.http(), request("GET", &target, scene.http(), &from("198.51.100.1"))).await;
    assert!(refused.status == 503 && refused.text().contains("limits.subscribe_rate"), "{}", refused.text());
    let subscribe = v1::SubscribeRequest { channels, ..Default::default() };
    let status = grpc(&scene).await.subscribe(with(&from("198.51.100.2"), subscribe)).await.unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains("limits.subscribe_rate"), "{status}");
    let other = ask(scene.http(), request("GET", "/poll?channel=a", scene.http(), &from("198.51.100.3"))).await;
    assert_eq!(other.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_questions_cost_what_listening_costs_and_a_key_asks_for_as_many_as_it_likes() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        known(config);
        let mut rules = namespace::Config { presence: true, ..namespace::Config::default() };
        (rules.allow.history, rules.allow.presence) = (Who::Anyone, Who::Anyone);
        config.namespaces.insert("default", rules);
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.limits.subscribe_rate = 1;
    })
    .await;
    let refused = |answer: &Answer| answer.status == 503 && answer.text().contains("limits.subscribe_rate");
    for (path, address) in [("messages", "198.51.100.1"), ("presence", "198.51.100.2")] {
        let page = async |headers: &str| ask(scene.http(), request("GET", &format!("/v1/channels/a/{path}"), scene.http(), headers)).await;
        assert_eq!(page(&from(address)).await.status, 200);
        // Two at once, and one more for each second that it takes.
        soon("too many", async { while !refused(&page(&from(address)).await) {} }).await;
        for _ in 0..20 {
            assert_eq!(page(&bearer("calm")).await.status, 200);
        }
    }
    let question = r#"{"channel":"a","action":"history"}"#;
    let asked = async |headers: &str| post(scene.http(), "/v1/explain", headers, question).await;
    assert_eq!(asked(&from("198.51.100.4")).await.status, 200);
    soon("too many", async { while !refused(&asked(&from("198.51.100.4")).await) {} }).await;
    for _ in 0..20 {
        assert_eq!(asked(&bearer("calm")).await.status, 200);
    }
    assert!(scene.metric("tidings_rates_exceeded_total", &["caller_subscribes"]).await >= 3.0);
    let history = || v1::HistoryRequest { channel: "a".into(), ..Default::default() };
    let mut client = grpc(&scene).await;
    let mut asked = async |header: String| client.history(with(&header, history())).await;
    let refusal = soon("too many", async {
        loop {
            if let Err(status) = asked(from("198.51.100.3")).await {
                break status;
            }
        }
    });
    let refusal = refusal.await;
    assert!(refusal.code() == Code::ResourceExhausted && refusal.message().contains("limits.subscribe_rate"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_name_over_the_unix_socket_is_bounded_by_the_user_who_runs_it() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("grpc.sock");
    let scene = Scene::with(Commit::AtOnce, |config| {
        nameless(config);
        config.limits.byte_rate = BYTES;
        config.grpc.unix = Some(socket.clone());
    })
    .await;
    let publish = |bytes: usize| v1::PublishRequest { channel: "a".into(), data: vec![b'x'; bytes].into(), ..Default::default() };
    let connect = async || BrokerClient::new(Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap());
    connect().await.publish(publish(MUCH)).await.unwrap();
    // Another connection is the same user, and says no proxy's word.
    for header in [from("198.51.100.1"), "x-other: y\r\n".to_owned()] {
        let status = connect().await.publish(with(&header, publish(1))).await.unwrap_err();
        assert!(status.code() == Code::ResourceExhausted && status.message().contains("limits.byte_rate"), "{status}");
    }
    // Who shows a name there has its own, and so have those who come by network.
    connect().await.publish(with(&bearer("calm"), publish(1))).await.unwrap();
    over_grpc(&scene, &from("198.51.100.1"), "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_its_rate_is_refused_before_its_body_is_read() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        known(config);
        config.limits.byte_rate = BYTES;
    })
    .await;
    let to = scene.http();
    let head = |key: &str, target: &str, length: usize| {
        request("POST", target, to, &format!("{}Content-Type: text/plain\r\nContent-Length: {length}\r\n", bearer(key)))
    };
    // Half of what may come at once.
    assert_eq!(over_http(&scene, &bearer("calm"), &"x".repeat(BYTES as usize)).await.status, 200);
    assert_eq!(over_http(&scene, &bearer("wild"), &"x".repeat(MUCH)).await.status, 200);
    for (key, target, length) in
        [("wild", "/v1/channels/a/messages", 1), ("wild", "/v1/publish", 30), ("calm", "/v1/channels/a/messages", 50_000)]
    {
        let mut raw = Raw::connect(to).await;
        raw.send(head(key, target, length)).await;
        let answer = soon("an answer without the body", raw.answer()).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{key} {target}");
        assert!(answer.text().contains("limits.byte_rate") && answer.header("retry-after").is_some(), "{}", answer.text());
    }
    // Over gRPC nobody says how much comes: nothing is read of whom nothing would be taken.
    for method in ["Publish", "PublishBatch"] {
        let call = Call::shown(&format!("tidings.v1.Broker/{method}"), scene.grpc(), &publish_of(60_000)[..50_000], "wild").await;
        let told = call.refused().await;
        assert!(told.code() == Code::ResourceExhausted && told.message().contains("limits.byte_rate"), "{told:?}");
    }
    assert_eq!(scene.metric("tidings_rates_exceeded_total", &["caller_bytes"]).await, 5.0);
    // A body that comes is taken off, so that the connection goes on; nothing was taken from the rate.
    let mut raw = Raw::connect(to).await;
    raw.send(head("calm", "/v1/channels/a/messages", 50_000) + &"x".repeat(50_000)).await;
    assert_eq!(raw.answer().await.status, 503);
    raw.send(head("calm", "/v1/channels/a/messages", 20) + &"x".repeat(20)).await;
    assert_eq!(soon("an answer", raw.answer()).await.status, 200);
    // What is too long at any time is told so.
    let mut raw = Raw::connect(to).await;
    raw.send(head("calm", "/v1/channels/a/messages", 1_000_000)).await;
    assert_eq!(soon("an answer", raw.answer()).await.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_publish_is_charged_once() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        known(config);
        config.limits.publish_rate = 4;
    })
    .await;
    // Twice the rate at once; what time passes meanwhile only allows more.
    for number in 0..8 {
        let answer = soon("an answer", over_http(&scene, &bearer("wild"), "x")).await;
        assert_eq!(answer.status, 200, "the publish {number} of 8: {}", answer.text());
    }
}
