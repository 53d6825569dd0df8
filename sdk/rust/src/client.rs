//! The client: one connection to one broker, shared by all its clones.

use std::time::Duration;

use prost::Message as _;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::backoff::Backoff;
use crate::error::{Error, Failure, Refused, Result, append_causes};
use crate::message::{Message, Published, check_size, outcome};
use crate::stream::PublishStream;

/// Longest time a publish is tried. The broker knows a retry for 30 seconds; what is sent within 20 arrives in time.
pub const PATIENCE_MAX: Duration = Duration::from_secs(20);

/// Longest wait for the answer to one try, after which another connection may do better.
pub(crate) const TRY_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often a connection is asked whether it is still there, so that a vanished broker is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Small unread frames count against half of this window, and a peer that uses it up is cut off as an attacker. A
/// stream of small acks comes near that with the usual 1 MiB, never with 16.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What one stream may hold unread.
const STREAM_WINDOW: u32 = 256 * 1024;

/// A client of a broker. Cheap to clone; clones share one connection, which is made again when it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    grpc: BrokerClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    patience: Duration,
}

impl Client {
    /// Connects to a broker: `http://HOST:PORT`, `HOST:PORT`, or `unix:/PATH` for a socket of this machine.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense, [`Error::Unavailable`] when nobody answers there.
    pub async fn connect(address: &str) -> Result<Self> {
        let channel = endpoint(address)?.connect().await.map_err(|error| {
            let mut why = format!("cannot connect to {address}");
            append_causes(&mut why, std::error::Error::source(&error));
            Error::Unavailable { patience: CONNECT_MAX, why }
        })?;
        Ok(Self::over(channel))
    }

    /// The same, but the connection is made by the first publish, which then waits for a broker that is not up yet.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense.
    pub fn connect_lazy(address: &str) -> Result<Self> {
        Ok(Self::over(endpoint(address)?.connect_lazy()))
    }

    fn over(channel: Channel) -> Self {
        Self { grpc: BrokerClient::new(channel), authorization: None, patience: PATIENCE_MAX }
    }

    /// Shows this API key with every call.
    ///
    /// # Errors
    /// [`Error::Key`] when it cannot stand in a header.
    pub fn with_key(mut self, key: &str) -> Result<Self> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(|_| Error::Key)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Tries each publish for this long, at most [`PATIENCE_MAX`], which is also what it starts with.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(PATIENCE_MAX);
        self
    }

    /// Publishes a message to a channel and waits until the broker has it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the broker says no, [`Error::Unavailable`] when nobody answered for good in time.
    pub async fn publish(&self, channel: impl Into<String>, message: impl Into<Message>) -> Result<Published> {
        let request = v1::PublishRequest { channel: channel.into(), ..message.into().into_request() };
        check_size(request.encoded_len())?;
        let result = self.call(request, |mut grpc, request| async move { grpc.publish(request).await }).await?;
        Ok(result.into())
    }

    /// Publishes one message to several channels. Each answers for itself, in the order given.
    ///
    /// # Errors
    /// As [`Client::publish`], for the call as a whole.
    pub async fn publish_to<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C>,
        message: impl Into<Message>,
    ) -> Result<Vec<Result<Published, Refused>>> {
        let channels = channels.into_iter().map(Into::into).collect();
        let request = v1::PublishRequest { channels, ..message.into().into_request() };
        check_size(request.encoded_len())?;
        let result = self.call(request, |mut grpc, request| async move { grpc.publish(request).await }).await?;
        Ok(result.results.into_iter().map(outcome).collect())
    }

    /// Publishes several messages in one call, in their order. Each answers for itself.
    ///
    /// # Errors
    /// As [`Client::publish`], for the call as a whole.
    pub async fn publish_batch<C: Into<String>, M: Into<Message>>(
        &self,
        messages: impl IntoIterator<Item = (C, M)>,
    ) -> Result<Vec<Result<Published, Refused>>> {
        let with_channel = |(channel, message): (C, M)| v1::PublishRequest { channel: channel.into(), ..message.into().into_request() };
        let request = v1::PublishBatchRequest { messages: messages.into_iter().map(with_channel).collect() };
        check_size(request.encoded_len())?;
        let response = self.call(request, |mut grpc, request| async move { grpc.publish_batch(request).await }).await?;
        Ok(response.outcomes.into_iter().map(outcome).collect())
    }

    /// Opens a stream for publishing many messages with at most `in_flight` (at least one) of them unanswered. Must be
    /// called inside a tokio runtime.
    #[must_use]
    pub fn publish_stream(&self, in_flight: usize) -> PublishStream {
        PublishStream::open(self.clone(), in_flight)
    }

    /// How long one message is tried.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The generated client, and what to send with each call.
    pub(crate) fn grpc(&self) -> BrokerClient<Channel> {
        self.grpc.clone()
    }

    /// A request with the key on it.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    /// Makes a call, again and again while that may help and patience lasts. The message stays the same, ids included.
    async fn call<T, U, F>(&self, message: T, call: impl Fn(BrokerClient<Channel>, Request<T>) -> F) -> Result<U>
    where
        T: Clone,
        F: Future<Output = Result<Response<U>, Status>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut backoff = Backoff::new();
        loop {
            let try_deadline = deadline.min(Instant::now() + TRY_MAX);
            let why = match timeout_at(try_deadline, call(self.grpc(), self.request(message.clone()))).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => match Failure::of(&status) {
                    Failure::Final(refused) => return Err(refused.into()),
                    Failure::Passing(why) => why,
                },
                Err(_) => "the broker did not answer".to_owned(),
            };
            let pause = backoff.next();
            if Instant::now() + pause >= deadline {
                return Err(Error::Unavailable { patience: self.patience, why });
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// Reads an address and sets up how to reach it.
fn endpoint(address: &str) -> Result<Endpoint> {
    let unusable = |why: &str| Error::Address { address: address.to_owned(), why: why.to_owned() };
    if address.starts_with("https:") {
        return Err(unusable("this client speaks no TLS yet; use http:// or unix:"));
    }
    let known = ["http://", "unix:"].iter().any(|scheme| address.starts_with(scheme));
    let full = if known { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(full).map_err(|_| unusable("expected http://HOST:PORT, HOST:PORT or unix:/PATH"))?;
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for address in ["http://127.0.0.1:8001", "127.0.0.1:8001", "localhost:8001", "unix:/run/tidings.sock"] {
            assert!(endpoint(address).is_ok(), "{address}");
        }
        for address in ["https://example.org", "", "ftp://x y"] {
            assert!(matches!(endpoint(address), Err(Error::Address { .. })), "{address}");
        }
    }

    #[tokio::test]
    async fn a_key_that_cannot_stand_in_a_header_is_refused() {
        let client = Client::connect_lazy("127.0.0.1:1").unwrap();
        assert_eq!(client.clone().with_key("a\nb").unwrap_err(), Error::Key);
        assert!(!format!("{:?}", client.with_key("secret").unwrap()).contains("secret"), "a key must not reach a log");
    }
}
