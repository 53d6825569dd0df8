//! Turning a connection away so that its client knows, and comes back later.

use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::linger::linger;
use crate::shard::Pipe;

/// What a client is told that is turned away, in one packet.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 94\r\n\r\n{\"error\":{\"code\":\"overloaded\",\"message\":\"no more connections now (see limits)\",\"retry\":true}}\n";
/// The same before a TLS handshake: the alert `internal_error`, fatal (RFC 8446, section 6). No other says "not now".
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
/// What event sources say they are.
const EVENT_STREAM: &[u8] = b"text/event-stream";
/// Longest it is waited for what the client wants.
const LISTEN: Duration = Duration::from_millis(500);
/// How much of it is looked at.
const LOOK: usize = 4096;
/// Refused connections that are given time at once; the others hear it in passing. They come out of the descriptors that
/// are kept back, so they must be few.
const REFUSED_MAX: usize = 32;

static TIME: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(REFUSED_MAX)));

/// Says why and closes, taking its time in a task of its own. Must run inside a runtime.
pub(super) fn refuse(stream: TcpStream) {
    let Ok(permit) = TIME.clone().try_acquire_owned() else { return refuse_at_once(stream) };
    tokio::spawn(async move {
        // A browser's EventSource gives up for good on any answer but an event stream, and reconnects after a connection
        // that just ended: so that is what it gets.
        if timeout(LISTEN, wants_events(&stream)).await != Ok(true) {
            say(&stream, REFUSAL);
        }
        linger(stream).await;
        drop(permit);
    });
}

/// Says why in one non-blocking write, and closes.
pub(super) fn refuse_at_once(stream: impl AsFd) {
    part(stream, REFUSAL);
}

/// As [`refuse_at_once`], for a client that began or is about to begin a TLS handshake.
pub(super) fn refuse_handshake(stream: impl AsFd) {
    part(stream, ALERT);
}

/// As [`refuse_at_once`], once it is known how the client is spoken to.
pub(super) fn refuse_on(stream: &mut Pipe) {
    stream.ignore(&mut [0; LOOK]);
    stream.say(REFUSAL);
}

fn part(stream: impl AsFd, words: &[u8]) {
    // A socket that is closed with something unread is reset, and that could overtake the words.
    let _ = recv(stream.as_fd(), &mut [0; LOOK][..], RecvFlags::DONTWAIT);
    say(stream.as_fd(), words);
    // Best effort, as above: a client that is refused may be gone already.
    let _ = shutdown(stream, Shutdown::Write);
}

fn say(stream: impl AsFd, words: &[u8]) {
    let _ = send(stream, words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Looks at the request's head without taking it.
async fn wants_events(stream: &TcpStream) -> bool {
    let mut head = vec![0; LOOK];
    loop {
        let Ok(ready) = stream.ready(Interest::READABLE).await else { return false };
        let looked = stream.try_io(Interest::READABLE, || {
            let (count, _) = recv(stream, &mut head[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
            let is_whole = count == LOOK || ready.is_read_closed() || head[..count].windows(4).any(|end| end == b"\r\n\r\n");
            // Said to block while it is not, so that the next look waits for more.
            if is_whole { Ok(count) } else { Err(std::io::ErrorKind::WouldBlock.into()) }
        });
        match looked {
            Ok(count) => return head[..count].windows(EVENT_STREAM.len()).any(|part| part.eq_ignore_ascii_case(EVENT_STREAM)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn hear(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        far.write_all(request.as_bytes()).await.unwrap();
        refuse(listener.accept().await.unwrap().0);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        heard
    }

    #[test]
    fn the_refusal_says_its_true_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    #[tokio::test]
    async fn programs_are_told_and_event_sources_are_made_to_reconnect() {
        assert!(hear("GET /poll HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
        assert!(hear("").await.starts_with("HTTP/1.1 503 "));
        assert_eq!(hear("GET /sse HTTP/1.1\r\nAccept: Text/Event-Stream\r\n\r\n").await, "");
    }
}
