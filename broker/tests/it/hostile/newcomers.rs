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

/// Speaks HTTP/2 as far as that goes without calling anything: the preface, and empty settings (RFC 9113, section 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn grpc_connections_that_call_nothing_give_way_to_those_that_do() {
    let mut config = config();
    config.limits.connections_pending = 10;
    let scene = Scene::with(config).await;
    let mut silent = Vec::new();
    for door in [Door::Grpc, Door::Unix] {
        for _ in 0..50 {
            let mut socket = scene.connect(door).await;
            shout(&mut socket, GREETING).await;
            silent.push(socket);
        }
    }
    scene.until("tidings_connections_refused_total{reason=\"limit\"}", |refused| refused >= 80).await;
    scene.answers().await;
    // Who has called is no newcomer any more.
    let client = tidings_sdk::Client::connect(&format!("http://{}", scene.node.addresses().grpc.unwrap())).await.unwrap();
    let mut subscription = client.subscribe(["stay"]).await.unwrap();
    for _ in 0..50 {
        let mut socket = scene.connect(Door::Grpc).await;
        shout(&mut socket, GREETING).await;
        silent.push(socket);
    }
    scene.until("tidings_connections_refused_total{reason=\"limit\"}", |refused| refused >= 130).await;
    client.publish("stay", tidings_sdk::Message::new("heard")).await.unwrap();
    let heard = subscription.next().await.unwrap().unwrap();
    assert!(matches!(&heard, tidings_sdk::Delivery::Message(message) if message.data == "heard"), "{heard:?}");
    drop((silent, subscription, client));
    scene.is_unharmed("silence over gRPC").await;
}

#[tokio::test]
async fn grpc_connections_that_are_refused_or_ask_for_health_alone_push_one_another_out() {
    use tidings::auth::config::{Key, KeyHash};
    use tidings::auth::grant::Who;
    use tonic_health::pb::health_client::HealthClient;
    let mut config = config();
    config.limits.connections_pending = 10;
    config.dev = false;
    config.keys.push(Key::new("all", KeyHash::of(b"all-key")));
    let mut rules = tidings::hub::namespace::Config::default();
    (rules.allow.subscribe, rules.allow.publish) = (Who::Anyone, Who::Anyone);
    config.namespaces.insert("default", rules);
    let scene = Scene::with(config).await;
    let address = format!("http://{}", scene.node.addresses().grpc.unwrap());
    let client = tidings_sdk::Client::connect(&address).await.unwrap();
    let mut subscription = client.subscribe(["stay"]).await.unwrap();
    let mut strangers = Vec::new();
    for n in 0..50 {
        let channel = tonic::transport::Endpoint::from_shared(address.clone()).unwrap().connect().await.unwrap();
        if n % 2 == 0 {
            let mut request = tonic::Request::new(tidings_proto::v1::PublishRequest { channel: "a".into(), ..Default::default() });
            request.metadata_mut().insert("authorization", "Bearer guess".parse().unwrap());
            let mut broker = tidings_proto::v1::broker_client::BrokerClient::new(channel.clone());
            assert_eq!(broker.publish(request).await.unwrap_err().code(), tonic::Code::Unauthenticated);
        } else {
            HealthClient::new(channel.clone()).check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
        }
        strangers.push(channel);
    }
    scene.until("tidings_connections_refused_total{reason=\"limit\"}", |refused| refused >= 40).await;
    // Who may listen without a credential is no stranger.
    client.publish("stay", tidings_sdk::Message::new("heard")).await.unwrap();
    let heard = subscription.next().await.unwrap().unwrap();
    assert!(matches!(&heard, tidings_sdk::Delivery::Message(message) if message.data == "heard"), "{heard:?}");
    drop((strangers, subscription, client));
    scene.is_unharmed("refused calls").await;
}

#[tokio::test]
async fn a_grpc_connection_that_calls_nothing_for_too_long_is_closed_in_good_form() {
    let mut config = config();
    config.grpc.first_call_timeout = std::time::Duration::from_millis(300);
    let scene = Scene::with(config).await;
    let mut socket = scene.connect(Door::Grpc).await;
    shout(&mut socket, GREETING).await;
    let mut heard = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut heard);
    tokio::time::timeout(crate::raw::PATIENCE, end).await.expect("it is closed").unwrap();
    // Frames (RFC 9113, section 4.1): 9 bytes of head with the length in the first three and the type behind.
    let (mut rest, mut types) = (&heard[..], Vec::new());
    while let [high, middle, low, kind, ..] = *rest {
        types.push(kind);
        rest = &rest[9 + usize::from(high) * 65_536 + usize::from(middle) * 256 + usize::from(low)..];
    }
    assert!(types.contains(&7), "GOAWAY came before the end: {types:?}");
    // The client of a real program opens another one when it needs it.
    let client = tidings_sdk::Client::connect(&format!("http://{}", scene.node.addresses().grpc.unwrap())).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    client.publish("late", tidings_sdk::Message::new("x")).await.unwrap();
    drop((client, socket));
    scene.is_unharmed("idle gRPC").await;
}

#[tokio::test]
async fn a_grpc_connection_without_a_call_for_too_long_is_closed_and_one_with_a_call_stays() {
    let mut config = config();
    config.grpc.idle_timeout = std::time::Duration::from_millis(300);
    let scene = Scene::with(config).await;
    let address = format!("http://{}", scene.node.addresses().grpc.unwrap());
    let listening = tidings_sdk::Client::connect(&address).await.unwrap();
    let mut subscription = listening.subscribe(["stay"]).await.unwrap();
    let client = tidings_sdk::Client::connect(&address).await.unwrap();
    for text in ["first", "second"] {
        // The second over a connection of its own, which the client opens by itself.
        client.publish("stay", tidings_sdk::Message::new(text)).await.unwrap();
        let heard = subscription.next().await.unwrap().unwrap();
        assert!(matches!(&heard, tidings_sdk::Delivery::Message(message) if message.data == text), "{heard:?}");
        scene.until("tidings_connections", |connections| connections == 1).await;
    }
    assert_eq!(scene.metric("tidings_connections_refused_total{reason=\"limit\"}").await, 0, "nobody was refused");
    drop((subscription, listening, client));
    scene.is_unharmed("rest over gRPC").await;
}
