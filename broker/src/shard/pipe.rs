//! What a shard writes into and reads from: a TCP socket, bare or with TLS over it. HTTP uses it first, then the session that
//! takes it over; nothing is converted in between, so nothing can be lost there.
//!
//! Under TLS one rule bounds what a connection holds: as long as a record waits for the socket, no new plaintext goes in.
//! What a slow client lacks stays in the log, and beside it here is one record.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::write::{Wrote, send};

/// Plaintext of one record (RFC 8446, section 5.1), and the most that is encrypted ahead of the socket.
const RECORD_BYTES: usize = 16 << 10;
/// Records without a word for us (renewed keys, empty ones) that are read in one go.
const RECORDS_MAX: usize = 16;

/// A connection's two directions.
#[derive(Debug)]
pub struct Pipe {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

impl From<TcpStream> for Pipe {
    fn from(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }
}

impl Pipe {
    /// After a handshake on the socket.
    #[must_use]
    pub fn secured(socket: TcpStream, session: ServerConnection) -> Self {
        Self { socket, tls: Some(Box::new(session)) }
    }

    /// The address at the other end.
    pub(super) fn peer_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.socket.peer_addr()
    }

    /// Says so much of it as goes out at once: for last words.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.send(bytes);
    }

    /// Throws away what the peer said already, as far as `scratch` holds it: a socket that is closed with something unread
    /// is reset, and that could overtake the last words.
    pub fn ignore(&mut self, scratch: &mut [u8]) {
        let _ = rustix::net::recv(&self.socket, scratch, RecvFlags::DONTWAIT);
    }

    /// Sends as much as the socket takes. What is not counted as sent comes again later, behind what TLS holds: a part may
    /// be all of it, and then nothing is left to do but to call again with nothing.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Wrote {
        match &mut self.tls {
            None => send(&self.socket, bytes),
            Some(session) => send_records(&self.socket, session, bytes),
        }
    }

    /// About how much TLS holds for the socket: one record, or nothing.
    pub(super) fn encrypted(&self) -> usize {
        if self.tls.as_ref().is_some_and(|session| session.wants_write()) { RECORD_BYTES } else { 0 }
    }

    /// Ready when the socket may take more.
    pub(super) fn poll_send_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(context)
    }

    /// As [`Pipe::send`], through tokio, so that a full socket takes its readiness down.
    pub(super) fn send_when_ready(&mut self, bytes: &[u8]) -> Wrote {
        let mut outcome = Wrote::Gone;
        let Self { socket, tls } = self;
        let _ = socket.try_io(Interest::WRITABLE, || {
            outcome = match tls {
                None => send(&*socket, bytes),
                Some(session) => send_records(socket, session, bytes),
            };
            match outcome {
                Wrote::Part(_) => Err(io::ErrorKind::WouldBlock.into()),
                Wrote::All | Wrote::Gone => Ok(()),
            }
        });
        outcome
    }

    /// Reads what is there. Ready with 0 when nothing will come any more.
    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Poll<usize> {
        match &mut self.tls {
            None => poll_receive(&self.socket, context, input),
            Some(session) => poll_receive_records(&self.socket, session, context, input),
        }
        .map(|outcome| outcome.unwrap_or(0))
    }
}

/// The peer hears that this is the end and no cut (RFC 8446, section 6.1), as far as the socket takes it.
impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
            let _ = flush(&self.socket, session);
        }
    }
}

/// The socket as TLS sees it: plain system calls, which never wait.
struct Raw<'a>(&'a TcpStream);

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, input: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.0, input, RecvFlags::DONTWAIT)?.0)
    }
}

/// Sends what TLS holds. `WouldBlock` while the socket is full.
fn flush(socket: &TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(&mut Raw(socket)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_records(socket: &TcpStream, session: &mut ServerConnection, bytes: &[u8]) -> Wrote {
    let mut sent = 0;
    loop {
        match flush(socket, session) {
            Ok(()) if sent == bytes.len() => return Wrote::All,
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wrote::Part(sent),
            Err(_) => return Wrote::Gone,
        }
        match encrypt(session, &bytes[sent..]) {
            Ok(count) => sent += count,
            Err(_) => return Wrote::Gone,
        }
    }
}

/// One record more; only when the one before is out.
fn encrypt(session: &mut ServerConnection, bytes: &[u8]) -> io::Result<usize> {
    match session.writer().write(&bytes[..bytes.len().min(RECORD_BYTES)])? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

fn poll_receive(socket: &TcpStream, context: &mut Context<'_>, input: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_read_ready(context))?;
        match socket.try_read(input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
    }
}

fn poll_receive_records(
    socket: &TcpStream,
    session: &mut ServerConnection,
    context: &mut Context<'_>,
    input: &mut [u8],
) -> Poll<io::Result<usize>> {
    for _ in 0..RECORDS_MAX {
        match session.reader().read(input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // An end without a word of farewell is an end too: what was cut off is told by HTTP's or WebSocket's framing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
            outcome => return Poll::Ready(outcome),
        }
        ready!(socket.poll_read_ready(context))?;
        match socket.try_io(Interest::READABLE, || session.read_tls(&mut Raw(socket))) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Poll::Ready(Err(error)),
        }
        if let Err(why) = session.process_new_packets() {
            // The alert that says so.
            let _ = flush(socket, session);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
    }
    // Others have a turn before the rest.
    context.waker().wake_by_ref();
    Poll::Pending
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, tls } = &mut *self;
        match tls {
            None => Pin::new(socket).poll_read(context, buffer),
            Some(session) => {
                let count = ready!(poll_receive_records(socket, session, context, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Pipe {
    /// Ready when TLS holds nothing that waits for the socket.
    fn poll_flush_records(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, tls: Some(session) } = self else { return Poll::Ready(Ok(())) };
        while session.wants_write() {
            ready!(socket.poll_write_ready(context))?;
            match socket.try_io(Interest::WRITABLE, || flush(socket, session)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush_records(context))?;
        let Self { socket, tls } = &mut *self;
        let Some(session) = tls else { return Pin::new(socket).poll_write(context, bytes) };
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = encrypt(session, bytes)?;
        // As far as it goes out now; the rest goes before the next, or with the flush.
        match self.poll_flush_records(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_none()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_records(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
        }
        ready!(self.poll_flush_records(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
