//! Publishers over gRPC, on a thread with a runtime of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::{Channel, Endpoint};

use super::{Publisher, Unanswered};
use crate::clock::micros;
use crate::payload::Batch;

/// Blocks of messages that wait for the runtime.
const BLOCKS: usize = 64;

/// Which call carries the messages; the stream has a module of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// `Publish`: one call each, so their order is not kept.
    Unary,
    /// `PublishBatch` of this many.
    Batch(usize),
}

/// The blocking side.
pub(super) struct Grpc {
    blocks: Option<mpsc::Sender<Vec<v1::PublishRequest>>>,
    channels: Vec<String>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    answers: Arc<Answers>,
}

struct Answers {
    room: Semaphore,
    window: usize,
    unanswered: Mutex<Unanswered>,
}

impl Answers {
    fn unanswered(&self) -> std::sync::MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for so many.
    async fn take(&self, count: usize) -> anyhow::Result<()> {
        self.room.acquire_many(count as u32).await?.forget();
        Ok(())
    }

    fn record(&self, sent: u64, count: usize) {
        self.unanswered().latency.saturating_record_n(micros().saturating_sub(sent), count as u64);
        self.room.add_permits(count);
    }
}

impl Grpc {
    pub(super) fn open(address: SocketAddr, channels: Vec<String>, call: Call, window: usize) -> anyhow::Result<Self> {
        let answers = Arc::new(Answers { room: Semaphore::new(window), window, unanswered: Mutex::new(Unanswered::new()?) });
        let (blocks, receiver) = mpsc::channel(BLOCKS);
        let shared = answers.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).initial_stream_window_size(1 << 20);
        let client = BrokerClient::new(runtime.block_on(endpoint.connect()).context("connecting over gRPC")?);
        let thread = std::thread::Builder::new().name("publisher".to_owned()).spawn(move || {
            runtime.block_on(async {
                match call {
                    Call::Unary => unary(client, receiver, shared).await,
                    Call::Batch(size) => batch(client, receiver, &shared, size).await,
                }
            })
        })?;
        Ok(Self { blocks: Some(blocks), channels, thread: Some(thread), answers })
    }

    /// Why the runtime's side ended.
    fn ended(&mut self) -> anyhow::Result<()> {
        self.blocks = None;
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))?,
            None => Ok(()),
        }
    }
}

impl Publisher for Grpc {
    fn publish(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let block = batch.iter().map(|(channel, payload)| v1::PublishRequest {
            channel: self.channels[channel as usize].clone(),
            data: Bytes::copy_from_slice(payload),
            content_type: "text/plain".to_owned(),
            ..Default::default()
        });
        let block = block.collect();
        let blocks = self.blocks.as_ref().context("published after the end")?;
        if blocks.blocking_send(block).is_err() {
            self.ended()?;
            bail!("the stream ended");
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.ended()
    }

    fn acks(&self) -> anyhow::Result<Histogram<u64>> {
        Ok(self.answers.unanswered().latency.clone())
    }
}

type Blocks = mpsc::Receiver<Vec<v1::PublishRequest>>;

async fn unary(client: BrokerClient<Channel>, mut blocks: Blocks, answers: Arc<Answers>) -> anyhow::Result<()> {
    let failed = Arc::new(Mutex::new(None));
    while let Some(block) = blocks.recv().await {
        for publish in block {
            answers.take(1).await?;
            let (mut client, answers, failed) = (client.clone(), answers.clone(), failed.clone());
            let sent = micros();
            tokio::spawn(async move {
                if let Err(status) = client.publish(publish).await {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                }
                answers.record(sent, 1);
            });
        }
    }
    answers.take(answers.window).await?;
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(Ok(()), |status| Err(status).context("a publish was refused"))
}

async fn batch(mut client: BrokerClient<Channel>, mut blocks: Blocks, answers: &Answers, size: usize) -> anyhow::Result<()> {
    let mut waiting = Vec::with_capacity(size);
    loop {
        let block = blocks.recv().await;
        let is_last = block.is_none();
        waiting.extend(block.unwrap_or_default());
        while waiting.len() >= size || (is_last && !waiting.is_empty()) {
            let messages: Vec<_> = waiting.drain(..size.min(waiting.len())).collect();
            let (count, sent) = (messages.len(), micros());
            let reply = client.publish_batch(v1::PublishBatchRequest { messages }).await?.into_inner();
            let refused = reply.outcomes.iter().find_map(|outcome| match &outcome.outcome {
                Some(v1::publish_outcome::Outcome::Error(error)) => Some(error.message.clone()),
                _ => None,
            });
            if let Some(why) = refused {
                bail!("a publish was refused: {why}");
            }
            answers.unanswered().latency.saturating_record_n(micros().saturating_sub(sent), count as u64);
        }
        if is_last {
            return Ok(());
        }
    }
}
