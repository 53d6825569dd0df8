//! Which HTTP a connection speaks, told by its first bytes without taking them.

use std::io::{Error, ErrorKind};

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the peer speaks HTTP/2, of which so much was already `read`. `None` when it left without a word.
pub(super) async fn is_http2(stream: &TcpStream, read: &[u8]) -> Option<bool> {
    let known = read.len().min(PREFACE.len());
    if known == PREFACE.len() || read[..known] != PREFACE[..known] {
        return Some(read[..known] == *PREFACE);
    }
    loop {
        let ready = stream.ready(Interest::READABLE).await.ok()?;
        let mut first = [0; PREFACE.len()];
        first[..known].copy_from_slice(&read[..known]);
        let looked = stream.try_io(Interest::READABLE, || {
            let (more, _) = recv(stream, &mut first[known..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
            let count = known + more;
            if more > 0 && count < PREFACE.len() && PREFACE.starts_with(&first[..count]) && !ready.is_read_closed() {
                // Undecided. The socket stays readable as long as we only look, so waiting for that would spin: said to
                // block, it wakes us when more arrives.
                return Err(Error::from(ErrorKind::WouldBlock));
            }
            Ok(count)
        });
        match looked {
            Ok(0) => return None,
            Ok(count) => return Some(first[..count] == *PREFACE),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
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
    async fn the_preface_decides_and_nothing_is_taken() {
        let (near, mut far) = pair().await;
        far.write_all(PREFACE).await.unwrap();
        assert_eq!(is_http2(&near, b"").await, Some(true));
        let mut again = [0; 3];
        assert_eq!(near.peek(&mut again).await.unwrap(), 3);
        assert_eq!(&again, b"PRI");
    }

    #[tokio::test]
    async fn a_preface_may_come_byte_by_byte() {
        let (near, mut far) = pair().await;
        let told = tokio::spawn(async move { is_http2(&near, b"").await });
        for byte in PREFACE {
            far.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(told.await.unwrap(), Some(true));
    }

    #[tokio::test]
    async fn everything_else_is_http1s_affair() {
        for first in ["GET / HTTP/1.1\r\n", "P", "PRI * HTTP/2.0\r\n\r\nXX", "\u{16}\u{3}\u{1}"] {
            let (near, mut far) = pair().await;
            far.write_all(first.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            assert_eq!(is_http2(&near, b"").await, Some(false), "{first:?}");
        }
        let (near, far) = pair().await;
        drop(far);
        assert_eq!(is_http2(&near, b"").await, None);
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
            let (near, mut far) = pair().await;
            far.write_all(rest).await.unwrap();
            assert_eq!(is_http2(&near, read).await, Some(speaks_http2), "{read:?}");
        }
    }
}
