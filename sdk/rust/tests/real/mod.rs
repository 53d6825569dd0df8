//! A real broker, and a road to it that breaks.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use tidings::config::Config;
use tidings::hub::namespace;
use tidings::node::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A node on free ports, open to everyone on loopback, that keeps enough for every test.
pub(crate) async fn broker() -> Node {
    broker_with(|_| {}).await
}

/// With other settings.
pub(crate) async fn broker_with(change: impl FnOnce(&mut Config)) -> Node {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { dev: true, shards: 1, ..Config::default() };
    (config.http.listen, config.grpc.listen, config.admin.listen) = (local, Some(local), local);
    let mut rules = namespace::Config::default();
    (rules.history.size, rules.history.bytes) = (100_000, 64 << 20);
    config.namespaces.insert("default", rules);
    change(&mut config);
    Node::start(config).await.unwrap()
}

pub(crate) fn address(node: &Node) -> String {
    format!("http://{}", node.addresses().grpc.unwrap())
}

/// What becomes of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It is cut after so many bytes, of both directions together. Those had better be more than a frame (16 KiB), mostly:
    /// nothing of a frame is read before its end.
    Cut(i64),
    /// After so many bytes nothing passes any more, and neither end is told.
    Stall(i64),
}

/// A road to a broker.
pub(crate) struct Road {
    pub(crate) address: String,
    to: watch::Sender<Option<SocketAddr>>,
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Road {
    /// Each connection, by its number, has its fate.
    pub(crate) async fn build(to: SocketAddr, mut fate: impl FnMut(usize) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to, target) = watch::channel(Some(to));
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let fate = fate(counted.fetch_add(1, Ordering::Relaxed));
                let to = *target.borrow();
                if let Some(to) = to {
                    tokio::spawn(carry(near, to, fate));
                }
            }
        });
        Self { address, to, count, task }
    }

    /// Where connections go from now on; with none they are closed at once.
    pub(crate) fn lead_to(&self, to: Option<SocketAddr>) {
        self.to.send_replace(to);
    }

    pub(crate) fn connections(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(near: TcpStream, to: SocketAddr, fate: Fate) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    for socket in [&near, &far] {
        socket.set_nodelay(true).unwrap();
    }
    let (bytes, stalls) = match fate {
        Fate::Cut(bytes) => (bytes, false),
        Fate::Stall(bytes) => (bytes, true),
    };
    let left = Arc::new(AtomicI64::new(bytes));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        _ = one_way(near_in, far_out, left.clone(), stalls) => {}
        _ = one_way(far_in, near_out, left, stalls) => {}
    }
}

/// Copies until an end is reached or the bytes are used up, in the middle of whatever they are.
async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, left: Arc<AtomicI64>, stalls: bool) -> std::io::Result<()> {
    let mut buffer = [0; 1500];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let before = left.fetch_sub(count as i64, Ordering::Relaxed);
        let passes = before.clamp(0, count as i64) as usize;
        to.write_all(&buffer[..passes]).await?;
        if passes < count {
            if stalls {
                std::future::pending::<()>().await;
            }
            return Ok(());
        }
    }
}
