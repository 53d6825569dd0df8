//! A bare WebSocket client (RFC 6455, RFC 7692), so that a test decides about every byte it sends and when it reads.

use std::net::SocketAddr;

use flate2::{Decompress, FlushDecompress};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a server's frame holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Framed {
    Text {
        text: String,
        is_compressed: bool,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// The server closed the connection.
    End,
}

/// A client behind its handshake.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) socket: TcpStream,
    /// Status line and headers of the answer.
    pub(crate) head: String,
    pending: Vec<u8>,
    /// Whether pings are answered, as every client's library does by itself.
    pub(crate) answers_pings: bool,
}

/// The handshake every client sends, with more headers.
pub(crate) fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A client's frame: first byte, then the payload under a mask.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ ..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl WebSocket {
    /// Connects and shakes hands; panics if it is refused.
    pub(crate) async fn open(to: SocketAddr, path: &str, headers: &str) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        Self::open_on(socket, path, headers).await
    }

    pub(crate) async fn open_on(mut socket: TcpStream, path: &str, headers: &str) -> Self {
        socket.write_all(handshake(path, headers).as_bytes()).await.unwrap();
        Self::answered(socket).await
    }

    /// A connection whose handshake was sent and is about to be answered.
    pub(crate) async fn answered(mut socket: TcpStream) -> Self {
        let mut pending = Vec::new();
        let end = loop {
            if let Some(at) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(socket.read_buf(&mut pending).await.unwrap() > 0, "no answer: {}", String::from_utf8_lossy(&pending));
        };
        let head = String::from_utf8(pending.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}{}", String::from_utf8_lossy(&pending));
        assert!(head.to_ascii_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        Self { socket, head, pending, answers_pings: true }
    }

    /// A connection whose handshake was done elsewhere.
    pub(crate) fn joined(socket: TcpStream, pending: Vec<u8>) -> Self {
        Self { socket, head: String::new(), pending, answers_pings: true }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Sends one object.
    pub(crate) async fn say(&mut self, object: &Value) {
        self.send(&masked(0x81, object.to_string().as_bytes())).await;
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Framed {
        loop {
            if let Some(framed) = self.parse() {
                if let (Framed::Ping(payload), true) = (&framed, self.answers_pings) {
                    // The server may be gone by now.
                    let _ = self.socket.write_all(&masked(0x8a, payload)).await;
                }
                return framed;
            }
            // A reset is an end too: what came before it was read.
            if self.socket.read_buf(&mut self.pending).await.unwrap_or(0) == 0 {
                assert!(self.pending.is_empty(), "the connection ended in the middle of a frame");
                return Framed::End;
            }
        }
    }

    /// The next object; `None` when the connection is over.
    pub(crate) async fn object(&mut self) -> Option<Value> {
        loop {
            match self.frame().await {
                Framed::Text { text, .. } => return Some(serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))),
                Framed::Ping(_) | Framed::Pong(_) => {}
                Framed::Close(close) => {
                    let code = close.map_or_else(Vec::new, |(code, _)| code.to_be_bytes().to_vec());
                    let _ = self.socket.write_all(&masked(0x88, &code)).await;
                }
                Framed::End => return None,
            }
        }
    }

    /// Asks, and gives the answer, which must be the next object.
    pub(crate) async fn ask(&mut self, request: &Value) -> Value {
        self.say(request).await;
        super::soon("an answer", self.object()).await.unwrap()
    }

    fn parse(&mut self) -> Option<Framed> {
        let [first, second, ..] = self.pending[..] else { return None };
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        assert_eq!(first & 0xb0, 0x80, "a server's frames are whole and set no reserved bit but the first");
        let (head, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(self.pending.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(self.pending.get(2..10)?.try_into().unwrap()) as usize),
            short => (2, usize::from(short)),
        };
        if self.pending.len() < head + length {
            return None;
        }
        let payload: Vec<u8> = self.pending.drain(..head + length).skip(head).collect();
        let is_compressed = first & 0x40 != 0;
        assert!(!is_compressed || first & 0x0f == 1, "only messages are compressed");
        Some(match first & 0x0f {
            1 => Framed::Text { text: String::from_utf8(if is_compressed { inflate(&payload) } else { payload }).unwrap(), is_compressed },
            8 => Framed::Close((!payload.is_empty()).then(|| {
                let (code, reason) = payload.split_first_chunk().unwrap();
                (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap())
            })),
            9 => Framed::Ping(payload),
            10 => Framed::Pong(payload),
            other => panic!("a frame of kind {other}"),
        })
    }
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut input = payload.to_vec();
    input.extend([0, 0, 0xff, 0xff]);
    let mut out = Vec::with_capacity(1 << 20);
    Decompress::new(false).decompress_vec(&input, &mut out, FlushDecompress::Sync).unwrap();
    out
}
