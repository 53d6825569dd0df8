//! TLS of the listeners, from outside.

mod certificates;
mod certified;
mod clients;
mod handshakes;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tidings::config::Config;
use tidings::node::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{Authority, connect, metric, soon, trusting};

/// A node whose three listeners speak TLS.
struct Secured {
    node: Node,
    authority: Authority,
    files: tempfile::TempDir,
}

impl Secured {
    async fn start(change: impl FnOnce(&mut Config, &Authority, &std::path::Path)) -> Self {
        let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let (certificate, key) = authority.write(files.path(), "node");
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { dev: true, shards: 1, ..Config::default() };
        (config.http.listen, config.grpc.listen, config.admin.listen) = (local, Some(local), local);
        for tls in [&mut config.http.tls, &mut config.grpc.tls, &mut config.admin.tls] {
            (tls.certificate, tls.key) = (Some(certificate.clone()), Some(key.clone()));
        }
        change(&mut config, &authority, files.path());
        Self { node: Node::start(config).await.unwrap(), authority, files }
    }

    /// With an admin listener in the clear, for those who read metrics.
    async fn watched(change: impl FnOnce(&mut Config)) -> Self {
        Self::start(|config, _, _| {
            config.admin.tls = Default::default();
            change(config);
        })
        .await
    }

    fn http(&self) -> SocketAddr {
        self.node.addresses().http
    }

    fn grpc(&self) -> SocketAddr {
        self.node.addresses().grpc.unwrap()
    }

    fn admin(&self) -> SocketAddr {
        self.node.addresses().admin
    }

    fn trusting(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        trusting(&self.authority, alpn)
    }

    async fn connect(&self, to: SocketAddr) -> TlsStream<TcpStream> {
        connect(to, self.trusting(&[])).await.unwrap()
    }

    /// Waits until so many handshakes on the public listener came to this.
    async fn counted(&self, outcome: &str, count: f64) {
        counted(self.admin(), "http", outcome, count).await;
    }
}

/// Waits until a node whose metrics are here counted so many handshakes of a listener that came to this.
async fn counted(metrics: SocketAddr, listener: &str, outcome: &str, count: f64) {
    let labels = [format!("listener=\"{listener}\""), format!("outcome=\"{outcome}\"")];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    soon(&format!("{count} handshakes {outcome} on {listener}"), async {
        while metric(metrics, "tidings_tls_handshakes_ended_total", &labels).await < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Sends a request and reads the whole answer of a connection that closes.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}
