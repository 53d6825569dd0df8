//! The first bytes of a connection: HTTP/2, or somebody at the wrong door.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What such a caller is told.
pub(super) const WRONG_PROTOCOL: &str = "{\"error\":{\"code\":\"invalid_request\",\"message\":\"this port speaks gRPC; \
    the HTTP API and the browser fronts are on the public HTTP port\",\"retry\":false}}\n";

/// How every HTTP/2 connection begins (RFC 9113, section 3.4).
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes taken from a caller at the wrong door, so that it reads the answer instead of a reset.
const DISCARD_MAX: u64 = 64 * 1024;

/// Reads the whole preface and gives it back, to be put before the rest: what reads on has no bound on the time this
/// takes. `None`: the caller was answered, or it left; the connection is done with.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Option<[u8; HTTP2.len()]>> {
    let mut first = [0; HTTP2.len()];
    let mut count = 0;
    while HTTP2.starts_with(&first[..count]) {
        if count == HTTP2.len() {
            return Ok(Some(first));
        }
        match stream.read(&mut first[count..]).await? {
            0 => return Ok(None),
            more => count += more,
        }
    }
    let method = first[..count].split(|byte| *byte == b' ').next().unwrap_or_default();
    if !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) {
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

    async fn meet(bytes: &[u8]) -> (Option<[u8; HTTP2.len()]>, String) {
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
        assert_eq!(meet(HTTP2).await, (Some(*HTTP2), String::new()));
    }

    #[tokio::test]
    async fn http1_gets_an_answer_it_can_read() {
        let (first, answer) = meet(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(first.is_none() && answer.starts_with("HTTP/1.1 400 ") && answer.ends_with(WRONG_PROTOCOL), "{answer}");
    }

    #[tokio::test]
    async fn garbage_gets_none() {
        for garbage in [&b"\x16\x03\x01"[..], b"", b"P", b"PRI * HTTP/2.0", b"\0\0\0\0"] {
            assert_eq!(meet(garbage).await, (None, String::new()));
        }
    }
}
