//! A node with all its doors, and what must be true of it after an attack.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings::config::Config;
use tidings::node::Node;
use tidings_sdk::{Client, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use crate::raw::{PATIENCE, Raw, ask, config, post, request};

/// Panics of code that is none of a test's: a node's shards, and its tasks on the runtime's own workers.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Every way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Http,
    Grpc,
    Unix,
    Admin,
}

pub(crate) const DOORS: [Door; 4] = [Door::Http, Door::Grpc, Door::Unix, Door::Admin];

/// A socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

pub(crate) struct Scene {
    pub(crate) node: Node,
    unix: PathBuf,
    panics: usize,
    _home: tempfile::TempDir,
}

/// Short patience, so that what waits for it does not wait long.
pub(crate) fn impatient() -> Config {
    let mut config = config();
    config.http.header_timeout = Duration::from_millis(600);
    config.http.idle_timeout = Duration::from_millis(1200);
    config
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(mut config: Config) -> Self {
        count_panics();
        let home = tempfile::tempdir().unwrap();
        let unix = home.path().join("grpc.sock");
        config.grpc.unix = Some(unix.clone());
        let node = Node::start(config).await.unwrap();
        Self { node, unix, panics: PANICS.load(Ordering::Relaxed), _home: home }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.node.addresses().http
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.node.addresses().admin
    }

    pub(crate) async fn connect(&self, door: Door) -> Box<dyn Socket> {
        let tcp = match door {
            Door::Unix => return Box::new(UnixStream::connect(&self.unix).await.unwrap()),
            Door::Http => self.http(),
            Door::Grpc => self.node.addresses().grpc.unwrap(),
            Door::Admin => self.admin(),
        };
        let stream = TcpStream::connect(tcp).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Box::new(stream)
    }

    pub(crate) async fn metrics(&self) -> String {
        let admin = self.admin();
        ask(admin, request("GET", "/metrics", admin, "")).await.text().to_owned()
    }

    /// The value of one series.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        value(&self.metrics().await, series)
    }

    /// Waits until the series has reached this value.
    pub(crate) async fn until(&self, series: &str, reached: impl Fn(u64) -> bool) {
        let waiting = async { while !reached(self.metric(series).await) {} };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{series} is {} for ever", self.metric(series).await);
    }

    /// All ways in and out work.
    pub(crate) async fn answers(&self) {
        let http = self.http();
        let channel = format!("fine{}", rand_text());
        let mut stream = Raw::connect(http).await;
        stream.send(request("GET", &format!("/sse?channel={channel}"), http, "")).await;
        assert_eq!(stream.head().await.status, 200);
        assert_eq!(ask(http, post(&format!("/v1/channels/{channel}/messages"), http, b"over http")).await.status, 200);
        for to in [format!("http://{}", self.node.addresses().grpc.unwrap()), format!("unix:{}", self.unix.display())] {
            let client = timeout(PATIENCE, Client::connect(&to)).await.unwrap().unwrap();
            timeout(PATIENCE, client.publish(&channel, Message::new("over grpc"))).await.unwrap().unwrap();
        }
        stream.chunks_until(|text| text.matches("data: over grpc\n\n").count() == 2 && text.contains("data: over http\n\n")).await;
        let admin = self.admin();
        assert_eq!(ask(admin, request("GET", "/livez", admin, "")).await.status, 200);
    }

    /// Nothing is left of whoever was here, and the broker is as before.
    pub(crate) async fn is_unharmed(&self, after: &str) {
        self.answers().await;
        let began = Instant::now();
        loop {
            let metrics = self.metrics().await;
            let left: Vec<&str> = metrics
                .lines()
                .filter(|line| line.starts_with("tidings_connections ") || line.starts_with("tidings_sessions{"))
                .filter(|line| !line.ends_with(" 0"))
                .collect();
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "left after {after}: {left:?}");
        }
        assert_eq!(PANICS.load(Ordering::Relaxed), self.panics, "something panicked in {after}");
    }
}

/// The value of one series in the text of /metrics.
pub(crate) fn value(metrics: &str, series: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

/// Reads whatever comes until the peer closes, or gives up; never fails.
pub(crate) async fn hear(socket: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut heard)).await;
    heard
}

/// Sends as far as the peer takes it.
pub(crate) async fn shout(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let _ = timeout(PATIENCE, socket.write_all(bytes)).await;
}

fn rand_text() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A test that fails panics too, but in its own file. A node's tasks may run on the test's thread.
            if !info.location().is_some_and(|place| place.file().starts_with("broker/tests/")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
}
