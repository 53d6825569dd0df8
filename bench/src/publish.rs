//! A publisher over HTTP: numbered, timed messages on one kept-alive connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// What to publish.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) channel: String,
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
    /// Messages per second; 0: as fast as acks come back.
    pub(crate) rate: u64,
    /// Unanswered requests at one time.
    pub(crate) outstanding: usize,
}

/// Publishes everything; every message must be accepted.
pub(crate) fn publish(plan: &Plan, began: Instant) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(plan.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut answers = Answers::default();
    let first = Instant::now();
    let mut unanswered = 0;
    for number in 1..=plan.messages {
        if plan.rate > 0 {
            let due = first + Duration::from_secs_f64((number - 1) as f64 / plan.rate as f64);
            if let Some(wait) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
        }
        let mut payload = format!("{number:010} {:012} ", began.elapsed().as_micros());
        while payload.len() < plan.bytes {
            payload.push('x');
        }
        let head = format!(
            "POST /v1/channels/{}/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            plan.channel,
            payload.len()
        );
        stream.write_all(&[head.as_bytes(), payload.as_bytes()].concat())?;
        unanswered += 1;
        while unanswered >= plan.outstanding.max(1) {
            unanswered -= answers.read(&mut stream).context("waiting for an answer")?;
        }
    }
    while unanswered > 0 {
        unanswered -= answers.read(&mut stream).context("waiting for the last answers")?;
    }
    Ok(())
}

#[derive(Default)]
struct Answers {
    buffer: Vec<u8>,
}

impl Answers {
    /// Reads at least one answer; returns how many came.
    fn read(&mut self, stream: &mut TcpStream) -> anyhow::Result<usize> {
        let mut chunk = [0; 16 << 10];
        loop {
            let mut count = 0;
            while let Some(length) = self.complete()? {
                self.buffer.drain(..length);
                count += 1;
            }
            if count > 0 {
                return Ok(count);
            }
            let read = stream.read(&mut chunk)?;
            ensure!(read > 0, "the broker closed the publisher's connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// Length of the answer at the front of the buffer, once it is all there.
    fn complete(&self) -> anyhow::Result<Option<usize>> {
        let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&self.buffer[..end])?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("an answer without length")?;
        let whole = end + 4 + length.trim().parse::<usize>()?;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        ensure!(head.starts_with("HTTP/1.1 200"), "a publish was refused: {}", String::from_utf8_lossy(&self.buffer[..whole]));
        Ok(Some(whole))
    }
}
