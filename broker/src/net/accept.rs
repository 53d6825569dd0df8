//! One acceptor per listener: takes connections, refuses what is over the bound, and gives each to the shard that
//! carries the fewest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use crate::metrics::{Metrics, RefusedConnection};
use crate::shard::{Command, Handle};

/// Unsent bytes the kernel takes per socket before it says it is full. What is beyond stays in the log, where it is
/// shared, instead of in the kernel, where each slow reader would hold a copy.
const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// After an error of the listener itself; without a pause it would spin.
const PAUSE: Duration = Duration::from_millis(50);
/// What a refused client is told, in one packet.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 98\r\n\r\n{\"error\":{\"code\":\"overloaded\",\"message\":\"no more connections (limits.connections)\",\"retry\":true}}\n";

/// What an acceptor needs.
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// Where connections go.
    pub shards: Arc<Vec<Handle>>,
    /// Connections at once over all shards.
    pub connections_max: usize,
    /// Socket options.
    pub config: Config,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Accepts until `stop`.
pub async fn accept(listener: TcpListener, acceptor: Acceptor, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => acceptor.admit(stream, address),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                acceptor.metrics.connection_refused(RefusedConnection::OpenFiles);
                tracing::warn!(%error, "no connection can be accepted now");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Acceptor {
    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let Some((shard, connections)) = self.least_loaded() else { return };
        if connections >= self.connections_max {
            self.metrics.connection_refused(RefusedConnection::Limit);
            return refuse(&stream);
        }
        if let Err(error) = self.tune(&stream) {
            // The peer is gone already; nothing else makes these fail on a fresh socket.
            tracing::debug!(%error, %address, "a connection was lost before it began");
            return;
        }
        let Ok(stream) = stream.into_std() else { return };
        if let Err(Command::Connection(stream, _)) = shard.tell(Command::Connection(stream, shard.load.seat())) {
            self.metrics.connection_refused(RefusedConnection::Limit);
            refuse(&stream);
        }
    }

    /// The shard with the fewest connections, and the connections of all together.
    fn least_loaded(&self) -> Option<(&Handle, usize)> {
        let shard = self.shards.iter().min_by_key(|shard| shard.load.connections())?;
        Some((shard, self.shards.iter().map(|shard| shard.load.connections()).sum()))
    }

    fn tune(&self, stream: &TcpStream) -> std::io::Result<()> {
        let socket = SockRef::from(stream);
        // A message is one write; waiting for more would only delay it.
        socket.set_tcp_nodelay(true)?;
        // Proxies keep dead peers open; both notice them.
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)))?;
        socket.set_tcp_user_timeout(Some(self.config.write_timeout))?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        if self.config.send_buffer_bytes > 0 {
            socket.set_send_buffer_size(self.config.send_buffer_bytes as usize)?;
        }
        Ok(())
    }
}

/// Says why in one non-blocking write, and closes.
fn refuse(stream: impl std::os::fd::AsFd) {
    use rustix::net::{SendFlags, Shutdown, send, shutdown};
    // Best effort: a client that is refused may be gone already.
    let _ = send(stream.as_fd(), REFUSAL, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = shutdown(stream.as_fd(), Shutdown::Write);
}

/// Errors of `accept` that concern only the connection that was about to be accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_its_true_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
