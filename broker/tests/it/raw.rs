//! HTTP by hand: sends exactly the bytes a test says, and reads answers as strictly as RFC 9112 lets a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidings::config::Config;
use tidings::node::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Ends a test that hangs; nothing that passes takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Free ports on loopback, two shards, no key.
pub(crate) fn config() -> Config {
    let mut config = Config { dev: true, shards: 2, ..Config::default() };
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (config.http.listen, config.grpc.listen, config.admin.listen) = (free, Some(free), free);
    config
}

pub(crate) async fn start() -> Node {
    Node::start(config()).await.unwrap()
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The one value of a header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "`{name}` twice in {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why} in {self:?}"));
        json["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends what may not be wanted any more.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// A whole answer to a request that was not HEAD.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let has_body = !matches!(answer.status, 100..=199 | 204 | 304);
        if !has_body {
            assert!(answer.header("content-length").is_none_or(|length| answer.status == 304 || length == "0"), "{answer:?}");
            assert!(answer.header("transfer-encoding").is_none(), "{answer:?}");
        } else if answer.header("transfer-encoding") == Some("chunked") {
            assert!(answer.header("content-length").is_none(), "both lengths in {answer:?}");
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = self.take(length.parse().unwrap()).await;
        } else {
            answer.body = self.rest().await;
        }
        answer
    }

    /// Status line and headers only.
    pub(crate) async fn head(&mut self) -> Answer {
        let text = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.take(end + 4).await;
                break String::from_utf8(head).unwrap();
            }
            assert!(self.more().await, "the connection ended instead of an answer, after {:?}", String::from_utf8_lossy(&self.read));
        };
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let status = lines.next().unwrap();
        assert!((status.starts_with("HTTP/1.1 ") || status.starts_with("HTTP/1.0 ")) && status.as_bytes()[12] == b' ', "{status}");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            assert!(!name.is_empty() && !name.contains(' '), "{line:?}");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Answer { status: status[9..12].parse().unwrap(), headers: headers.collect(), body: Vec::new() }
    }

    /// The next chunk of a chunked body; `None` for the last one, whose trailer section is empty.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                break String::from_utf8(self.take(end + 2).await).unwrap();
            }
            assert!(self.more().await, "the connection ended within a chunked body");
        };
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|why| panic!("{why}: {line:?}"));
        let mut chunk = self.take(length + 2).await;
        assert_eq!(chunk.split_off(length), b"\r\n");
        (length > 0).then_some(chunk)
    }

    /// Reads chunks of a stream until what they hold satisfies the test.
    pub(crate) async fn chunks_until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        while !is_enough(&text) {
            let chunk = self.chunk().await.unwrap_or_else(|| panic!("the stream ended after {text:?}"));
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        text
    }

    /// Reads a stream without framing until what came satisfies the test.
    pub(crate) async fn bytes_until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        while !is_enough(&String::from_utf8_lossy(&self.read)) {
            assert!(self.more().await, "the stream ended after {:?}", String::from_utf8_lossy(&self.read));
        }
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Everything until the broker closes; a reset counts as its end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    /// Whether the broker has closed, without a byte more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.rest().await.is_empty()
    }

    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "the connection ended within an answer");
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("the broker neither answered nor closed");
        read.is_ok_and(|count| count > 0)
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(to: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut raw = Raw::connect(to).await;
    raw.send(request).await;
    raw.answer().await
}

/// A request without a body, to be sent to this address.
pub(crate) fn request(method: &str, target: &str, to: SocketAddr, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {to}\r\n{headers}\r\n")
}

/// A POST of these bytes.
pub(crate) fn post(target: &str, to: SocketAddr, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: {to}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
