//! A node to try promises on.

use std::net::SocketAddr;
use std::time::Duration;

use tidings::broker::Published;
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::log::Slot;
use tidings::message::{ChannelName, Draft, Headers, Payload};
use tidings::node::Node;

use super::{Authority, Http1, bridge, trusting};

/// When a message counts as committed. Nothing that is promised may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// With its append, as on one node.
    AtOnce,
    /// A random while later, as with followers.
    Late,
}

/// A running node, open to everyone on loopback.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) node: Node,
    tls: Option<Bridges>,
}

/// Where clients that speak no TLS reach a node that speaks nothing else.
#[derive(Debug)]
struct Bridges {
    http1: SocketAddr,
    http2: SocketAddr,
    grpc: SocketAddr,
    _files: tempfile::TempDir,
}

tokio::task_local! {
    static OVER_TLS: ();
}

/// Runs a test on scenes whose public and gRPC listeners speak TLS.
pub(crate) async fn over_tls<T>(test: impl Future<Output = T>) -> T {
    // Boxed: a test keeps all its buffers, and a thread of tests has little stack.
    OVER_TLS.scope((), Box::pin(test)).await
}

impl Scene {
    pub(crate) async fn open(commit: Commit) -> Self {
        Self::with(commit, |_| {}).await
    }

    /// With other settings than usual.
    pub(crate) async fn with(commit: Commit, change: impl FnOnce(&mut Config)) -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { dev: true, shards: 2, ..Config::default() };
        (config.http.listen, config.grpc.listen, config.admin.listen) = (local, Some(local), local);
        config.commit_delay = (commit == Commit::Late).then_some(Duration::from_millis(2));
        change(&mut config);
        match OVER_TLS.try_with(|()| ()) {
            Ok(()) => Box::pin(Self::secured(config)).await,
            Err(_) => Self { node: Box::pin(Node::start(config)).await.unwrap(), tls: None },
        }
    }

    async fn secured(mut config: Config) -> Self {
        let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let (certificate, key) = authority.write(files.path(), "node");
        for tls in [&mut config.http.tls, &mut config.grpc.tls] {
            (tls.certificate, tls.key) = (Some(certificate.clone()), Some(key.clone()));
        }
        let node = Node::start(config).await.unwrap();
        let (http, grpc) = (node.addresses().http, node.addresses().grpc);
        let http1 = bridge(http, trusting(&authority, &["http/1.1"])).await;
        let http2 = bridge(http, trusting(&authority, &["h2"])).await;
        let grpc = match grpc {
            Some(grpc) => bridge(grpc, trusting(&authority, &["h2"])).await,
            None => http2,
        };
        Self { node, tls: Some(Bridges { http1, http2, grpc, _files: files }) }
    }

    /// With the rules of one namespace changed; `default` is that of channels without one.
    pub(crate) async fn keeping(commit: Commit, name: &str, size: u32) -> Self {
        Self::with(commit, |config| {
            let mut rules = namespace::Config::default();
            rules.history.size = size;
            config.namespaces.insert(name, rules);
        })
        .await
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.tls.as_ref().map_or(self.node.addresses().http, |tls| tls.http1)
    }

    /// The same for those who speak HTTP/2: who speaks TLS agrees on that first.
    pub(crate) fn http2(&self) -> SocketAddr {
        self.tls.as_ref().map_or(self.node.addresses().http, |tls| tls.http2)
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.tls.as_ref().map_or_else(|| self.node.addresses().grpc.unwrap(), |tls| tls.grpc)
    }

    /// Publishes text and waits until it is committed.
    pub(crate) async fn publish(&self, channel: &str, text: &str) -> Published {
        self.node.broker().publish(draft(channel, text)).await.unwrap()
    }

    /// Publishes the numbers of a range, in order.
    pub(crate) async fn publish_numbers(&self, channel: &str, numbers: std::ops::RangeInclusive<u64>) {
        let mut receipts = Vec::new();
        for number in numbers {
            receipts.push(self.node.broker().append(draft(channel, &number.to_string())).await.unwrap());
        }
        for receipt in receipts {
            receipt.committed().await.unwrap();
        }
    }

    /// Forgets a channel's messages. Returns once that is committed.
    pub(crate) async fn clear(&self, channel: &str) {
        let name = ChannelName::parse(channel).unwrap();
        self.node.broker().clear(&name).await.unwrap();
        // Behind the clear in the same slot, and in a channel that nobody asks for.
        self.publish(&sibling(channel, "behind-a-clear"), "x").await;
    }

    /// What [`metric`] reads of this node.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric(self.node.addresses().admin, name, labels).await
    }
}

/// The sum of all samples of a metric whose labels contain all of these.
pub(crate) async fn metric(admin: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let mut scrape = Http1::get(admin, "1.1", "/metrics", "Connection: close\r\n", None).await;
    let text = String::from_utf8(scrape.rest().await).unwrap();
    let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let samples = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A draft of plain text.
pub(crate) fn draft(channel: &str, text: &str) -> Draft {
    Draft {
        channel: ChannelName::parse(channel).unwrap(),
        id: None,
        event: None,
        payload: Payload::new(text.as_bytes(), None).unwrap(),
        headers: Headers::default(),
        ttl: None,
    }
}

/// Another channel of the same slot and namespace: its `{tag}` is what decided the slot of the first.
pub(crate) fn sibling(channel: &str, name: &str) -> String {
    let first = ChannelName::parse(channel).unwrap();
    let namespace = first.namespace().map(|namespace| format!("{namespace}:")).unwrap_or_default();
    let other = format!("{namespace}{name}{{{}}}", first.slot_key());
    assert_eq!(Slot::of(&first), Slot::of(&ChannelName::parse(&other).unwrap()));
    other
}
