//! What clients are told who ask how the cluster is.

use std::net::SocketAddr;

use serde_json::json;
use tidings_sdk::{Client, Delivery, Subscription};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::scene::{Cluster, KEY};
use crate::raw::{ask, request};
use crate::support::{Daemon, WebSocket, soon};

/// A client that asked, by the way it listens.
enum Asked {
    Sse { socket: TcpStream, seen: Vec<u8> },
    WebSocket(WebSocket),
    Grpc(Box<Subscription>),
}

impl Asked {
    async fn sse(to: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(to).await.unwrap();
        socket.write_all(request("GET", "/sse?channel=news&cluster=1", to, "").as_bytes()).await.unwrap();
        Self::Sse { socket, seen: Vec::new() }
    }

    async fn websocket(to: SocketAddr) -> Self {
        Self::WebSocket(WebSocket::open(to, "/ws?channel=news&cluster=1", "").await)
    }

    async fn grpc(to: SocketAddr) -> Self {
        let client = Client::connect(&format!("http://{to}")).await.unwrap();
        Self::Grpc(Box::new(client.subscribe(["news"]).tell_cluster().await.unwrap()))
    }

    /// The next word of how the cluster is.
    async fn hears(&mut self) -> String {
        match self {
            Self::Sse { socket, seen } => loop {
                const BEFORE: &[u8] = b"event: tidings:cluster\ndata: {\"condition\":\"";
                if let Some(at) = seen.windows(BEFORE.len()).position(|window| window == BEFORE) {
                    let rest = &seen[at + BEFORE.len()..];
                    if let Some(end) = rest.iter().position(|byte| *byte == b'"') {
                        let word = String::from_utf8(rest[..end].to_vec()).unwrap();
                        seen.drain(..at + BEFORE.len() + end);
                        return word;
                    }
                }
                assert!(socket.read_buf(seen).await.unwrap() > 0, "the stream ended: {}", String::from_utf8_lossy(seen));
            },
            Self::WebSocket(socket) => loop {
                let object = socket.object().await.expect("the WebSocket goes on");
                if let Some(word) = object["cluster"]["condition"].as_str() {
                    return word.to_owned();
                }
            },
            Self::Grpc(subscription) => loop {
                if let Delivery::Cluster(word) = subscription.next().await.expect("the call goes on").unwrap() {
                    return word;
                }
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_hears_that_a_node_lost_the_others_and_that_it_has_them_again() {
    let cluster = Cluster::start(1).await;
    let (addresses, broker) = (cluster.nodes[0].node.addresses(), cluster.nodes[0].node.broker());
    let seed = addresses.cluster.unwrap();
    let mut others = Vec::new();
    for name in ["east", "west"] {
        let file = format!("cluster: {{keys: ['{KEY}'], node: {name}, listen: '127.0.0.1:0', seeds: ['{seed}']}}\n");
        others.push(Daemon::start_from(&file, &[]).await);
    }
    soon("the others never took part", async {
        let takes_part = || {
            let info = cluster.nodes[0].node.embedded().cluster().unwrap().info();
            info.nodes.iter().filter(|node| node.home > 0).count() == 3
        };
        while !takes_part() || broker.is_degraded() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut asked = [Asked::sse(addresses.http).await, Asked::websocket(addresses.http).await, Asked::grpc(addresses.grpc.unwrap()).await];
    for client in &mut asked {
        assert_eq!(soon("nothing at the beginning", client.hears()).await, "whole");
    }
    for other in &others {
        other.pause().await;
    }
    for client in &mut asked {
        assert_eq!(soon("not that they are lost", client.hears()).await, "degraded");
    }
    // Those who come now hear it at once; so do balancers, for whom the node is as good as before.
    assert_eq!(soon("nothing at the beginning", Asked::sse(addresses.http).await.hears()).await, "degraded");
    let ready = ask(addresses.admin, request("GET", "/readyz", addresses.admin, "")).await;
    assert_eq!((ready.status, serde_json::from_slice(&ready.body).unwrap()), (200, json!({ "ready": true, "cluster": "degraded" })));
    for other in &others {
        other.go_on();
    }
    for client in &mut asked {
        assert_eq!(soon("not that they are back", client.hears()).await, "whole");
    }
}
