//! A TCP connection between two nodes: how it is set up, and how it moves to the threads that serve it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A peer that acknowledges nothing for this long is gone; heartbeats see to it that there is always something to acknowledge.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);
/// Unsent bytes the kernel takes of one connection. What waits beyond that waits in our own queue, where it is counted.
const UNSENT_BYTES_MAX: u32 = 64 << 10;
/// For connections on which nothing is said for long.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// A TCP stream that can change the runtime that watches it, also from under the TLS session that is built on it.
#[derive(Debug)]
pub(super) struct Socket {
    /// Missing only while it moves.
    stream: Option<TcpStream>,
}

impl Socket {
    /// With the options that links need.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        #[cfg(target_os = "linux")]
        {
            socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
            socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        }
        Ok(Self { stream: Some(stream) })
    }

    /// Lets the current runtime watch it from now on. Nothing may wait for it meanwhile.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        let stream = self.stream.take().ok_or_else(moving)?.into_std()?;
        self.stream = Some(TcpStream::from_std(stream)?);
        Ok(())
    }

    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut().stream.as_mut().map(Pin::new).ok_or_else(moving)
    }
}

fn moving() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was lost between two runtimes")
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
