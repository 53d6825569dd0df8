//! The first bytes of a connection: HTTP/2, or somebody at the wrong door.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What such a caller is told.
pub(super) const WRONG_PROTOCOL: &str = "{\"error\":{\"code\":\"invalid_request\",\"message\":\"this port speaks gRPC; \
    the HTTP API and the browser fronts are on the public HTTP port\",\"retry\":false}}\n";

/// How every HTTP/2 connection begins (RFC 9113, section 3.4): no HTTP/1 method is called that.
const HTTP2: &[u8; 3] = b"PRI";
/// Most bytes taken from a caller at the wrong door, so that it reads the answer instead of a reset.
const DISCARD_MAX: u64 = 64 * 1024;

/// Reads just enough to tell who is there and gives it back, to be put before the rest. `None`: it was answered, or it
/// left; the connection is done with.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Option<[u8; HTTP2.len()]>> {
    let mut first = [0; HTTP2.len()];
    stream.read_exact(&mut first).await?;
    if first == *HTTP2 {
        return Ok(Some(first));
    }
    if first.iter().all(u8::is_ascii_uppercase) {
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            WRONG_PROTOCOL.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(WRONG_PROTOCOL.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DISCARD_MAX), &mut tokio::io::sink()).await?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn meet(bytes: &[u8]) -> (Option<[u8; 3]>, String) {
        let (mut near, mut far) = tokio::io::duplex(4096);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let first = read(&mut near).await.unwrap_or_default();
        drop(near);
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        (first, answer)
    }

    #[tokio::test]
    async fn http2_passes() {
        assert_eq!(meet(b"PRI * HTTP/2.0").await, (Some(*b"PRI"), String::new()));
    }

    #[tokio::test]
    async fn http1_gets_an_answer_it_can_read() {
        let (first, answer) = meet(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(first.is_none() && answer.starts_with("HTTP/1.1 400 ") && answer.ends_with(WRONG_PROTOCOL), "{answer}");
    }

    #[tokio::test]
    async fn garbage_gets_none() {
        for garbage in [&b"\x16\x03\x01"[..], b"", b"P", b"\0\0\0\0"] {
            assert_eq!(meet(garbage).await, (None, String::new()));
        }
    }
}
