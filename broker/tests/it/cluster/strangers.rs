//! Strangers at the port between nodes: whoever does not greet cannot keep out who does.

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::SanType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::scene::Cluster;
use crate::support::{Authority, connect, showing, soon};

/// Keeps twice as many connections open as may greet at once, some of which have begun a handshake, and opens another one for each
/// that is closed.
fn crowd(to: SocketAddr) -> Vec<AbortOnDropHandle<()>> {
    let one = |number: usize| async move {
        loop {
            let Ok(mut stream) = TcpStream::connect(to).await else { continue };
            // How a TLS client begins, cut off.
            let begin: &[u8] = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"][number % 3];
            let _ = stream.write_all(begin).await;
            let _ = stream.read(&mut [0; 64]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    (0..128).map(|number| AbortOnDropHandle::new(tokio::spawn(one(number)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_greet_keeps_no_node_out() {
    let mut cluster = Cluster::start(1).await;
    let strangers = crowd(cluster.nodes[0].node.addresses().cluster.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.add(|_| {}).await;
    cluster.settle().await;
    cluster.nodes[1].publish("a", "over both").await;
    let listener =
        crate::support::Listener::open(crate::support::Way::SseHttp1, &cluster.nodes[0], &["a"], crate::support::Since::Earliest);
    let mut listener = soon("a listener", listener).await;
    assert_eq!(soon("the message", listener.texts(1)).await, ["over both"]);
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_at_the_port_between_nodes_hurts_nobody() {
    let cluster = Cluster::start(2).await;
    let to = cluster.nodes[0].node.addresses().cluster.unwrap();
    let gossip = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut chance = crate::support::chance();
    for round in 0..200 {
        let mut bytes = vec![0; 1 << (round % 14)];
        rand::Rng::fill_bytes(&mut chance, &mut bytes);
        // Datagrams larger than the system takes are not sent.
        let _ = gossip.send_to(&bytes, to).await;
        let mut stream = TcpStream::connect(to).await.unwrap();
        let begin: &[u8] = [&b""[..], b"\x16\x03\x03", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][round % 4];
        let _ = stream.write_all(begin).await;
        let _ = stream.write_all(&bytes).await;
    }
    cluster.nodes[1].publish("a", "still here").await;
    let mut listener =
        crate::support::Listener::open(crate::support::Way::SseHttp1, &cluster.nodes[0], &["a"], crate::support::Since::Earliest).await;
    assert_eq!(soon("the message", listener.texts(1)).await, ["still here"]);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_greet_in_time_is_closed_and_counted_at_every_stage() {
    let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let names = ["node-0", "localhost"].map(|name| SanType::DnsName(name.try_into().unwrap()));
    let holder = authority.sign_holder("node-0", &names);
    let (certificate, key) = holder.write(files.path(), "node-0");
    let mut cluster = Cluster { nodes: Vec::new() };
    cluster
        .add(|config| {
            let tls = &mut config.cluster.tls;
            (tls.certificate, tls.key, tls.ca) = (Some(certificate), Some(key), Some(authority.write_root(files.path())));
        })
        .await;
    cluster.settle().await;
    let node = &cluster.nodes[0];
    let to = node.node.addresses().cluster.unwrap();
    let began = Instant::now();
    let mut silent = TcpStream::connect(to).await.unwrap();
    let mut half = TcpStream::connect(to).await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    let mut slow = TcpStream::connect(to).await.unwrap();
    let drip = async {
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Shakes hands as a node does, and says nothing then.
    let mut mute = connect(to, showing(&authority, &["tidings-link"], &holder)).await.unwrap();
    let mut scratch = [[0; 64]; 3];
    let [one, two, three] = &mut scratch;
    let ends = async { tokio::join!(drip, silent.read(one), half.read(two), mute.read(three)) };
    let _ = soon("all are closed", ends).await;
    assert!(began.elapsed() >= Duration::from_secs(4), "they had their time: {:?}", began.elapsed());
    soon("all are counted", async {
        while node.metric("tidings_cluster_greetings_late_total", &[]).await < 4.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(node.metric("tidings_cluster_greetings_late_total", &[]).await, 4.0, "each once");
}
