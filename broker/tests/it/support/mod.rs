//! What the suites of promises stand on: a node on free ports, every way to listen to it, and readers of its wire forms
//! that were written from the specifications and share no code with the broker.

mod daemon;
mod event_stream;
mod host;
mod http1;
mod http2;
mod lines;
mod listener;
mod scene;
mod tls;
mod websocket;

pub(crate) use daemon::Daemon;
pub(crate) use event_stream::{EventStream, StreamEvent};
pub(crate) use host::{Server, host};
pub(crate) use http1::{BodyDecoder, Http1};
pub(crate) use http2::Http2;
pub(crate) use lines::{Lines, script_call};
pub(crate) use listener::{Listener, Message, News, Since, Way};
pub(crate) use scene::{Commit, Scene, draft, metric, over_tls, sibling};
pub(crate) use tls::{Authority, Signed, bridge, connect, showing, trusting};
pub(crate) use websocket::{Framed, WebSocket, handshake, masked};

use std::future::Future;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Longer than anything here takes on a machine that is busy; who waits this long waits for nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must happen. A promise that is not kept fails here instead of hanging.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Chance that can be repeated: the seed is printed, and `TIDINGS_TEST_SEED` gives it again.
pub(crate) fn chance() -> StdRng {
    let seed = std::env::var("TIDINGS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("TIDINGS_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Percent-encodes everything that is not a plain letter or digit (RFC 3986, section 2.1).
pub(crate) fn percent(text: &str) -> String {
    let encode = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
