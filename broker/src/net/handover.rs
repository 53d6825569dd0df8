//! A connection that has stopped speaking HTTP in somebody else's server, for a shard to go on with. Where it is a plain TCP
//! socket the shard gets that; what else it may be (TLS, a stream of HTTP/2) is carried to and fro by a task.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Acceptor, tune};
use crate::shard::{Command, Handle, Opening, Seat};

/// Unsent bytes between a shard and the task that carries them; the rest stays in the log.
const CARRIED_BYTES: usize = 32 << 10;
/// What the task holds in each direction while it works.
const PIECE_BYTES: usize = 4 << 10;

/// A request that may leave HTTP once it is answered.
#[derive(Debug)]
pub struct Handover(OnUpgrade);

impl Handover {
    /// What this request can become, where its server lets it.
    #[must_use]
    pub fn of(parts: &Parts) -> Option<Self> {
        parts.extensions.get::<OnUpgrade>().cloned().map(Self)
    }

    /// Waits until the answer is written and hands the connection to the shard whose seat this is.
    ///
    /// # Errors
    /// When the server does not let it go, or the system has no socket left.
    pub async fn complete(self, to: &Acceptor, shard: &Handle, seat: Seat, mut opening: Opening) -> Result<()> {
        let upgraded = self.0.await.map_err(Error::other)?;
        match bare(upgraded) {
            Ok((stream, early)) => {
                opening.early = early;
                let stream = stream.into_std()?;
                tune(&stream, &to.config)?;
                begin(shard, stream, seat, opening)
            }
            Err(upgraded) => {
                // The pair's other half is a descriptor more.
                let _second = shard.load.seat();
                let (near, far) = pair()?;
                begin(shard, far, seat, opening)?;
                carry(TokioIo::new(upgraded), near, to.config.write_timeout).await
            }
        }
    }
}

fn begin(shard: &Handle, stream: std::net::TcpStream, seat: Seat, opening: Opening) -> Result<()> {
    let told = shard.tell(Command::Session(stream, seat, Box::new(opening)));
    told.map_err(|_| Error::new(ErrorKind::NotConnected, "the shard takes nobody in now"))
}

/// The TCP socket behind it, and what was read of it already; all of it back when it is something else.
fn bare(upgraded: Upgraded) -> std::result::Result<(TcpStream, Bytes), Upgraded> {
    // hyper-util's server that speaks both versions wraps the socket once more.
    let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => return Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    upgraded.downcast::<TokioIo<TcpStream>>().map(|parts| (parts.io.into_inner(), parts.read_buf))
}

/// A pair of connected sockets. To a shard the second one is like any that came over the network: it reads and writes it the
/// same way, and all it asks of a `TcpStream` a stream socket of the Unix kind does too.
fn pair() -> Result<(UnixStream, std::net::TcpStream)> {
    let (near, far) = UnixStream::pair()?;
    let far = far.into_std()?;
    SockRef::from(&far).set_send_buffer_size(CARRIED_BYTES)?;
    Ok((near, OwnedFd::from(far).into()))
}

/// Carries bytes between the two until the shard has closed its side. A peer that takes nothing for `patience` is gone.
async fn carry(peer: impl AsyncRead + AsyncWrite, shard: UnixStream, patience: Duration) -> Result<()> {
    let (mut from_peer, mut to_peer) = tokio::io::split(peer);
    let (mut from_shard, mut to_shard) = shard.into_split();
    let out = async {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let count = from_shard.read(&mut piece).await?;
            let write = async {
                to_peer.write_all(&piece[..count]).await?;
                if count == 0 { to_peer.shutdown().await } else { to_peer.flush().await }
            };
            timeout(patience, write).await.map_err(|_| Error::from(ErrorKind::TimedOut))??;
            if count == 0 {
                return Ok(());
            }
        }
    };
    let back = async {
        let copied = tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(PIECE_BYTES, &mut from_peer), &mut to_shard).await;
        // The shard hears that its client is gone, and closes.
        drop(to_shard);
        copied?;
        std::future::pending().await
    };
    tokio::select! {
        ended = out => ended,
        broken = back => broken,
    }
}
