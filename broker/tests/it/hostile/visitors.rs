//! Many connections from one address: it has its own, and nobody else notices.

use std::net::{Ipv4Addr, SocketAddr};

use tidings::config::Config;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::support::{Commit, Http1, Listener, Scene, Since, Way, WebSocket, handshake, soon};

const MOST: u32 = 5;

fn few(config: &mut Config) {
    config.limits.connections_per_address = MOST;
}

/// A connection from another address of this machine.
async fn from(address: Ipv4Addr, scene: &Scene) -> TcpStream {
    connect(address, scene.http()).await
}

async fn connect(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn ask(mut socket: TcpStream, path: &str, headers: &str) -> Http1 {
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes()).await.unwrap();
    Http1::reading(socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_more_than_one_may_is_refused_and_others_are_served() {
    let scene = Scene::with(Commit::AtOnce, few).await;
    let flooding = Ipv4Addr::new(127, 0, 0, 2);
    let mut held = Vec::new();
    for _ in 0..MOST {
        let mut stream = ask(from(flooding, &scene).await, "/sse?channel=a", "").await;
        assert_eq!(soon("a stream", stream.status()).await, 200);
        held.push(stream);
    }
    for _ in 0..20 {
        let mut refused = ask(from(flooding, &scene).await, "/poll?channel=a", "").await;
        assert_eq!(soon("a refusal", refused.status()).await, 503);
    }
    assert!(scene.metric("tidings_connections_refused_total", &["address"]).await >= 20.0);
    // Another one on the same machine has its own.
    let mut listener = Listener::open(Way::SseHttp1, &scene, &["a"], Since::Live).await;
    scene.publish("a", "x").await;
    assert_eq!(listener.texts(1).await, ["x"]);
    // Whoever leaves makes room.
    held.pop();
    soon("room again", async {
        while ask(from(flooding, &scene).await, "/poll?channel=a&wait=0", "Connection: close\r\n").await.status().await != 200 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_each_client_has_its_own_and_what_strangers_say_counts_for_nothing() {
    let proxy = Ipv4Addr::new(127, 0, 0, 3);
    let scene = Scene::with(Commit::AtOnce, |config| {
        few(config);
        config.http.trusted_proxies = vec!["127.0.0.3".parse().unwrap()];
    })
    .await;
    let mut held = Vec::new();
    for client in ["198.51.100.1", "198.51.100.2"] {
        // What a client wrote itself stands before what the proxy adds.
        let header = format!("X-Forwarded-For: 203.0.113.7, {client}\r\n");
        for n in 0..MOST {
            let path = if n % 2 == 0 { "/sse?channel=a" } else { "/poll?channel=a&since=earliest" };
            let mut stream = ask(from(proxy, &scene).await, path, &header).await;
            if n % 2 == 0 {
                assert_eq!(soon("a stream", stream.status()).await, 200);
            }
            held.push(stream);
        }
        soon("the polls are held", async { while scene.metric("tidings_sessions", &[]).await < held.len() as f64 {} }).await;
        let mut refused = ask(from(proxy, &scene).await, "/sse?channel=a", &header).await;
        assert_eq!(soon("a refusal", refused.status()).await, 503);
        let mut socket = from(proxy, &scene).await;
        socket.write_all(handshake("/ws", &header).as_bytes()).await.unwrap();
        assert_eq!(soon("a refusal", Http1::reading(socket).status()).await, 503);
    }
    // A stranger that claims to be somebody else is who it is.
    let stranger = Ipv4Addr::new(127, 0, 0, 4);
    let mut own = Vec::new();
    for n in 0..=MOST {
        let claim = format!("X-Forwarded-For: 198.51.100.{}\r\n", n + 10);
        let mut stream = ask(from(stranger, &scene).await, "/sse?channel=a", &claim).await;
        assert_eq!(soon("an answer", stream.status()).await, if n < MOST { 200 } else { 503 });
        own.push(stream);
    }
    drop(held);
    let mut socket = from(proxy, &scene).await;
    let again = soon("room again", async {
        loop {
            socket.write_all(handshake("/ws?channel=a", "X-Forwarded-For: 198.51.100.1\r\n").as_bytes()).await.unwrap();
            let mut first = [0; 12];
            tokio::io::AsyncReadExt::read_exact(&mut socket, &mut first).await.unwrap();
            if first.ends_with(b"101") {
                return true;
            }
            socket = from(proxy, &scene).await;
        }
    });
    assert!(again.await);
    let _others = WebSocket::open(scene.http(), "/ws?channel=a", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_an_address_has_as_many_and_both_listeners_count_together() {
    let scene = Scene::with(Commit::AtOnce, few).await;
    let flooding = Ipv4Addr::new(127, 0, 0, 5);
    let mut web = ask(from(flooding, &scene).await, "/sse?channel=a", "").await;
    assert_eq!(soon("a stream", web.status()).await, 200);
    let mut held = Vec::new();
    for _ in 0..MOST + 10 {
        held.push(connect(flooding, scene.grpc()).await);
    }
    soon("the rest is refused", async { while scene.metric("tidings_connections_refused_total", &["address"]).await < 11.0 {} }).await;
    for refused in &mut held[MOST as usize - 1..] {
        assert!(matches!(soon("the end", refused.read(&mut [0; 9])).await, Ok(0) | Err(_)));
    }
    // Another one has its own.
    let client = tidings_sdk::Client::connect(&format!("http://{}", scene.grpc())).await.unwrap();
    client.publish("a", tidings_sdk::Message::new("x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_behind_a_trusted_proxy_each_client_has_its_own_calls() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        few(config);
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let proxy = Endpoint::from_shared(format!("http://{}", scene.grpc())).unwrap().connect().await.unwrap();
    let subscribe = async |client: &str| {
        let mut request = Request::new(v1::SubscribeRequest { channels: vec!["a".into()], ..Default::default() });
        // What a client wrote itself stands before what the proxy adds.
        request.metadata_mut().insert("x-forwarded-for", format!("9.9.9.9, {client}").parse().unwrap());
        BrokerClient::new(proxy.clone()).subscribe(request).await.map(tonic::Response::into_inner)
    };
    let mut held = Vec::new();
    for _ in 0..MOST {
        held.push(subscribe("198.51.100.1").await.unwrap());
    }
    let status = subscribe("198.51.100.1").await.unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains("limits.connections_per_address"), "{status}");
    assert_eq!(scene.metric("tidings_connections_refused_total", &["address"]).await, 1.0);
    let _other = subscribe("198.51.100.2").await.unwrap();
    // Together with what it has open on the public listener.
    let mut stream = ask(from(Ipv4Addr::LOCALHOST, &scene).await, "/sse?channel=a", "X-Forwarded-For: 198.51.100.1\r\n").await;
    assert_eq!(soon("a refusal", stream.status()).await, 503);
    // Whoever leaves makes room.
    held.pop();
    soon("room again", async { while subscribe("198.51.100.1").await.is_err() {} }).await;
}
