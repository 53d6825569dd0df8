//! One port for two: this program accepts, looks at the first line of each connection, and hands those that are for the broker
//! to it. There a stream takes the bare socket over and costs less than in any server that holds it.
//!
//! `cargo run --example adopt`, then `curl -N 'http://127.0.0.1:3000/sse?channel=chat'` and `curl http://127.0.0.1:3000/`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tidings::auth::grant::Who;
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::node::Embedded;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What is the broker's. Browsers listen with no other method than GET.
const OF_THE_BROKER: [&str; 4] = ["GET /ws", "GET /sse?", "GET /stream?", "GET /poll?"];
const OURS: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nours\n";
const FIRST_LINE_BYTES_MAX: usize = 4096;
const FIRST_LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts for ever.
pub(crate) async fn serve(listener: TcpListener, embedded: Arc<Embedded>) -> std::io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        let embedded = embedded.clone();
        tokio::spawn(async move {
            // Who says nothing, or goes, is nobody's.
            let _ = timeout(FIRST_LINE_TIMEOUT, sort(socket, &embedded)).await;
        });
    }
}

/// Finds out whose a connection is.
async fn sort(mut socket: TcpStream, embedded: &Embedded) -> std::io::Result<()> {
    let mut read = BytesMut::new();
    while !read.contains(&b'\n') && read.len() < FIRST_LINE_BYTES_MAX {
        if socket.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    if OF_THE_BROKER.iter().any(|start| read.starts_with(start.as_bytes())) {
        return embedded.adopt(socket.into_std()?, read.freeze());
    }
    socket.write_all(OURS).await
}

/// Everything is closed unless the configuration opens it: here anyone may listen and look back, and only the program publishes.
fn config() -> Config {
    let mut config = Config::default();
    let mut open = namespace::Config::default();
    (open.allow.subscribe, open.allow.history) = (Who::Anyone, Who::Anyone);
    config.namespaces.insert(namespace::DEFAULT, open);
    config
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let embedded = Arc::new(Embedded::start(config())?);
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    tokio::select! {
        accepted = serve(listener, embedded.clone()) => accepted?,
        _ = tokio::signal::ctrl_c() => embedded.drain().await,
    }
    Ok(())
}
