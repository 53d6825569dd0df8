//! Publishers that speak over one plain connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use rustix::net::RecvFlags;

use super::{Publisher, Unanswered};
use crate::http;
use crate::payload::Batch;
use crate::peer::wire::{mqtt_connect, mqtt_packet};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How messages and answers look.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// Requests on a kept connection, or each on a fresh one.
    Http { path: String, headers: String, body: String, fresh: bool },
    /// Commands as arrays, answers as integers.
    Redis,
    /// No answers but to a `PING`.
    Nats,
    /// No answers at quality 0.
    Mqtt,
    /// Length, length of the channel's name, name, payload; no answers.
    Frames,
}

/// One connection.
pub(super) struct Line {
    stream: TcpStream,
    form: Form,
    channels: Vec<String>,
    window: usize,
    unanswered: Unanswered,
    input: Vec<u8>,
    out: Vec<u8>,
}

impl Line {
    pub(super) fn open(address: SocketAddr, channels: Vec<String>, form: Form, window: usize) -> anyhow::Result<Self> {
        let stream = connect(address)?;
        let mut line = Self { stream, form, channels, window, unanswered: Unanswered::new()?, input: Vec::new(), out: Vec::new() };
        match line.form {
            Form::Nats => {
                line.stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")?;
                line.wait_for(b"PONG\r\n")?;
            }
            Form::Mqtt => {
                line.stream.write_all(&mqtt_connect())?;
                line.wait_for(&[0x20, 2, 0, 0])?;
            }
            Form::Http { .. } | Form::Redis | Form::Frames => {}
        }
        Ok(line)
    }

    fn has_answers(&self) -> bool {
        matches!(self.form, Form::Http { .. } | Form::Redis)
    }

    fn write(&mut self, channel: u32, payload: &[u8]) {
        let Self { form, channels, out, .. } = self;
        let channel = channels[channel as usize].as_str();
        match form {
            Form::Http { path, headers, body, .. } => {
                let (before, after) = around(body, channel);
                let length = before.len() + payload.len() + after.len();
                let path = path.replace("{channel}", channel);
                let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n{before}");
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(payload);
                out.extend_from_slice(after.as_bytes());
            }
            Form::Redis => {
                let head = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len());
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(payload);
                out.extend_from_slice(b"\r\n");
            }
            Form::Nats => {
                out.extend_from_slice(format!("PUB {channel} {}\r\n", payload.len()).as_bytes());
                out.extend_from_slice(payload);
                out.extend_from_slice(b"\r\n");
            }
            Form::Mqtt => {
                let body = [&(channel.len() as u16).to_be_bytes()[..], channel.as_bytes(), payload].concat();
                out.extend_from_slice(&mqtt_packet(0x30, &body));
            }
            Form::Frames => {
                out.extend_from_slice(&((2 + channel.len() + payload.len()) as u32).to_be_bytes());
                out.extend_from_slice(&(channel.len() as u16).to_be_bytes());
                out.extend_from_slice(channel.as_bytes());
                out.extend_from_slice(payload);
            }
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        if matches!(self.form, Form::Http { fresh: true, .. }) {
            let address = self.stream.peer_addr()?;
            self.stream = connect(address)?;
        }
        self.stream.write_all(&self.out).context("publishing")?;
        self.out.clear();
        Ok(())
    }

    /// Takes answers: what is there, or at least one.
    fn answers(&mut self, wait: bool) -> anyhow::Result<()> {
        let mut wait = wait;
        let mut chunk = [0; 64 << 10];
        while !self.unanswered.sent.is_empty() {
            let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
            let count = match rustix::net::recv(&self.stream, &mut chunk, flags) {
                Ok((0, _)) => bail!("the server closed the publisher's connection"),
                Ok((count, _)) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock && !wait => return Ok(()),
                Err(error) => return Err(error).context("waiting for an answer"),
            };
            self.input.extend_from_slice(&chunk[..count]);
            let before = self.unanswered.sent.len();
            let mut taken = 0;
            while let Some(length) = complete(&self.form, &self.input[taken..])? {
                taken += length;
                self.unanswered.answered()?;
            }
            self.input.drain(..taken);
            if self.unanswered.sent.len() < before {
                wait = false;
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, what: &[u8]) -> anyhow::Result<()> {
        let mut chunk = [0; 4096];
        let mut seen = std::mem::take(&mut self.input);
        while memchr::memmem::find(&seen, what).is_none() {
            let count = self.stream.read(&mut chunk)?;
            ensure!(count > 0, "the server closed the publisher's connection: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What stands before and after the payload.
fn around(body: &str, channel: &str) -> (String, String) {
    let (before, after) = body.split_once("{payload}").unwrap_or((body, ""));
    (before.replace("{channel}", channel), after.replace("{channel}", channel))
}

/// Length of the answer at the front, once it is all there.
fn complete(form: &Form, input: &[u8]) -> anyhow::Result<Option<usize>> {
    if matches!(form, Form::Redis) {
        let Some(end) = memchr::memmem::find(input, b"\r\n") else { return Ok(None) };
        ensure!(input[0] == b':', "a publish was refused: {}", String::from_utf8_lossy(&input[..end]));
        return Ok(Some(end + 2));
    }
    http::complete(input)
}

impl Publisher for Line {
    fn publish(&mut self, batch: &Batch) -> anyhow::Result<()> {
        for (channel, payload) in batch.iter() {
            while self.has_answers() && self.unanswered.sent.len() >= self.window {
                self.flush()?;
                self.answers(true)?;
            }
            self.write(channel, payload);
            if self.has_answers() {
                self.unanswered.sent();
            }
        }
        self.flush()?;
        if self.has_answers() { self.answers(false) } else { Ok(()) }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        while !self.unanswered.sent.is_empty() {
            self.answers(true)?;
        }
        if matches!(self.form, Form::Nats) {
            self.stream.write_all(b"PING\r\n")?;
            self.wait_for(b"PONG\r\n")?;
        }
        Ok(())
    }

    fn acks(&self) -> anyhow::Result<Histogram<u64>> {
        Ok(self.unanswered.latency.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(complete(&Form::Redis, b":1000\r\n:2").unwrap(), Some(7));
        assert!(complete(&Form::Redis, b"-ERR\r\n").is_err());
    }
}
