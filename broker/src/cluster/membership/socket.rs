//! The gossip library's transport with the seal below it.
//!
//! The library turns its messages into bytes only inside its own UDP socket. So each node has two more sockets on
//! loopback: the library's, and one joined to it here. What the library sends comes out of the pair as bytes, is sealed and
//! leaves by the real socket; what arrives there is opened and put into the pair for the library to read.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket as Library};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::seal::{OVERHEAD, Refused, Seal};

/// The largest payload of a UDP datagram over IPv4.
const DATAGRAM_MAX: usize = 65_507;
/// Within the machine a datagram is there at once; it takes longer only when it was dropped.
const LOOPBACK: Duration = Duration::from_millis(250);

/// What is told about a datagram that was thrown away: where it came from and why.
pub(super) type OnRefused = Arc<dyn Fn(SocketAddr, Refused) + Send + Sync>;

/// A transport over one socket that is already bound, for one instance of the library.
pub(super) struct Sealed {
    pub(super) parts: Mutex<Option<(UdpSocket, Seal)>>,
    pub(super) on_refused: OnRefused,
}

#[async_trait]
impl Transport for Sealed {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (outside, seal) = self.parts.lock().take().context("the gossip socket was opened before")?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let inside = UdpSocket::bind(loopback).await.context("cannot bind a socket on loopback for gossip")?;
        let library = Library::open(loopback).await?;
        // Joined: nobody else on this machine can put anything in unsealed.
        inside.connect(library.local_addr()?).await?;
        let inside_at = inside.local_addr()?;
        let buffer = vec![0; DATAGRAM_MAX].into_boxed_slice();
        let sealed = Vec::new();
        Ok(Box::new(SealedSocket {
            outside,
            inside,
            inside_at,
            library,
            seal,
            buffer,
            sealed,
            opened: None,
            on_refused: self.on_refused.clone(),
        }))
    }
}

struct SealedSocket {
    outside: UdpSocket,
    inside: UdpSocket,
    inside_at: SocketAddr,
    library: Library,
    seal: Seal,
    buffer: Box<[u8]>,
    sealed: Vec<u8>,
    /// Whose datagram lies opened in the pair, with its length; kept here since a receive may be given up half way.
    opened: Option<(SocketAddr, usize)>,
    on_refused: OnRefused,
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.outside.local_addr().context("the gossip socket has no address")
    }

    /// Fails only when the pair on loopback does: a peer that cannot be reached now may be later.
    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        // What a send that was given up half way may have left behind must not go to another peer.
        while self.inside.try_recv(&mut self.buffer).is_ok() {}
        self.library.send(self.inside_at, envelope).await?;
        let Ok(received) = timeout(LOOPBACK, self.inside.recv(&mut self.buffer)).await else {
            return Ok(SendOutcome { num_bytes_sent: 0 });
        };
        let length = received.context("the gossip socket on loopback broke")?;
        if length > DATAGRAM_MAX - OVERHEAD {
            tracing::warn!(
                event = "gossip_too_large",
                bytes = length,
                "the state of the cluster does not fit into a datagram; it is not gossiped"
            );
            return Ok(SendOutcome { num_bytes_sent: 0 });
        }
        self.seal.seal(&self.buffer[..length], &mut self.sealed);
        match self.outside.send_to(&self.sealed, to).await {
            Ok(num_bytes_sent) => Ok(SendOutcome { num_bytes_sent }),
            Err(why) => {
                tracing::debug!(event = "gossip_not_sent", %to, %why, "gossip was not sent");
                Ok(SendOutcome { num_bytes_sent: 0 })
            }
        }
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            if let Some((from_addr, num_bytes_received)) = self.opened {
                let decoded = timeout(LOOPBACK, self.library.recv()).await;
                match decoded {
                    Ok(Ok(RecvOutcome { from_addr: through, envelope, .. })) if through == self.inside_at => {
                        self.opened = None;
                        return Ok(RecvOutcome { from_addr, envelope, num_bytes_received });
                    }
                    // Another process of this machine wrote to the library's socket; ours comes after it.
                    Ok(Ok(_)) => {}
                    Ok(Err(broken)) => return Err(broken),
                    // Sealed with our key and still not understood; the library has logged it.
                    Err(_) => self.opened = None,
                }
                continue;
            }
            let (length, from) = match self.outside.recv_from(&mut self.buffer).await {
                Ok(received) => received,
                // An earlier datagram met a closed port: no reason to stop listening.
                Err(why) if why.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                Err(why) => return Err(why).context("the gossip socket broke"),
            };
            match self.seal.open(&mut self.buffer[..length]) {
                Ok(text) => {
                    // Never waits: a datagram either fits into the other socket's buffer or is dropped.
                    if self.inside.try_send(text).is_ok() {
                        self.opened = Some((from, length));
                    }
                }
                Err(why) => (self.on_refused)(from, why),
            }
        }
    }
}
