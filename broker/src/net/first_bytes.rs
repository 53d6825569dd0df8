//! Which HTTP a connection speaks, told by its first bytes. They are read and not looked at, so that what most requests need is one
//! system call; whoever speaks HTTP then begins with them.

use std::io::Result;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at a time: the whole head that most browsers send.
const READ_BYTES: usize = 2 << 10;

/// What the peer said first, of which so much was already `read`, and whether it is HTTP/2. `None` when it left without a word.
pub(super) async fn first_bytes(stream: &mut TcpStream, mut read: Bytes) -> Option<(Bytes, bool)> {
    while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
        let more = std::future::poll_fn(|context| poll_some(stream, context)).await.ok()?;
        if more.is_empty() {
            return if read.is_empty() { None } else { Some((read, false)) };
        }
        read = if read.is_empty() { more } else { [read, more].concat().into() };
    }
    let is_http2 = read.starts_with(PREFACE);
    Some((read, is_http2))
}

/// What is there; empty at the end. Nothing is held while nothing is there, so that who connects and says nothing costs nothing here.
fn poll_some(stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<Result<Bytes>> {
    let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut buffer);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        far.set_nodelay(true).unwrap();
        (listener.accept().await.unwrap().0, far)
    }

    #[tokio::test]
    async fn the_preface_decides_and_nothing_is_lost() {
        let (mut near, mut far) = pair().await;
        far.write_all(PREFACE).await.unwrap();
        assert_eq!(first_bytes(&mut near, Bytes::new()).await, Some((Bytes::from_static(PREFACE), true)));
    }

    #[tokio::test]
    async fn a_preface_may_come_byte_by_byte() {
        let (mut near, mut far) = pair().await;
        let told = tokio::spawn(async move { first_bytes(&mut near, Bytes::new()).await });
        for byte in PREFACE {
            far.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(told.await.unwrap(), Some((Bytes::from_static(PREFACE), true)));
    }

    #[tokio::test]
    async fn everything_else_is_http1s_affair() {
        for first in ["GET / HTTP/1.1\r\n", "P", "PRI * HTTP/2.0\r\n\r\nXX", "\u{16}\u{3}\u{1}"] {
            let (mut near, mut far) = pair().await;
            far.write_all(first.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            assert_eq!(first_bytes(&mut near, Bytes::new()).await, Some((Bytes::from(first), false)));
        }
        let (mut near, far) = pair().await;
        drop(far);
        assert_eq!(first_bytes(&mut near, Bytes::new()).await, None);
    }

    #[tokio::test]
    async fn what_was_read_before_counts_as_the_beginning() {
        for (read, rest, speaks_http2) in [
            (&PREFACE[..5], &PREFACE[5..], true),
            (PREFACE, b"", true),
            (&PREFACE[..5], b"x", false),
            (b"GET / HTTP/1.1", b"\r\n", false),
            (b"P", b"UT / HTTP/1.1\r\n", false),
        ] {
            let (mut near, mut far) = pair().await;
            far.write_all(rest).await.unwrap();
            let (known, is_http2) = first_bytes(&mut near, Bytes::from_static(read)).await.unwrap();
            assert_eq!(is_http2, speaks_http2, "{read:?}");
            assert!([read, rest].concat().starts_with(&known) && known.starts_with(read), "{read:?}");
        }
    }
}
