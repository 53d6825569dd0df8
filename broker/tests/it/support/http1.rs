//! A bare HTTP/1 client, so that a test decides about every byte it sends and when it reads.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Takes the body out of a response's bytes, cut anywhere (RFC 9112, sections 6 and 7.1).
#[derive(Debug, Default)]
pub(crate) struct BodyDecoder {
    pending: Vec<u8>,
    /// Status line and headers, once they are there.
    pub(crate) head: Option<String>,
    framing: Framing,
    /// The body is complete.
    pub(crate) is_over: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Framing {
    #[default]
    UntilClose,
    Length(usize),
    ChunkHead,
    Chunk(usize),
}

impl BodyDecoder {
    /// Decodes more bytes; returns what of the body they hold.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        if self.head.is_none() {
            let Some(end) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") else { return Vec::new() };
            let head = String::from_utf8(self.pending.drain(..end + 4).collect()).unwrap();
            self.framing = match (header(&head, "transfer-encoding"), header(&head, "content-length")) {
                (Some("chunked"), None) => Framing::ChunkHead,
                (None, Some(length)) => Framing::Length(length.parse().unwrap()),
                (None, None) => Framing::UntilClose,
                both => panic!("a response with a strange framing: {both:?}"),
            };
            self.head = Some(head);
        }
        let mut body = Vec::new();
        while self.step(&mut body) {}
        body
    }

    fn step(&mut self, body: &mut Vec<u8>) -> bool {
        match self.framing {
            _ if self.is_over => false,
            Framing::UntilClose => {
                body.append(&mut self.pending);
                false
            }
            Framing::Length(left) => {
                let taken = left.min(self.pending.len());
                body.extend(self.pending.drain(..taken));
                self.framing = Framing::Length(left - taken);
                self.is_over = left == taken;
                false
            }
            Framing::ChunkHead => {
                let Some(end) = self.pending.windows(2).position(|window| window == b"\r\n") else { return false };
                let line: Vec<u8> = self.pending.drain(..end + 2).collect();
                let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
                self.is_over = size == 0;
                self.framing = Framing::Chunk(size);
                true
            }
            Framing::Chunk(left) if left > 0 => {
                let taken = left.min(self.pending.len());
                body.extend(self.pending.drain(..taken));
                self.framing = Framing::Chunk(left - taken);
                taken > 0
            }
            Framing::Chunk(_) => {
                if self.pending.len() < 2 {
                    return false;
                }
                assert_eq!(self.pending.drain(..2).collect::<Vec<_>>(), b"\r\n", "a chunk ends with its line end");
                self.framing = Framing::ChunkHead;
                true
            }
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.split(' ').nth(1).unwrap().parse().unwrap())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head.as_ref()?, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// A connection that has sent one request.
#[derive(Debug)]
pub(crate) struct Http1 {
    pub(crate) socket: TcpStream,
    pub(crate) decoder: BodyDecoder,
    /// Of the body, decoded and not yet read.
    ready: Vec<u8>,
}

impl Http1 {
    /// Sends `GET path` on a new connection. A small `receive_buffer` makes a reader that is soon full.
    pub(crate) async fn get(to: SocketAddr, version: &str, path: &str, headers: &str, receive_buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut socket = socket.connect(to).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/{version}\r\nHost: {to}\r\n{headers}\r\n").as_bytes()).await.unwrap();
        Self { socket, decoder: BodyDecoder::default(), ready: Vec::new() }
    }

    /// Reads what a request is answered that was sent on this socket.
    pub(crate) fn reading(socket: TcpStream) -> Self {
        Self { socket, decoder: BodyDecoder::default(), ready: Vec::new() }
    }

    /// The status; 0 when the connection ended before there was one.
    pub(crate) async fn status(&mut self) -> u16 {
        while self.decoder.head.is_none() && self.receive().await {}
        self.decoder.status().unwrap_or(0)
    }

    /// More of the body; `None` when the response or the connection is over.
    pub(crate) async fn read(&mut self) -> Option<Vec<u8>> {
        while self.ready.is_empty() {
            if !self.receive().await {
                return None;
            }
        }
        Some(std::mem::take(&mut self.ready))
    }

    /// Takes what the socket has; `false` at the end.
    async fn receive(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        // A peer that cuts the connection ends it too.
        let count = if self.decoder.is_over { 0 } else { self.socket.read(&mut bytes).await.unwrap_or(0) };
        self.ready.extend(self.decoder.push(&bytes[..count]));
        count > 0
    }

    /// The rest of the body.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(more) = self.read().await {
            body.extend(more);
        }
        body
    }
}
