//! The one place where a shard writes to a socket.

use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::SendFlags;

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Everything.
    All,
    /// This many bytes; the socket is full.
    Part(usize),
    /// The peer is gone.
    Gone,
}

/// Sends as much as the socket takes, by plain system calls: tokio's readiness is not asked, because a fresh socket
/// that never had an event would count as full.
pub(super) fn send(socket: impl AsFd, bytes: &[u8]) -> Wrote {
    let mut sent = 0;
    while sent < bytes.len() {
        match rustix::net::send(socket.as_fd(), &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Wrote::Part(sent),
            Err(_) => return Wrote::Gone,
        }
        // A short count means the socket is full: asking again would only cost a call to hear so.
        if sent < bytes.len() {
            return Wrote::Part(sent);
        }
    }
    Wrote::All
}

/// What was not sent, without a copy.
pub(super) fn unsent(bytes: &Bytes, sent: usize) -> Bytes {
    bytes.slice(sent..)
}
