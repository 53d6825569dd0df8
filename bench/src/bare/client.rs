//! One connection of the bare loop.

use anyhow::{Context, ensure};
use rustix::fd::OwnedFd;
use rustix::net::SendFlags;

/// The head of a stream, with what Tidings' own head says.
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
                    x-accel-buffering: no\r\ntransfer-encoding: chunked\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
/// Largest frame of a publisher.
const FRAME_BYTES_MAX: usize = 1 << 20;

pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) channel: Vec<u8>,
    /// What came and is not whole.
    pub(super) input: Vec<u8>,
    /// What the socket did not take.
    pub(super) rest: Vec<u8>,
    publishes: bool,
}

/// What a client wants.
pub(super) enum Inbound {
    Nothing,
    Subscribe(Vec<u8>),
    /// Channel and payload of each.
    Messages(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Client {
    pub(super) fn new(socket: OwnedFd, publishes: bool) -> Self {
        Self { socket, channel: Vec::new(), input: Vec::new(), rest: Vec::new(), publishes }
    }

    /// What came, as far as it is whole.
    pub(super) fn inbound(&mut self) -> anyhow::Result<Inbound> {
        if self.publishes {
            return Ok(Inbound::Messages(self.frames()?));
        }
        if !self.input.ends_with(b"\r\n\r\n") {
            return Ok(Inbound::Nothing);
        }
        let head = std::mem::take(&mut self.input);
        let channel = head.split(|byte| *byte == b' ').nth(1).and_then(|target| target.split(|byte| *byte == b'=').nth(1));
        Ok(Inbound::Subscribe(channel.unwrap_or_default().to_vec()))
    }

    fn frames(&mut self) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut frames = Vec::new();
        let mut rest = self.input.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
            let Some((frame, after)) = after.split_at_checked(length) else { break };
            let (name, frame) = frame.split_first_chunk::<2>().context("a short frame")?;
            let (name, payload) = frame.split_at_checked(usize::from(u16::from_be_bytes(*name))).context("a short frame")?;
            frames.push((name.to_vec(), payload.to_vec()));
            rest = after;
        }
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
        Ok(frames)
    }

    /// The first bytes of a stream.
    pub(super) fn greet(&mut self) {
        let mut bytes = HEAD.as_bytes().to_vec();
        chunk(&mut bytes, b"retry: 2000\n\n");
        chunk(&mut bytes, format!("id: {:018}\n\n", 0).as_bytes());
        self.write(&bytes);
    }

    /// Writes, or keeps what does not fit. `true` when something is newly kept and the socket must be watched.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            return false;
        }
        // A client that is gone is noticed when it is read.
        let sent = rustix::net::send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
        self.rest.extend_from_slice(&bytes[sent..]);
        !self.rest.is_empty()
    }

    /// Writes on. `false` when nothing could be written.
    pub(super) fn write_rest(&mut self) -> bool {
        match rustix::net::send(&self.socket, &self.rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.rest.drain(..sent);
                true
            }
            Err(_) => false,
        }
    }
}

/// A message as Tidings writes it: one chunk with an id of usual length.
pub(super) fn block(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(payload.len() + 32);
    event.extend_from_slice(format!("id: {number:018}\ndata: ").as_bytes());
    event.extend_from_slice(payload);
    event.extend_from_slice(b"\n\n");
    let mut bytes = Vec::with_capacity(event.len() + 8);
    chunk(&mut bytes, &event);
    bytes
}

fn chunk(out: &mut Vec<u8>, piece: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
}
