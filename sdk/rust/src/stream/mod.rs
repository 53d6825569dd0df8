//! Publishing many messages with several on their way at once.
//!
//! The handle takes messages and gives out acks; a task ([`driver`]) owns the gRPC stream, remembers what is not
//! answered yet, and sends it again, in order and under the same ids, when the stream breaks.

mod driver;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message as _;
use tidings_proto::v1;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::{Message, Published, check_size};
use driver::{Driver, Waiting};

/// A stream of publishes, made by [`Client::publish_stream`].
///
/// Messages reach the broker in the order of the calls. A message that the broker refuses is reported by its ack and
/// stops nobody else; `overloaded` too, since what follows may be in already and must not be overtaken. Dropping the stream lets what was taken go out without waiting for it.
#[derive(Debug)]
pub struct PublishStream {
    client: Client,
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Waiting>,
    driver: JoinHandle<()>,
}

impl PublishStream {
    pub(crate) fn open(client: Client, in_flight: usize) -> Self {
        let in_flight = in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let (queue, waiting) = mpsc::channel(in_flight);
        let driver = tokio::spawn(Driver::new(client.clone(), in_flight).run(waiting));
        Self { client, room: Arc::new(Semaphore::new(in_flight)), queue, driver }
    }

    /// Takes a message, first waiting while too many are unanswered, and gives back its [`Ack`]. Wait for the ack to
    /// learn what became of it, or drop it; the message goes out either way.
    ///
    /// # Errors
    /// [`Error::Refused`] when the message is too large to send, [`Error::StreamEnded`] when the runtime is shutting down.
    pub async fn publish(&self, channel: impl Into<String>, message: impl Into<Message>) -> Result<Ack> {
        let publish = v1::PublishRequest { channel: channel.into(), ..message.into().into_request() };
        check_size(publish.encoded_len())?;
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Error::StreamEnded)?;
        let (answer, ack) = oneshot::channel();
        let deadline = Instant::now() + self.client.patience();
        self.queue.send(Waiting { publish, was_sent: false, deadline, answer, _room: room }).await.map_err(|_| Error::StreamEnded)?;
        Ok(Ack(ack))
    }

    /// Waits until every message taken has its answer, and closes the stream.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] when the runtime is shutting down. What became of each message, its ack says.
    pub async fn finish(self) -> Result<()> {
        drop(self.queue);
        self.driver.await.map_err(|_| Error::StreamEnded)
    }
}

/// What became of one message of a stream, once it is known.
#[derive(Debug)]
#[must_use = "an ack that nobody waits for hides whether the message was published"]
pub struct Ack(oneshot::Receiver<Result<Published>>);

impl Future for Ack {
    type Output = Result<Published>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(Error::StreamEnded)))
    }
}
