//! Publishers: one thread hands messages over in order, whatever the protocol does with them.

mod grpc;
mod http2;
mod line;
mod stream;

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;

use crate::clock::micros;
use crate::crowd::histogram;
use crate::payload::Batch;
use crate::peer::How;
use crate::peer::start::Running;

/// Somebody who publishes.
pub(crate) trait Publisher: Send {
    /// Hands messages over, in order. Waits only when too many are unanswered.
    fn publish(&mut self, batch: &Batch) -> anyhow::Result<()>;

    /// Waits until everything is answered; fails when something was refused.
    fn finish(&mut self) -> anyhow::Result<()>;

    /// How long answers took; empty where the protocol has none.
    fn acks(&self) -> anyhow::Result<Histogram<u64>>;
}

/// Opens a publisher. `window` is how many messages may be unanswered at one time.
pub(crate) fn open(how: &How, running: &Running, channels: &[String], window: usize) -> anyhow::Result<Box<dyn Publisher>> {
    let values = &running.values;
    let channels: Vec<String> = channels.to_vec();
    ensure!(window > 0, "a window of nothing");
    Ok(match how {
        How::GrpcStream { port } => Box::new(stream::Stream::open(running.address(port)?, channels, window)?),
        How::GrpcUnary { port } => Box::new(grpc::Grpc::open(running.address(port)?, channels, grpc::Call::Unary, window)?),
        How::GrpcBatch { port, size } => Box::new(grpc::Grpc::open(running.address(port)?, channels, grpc::Call::Batch(*size), window)?),
        How::Http { port, path, headers, body, fresh } => {
            let headers = headers.iter().map(|header| format!("{}\r\n", values.fill(header))).collect();
            let form = line::Form::Http { path: path.clone(), headers, body: body.clone(), fresh: *fresh };
            let window = if *fresh { 1 } else { window };
            Box::new(line::Line::open(running.address(port)?, channels, form, window)?)
        }
        How::Redis { port } => Box::new(line::Line::open(running.address(port)?, channels, line::Form::Redis, window)?),
        How::Nats { port } => Box::new(line::Line::open(running.address(port)?, channels, line::Form::Nats, window)?),
        How::Mqtt { port } => Box::new(line::Line::open(running.address(port)?, channels, line::Form::Mqtt, window)?),
        How::Frames { port } => Box::new(line::Line::open(running.address(port)?, channels, line::Form::Frames, window)?),
    })
}

/// Messages on their way to an answer, in the order they were sent.
#[derive(Debug)]
struct Unanswered {
    sent: VecDeque<u64>,
    latency: Histogram<u64>,
}

impl Unanswered {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { sent: VecDeque::new(), latency: histogram()? })
    }

    fn sent(&mut self) {
        self.sent.push_back(micros());
    }

    fn answered(&mut self) -> anyhow::Result<()> {
        let sent = self.sent.pop_front().context("an answer to nothing")?;
        self.latency.saturating_record(micros().saturating_sub(sent));
        Ok(())
    }
}
