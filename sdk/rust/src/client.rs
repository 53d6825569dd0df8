//! The client: one connection to one broker, shared by all its clones.

use std::time::Duration;

use prost::Message as _;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::cluster::ClusterInfo;
use crate::error::{Error, Refused, Result};
use crate::failure::{Effect, Failure, Tries};
use crate::link::Link;
use crate::message::{Message, Published, check_size, outcome};
use crate::presence::PresenceQuery;
use crate::query::{ChannelsQuery, HistoryQuery};
use crate::stream::PublishStream;
use crate::subscription::Subscribe;
use crate::tls::Tls;

/// Longest time a call is tried. The broker knows a retry for 30 seconds; what is sent within 20 arrives in time.
pub const PATIENCE_MAX: Duration = Duration::from_secs(20);

/// Longest wait for the answer to one try, after which another connection may do better.
pub(crate) const TRY_MAX: Duration = Duration::from_secs(5);

/// A client of a broker. Cheap to clone; clones share one connection, which is made again when it breaks or stalls.
#[derive(Clone, Debug)]
pub struct Client {
    link: Link,
    authorization: Option<MetadataValue<Ascii>>,
    patience: Duration,
}

impl Client {
    /// Connects to a broker: `http://HOST:PORT`, `HOST:PORT`, `https://HOST:PORT` for one that speaks TLS with a certificate
    /// this system trusts, or `unix:/PATH` for a socket of this machine.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense, [`Error::Unavailable`] when nobody answers there, or the broker's
    /// certificate is not trusted.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, Tls::new()).await
    }

    /// The same with other trust, or a certificate of one's own. Without `https://` it means nothing.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::Address`] also when what is to be trusted or shown cannot be read.
    pub async fn connect_with(address: &str, tls: Tls) -> Result<Self> {
        Ok(Self::over(Link::connect(address, tls).await?))
    }

    /// The same, but the connection is made by the first call, which then waits for a broker that is not up yet.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense.
    pub fn connect_lazy(address: &str) -> Result<Self> {
        Self::connect_lazy_with(address, Tls::new())
    }

    /// The same with other trust, or a certificate of one's own.
    ///
    /// # Errors
    /// [`Error::Address`] when the address makes no sense, or what is to be trusted or shown cannot be read.
    pub fn connect_lazy_with(address: &str, tls: Tls) -> Result<Self> {
        Ok(Self::over(Link::lazy(address, tls)?))
    }

    fn over(link: Link) -> Self {
        Self { link, authorization: None, patience: PATIENCE_MAX }
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

    /// Shows this token (JWT) with every call: for who acts in a user's name. When it expires, calls fail with
    /// [`Code::TokenExpired`](crate::Code::TokenExpired) and subscriptions end: go on with a client that has a fresh one.
    ///
    /// # Errors
    /// As [`Client::with_key`].
    pub fn with_token(self, token: &str) -> Result<Self> {
        self.with_key(token)
    }

    /// Tries each call for this long, at most [`PATIENCE_MAX`], which is also what it starts with.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(PATIENCE_MAX);
        self
    }

    /// The same client with another patience, for one call that must be answered sooner:
    /// `client.within(Duration::from_secs(1)).publish(…)`.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        self.clone().with_patience(patience)
    }

    /// Publishes a message to a channel and waits until the broker has it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the broker says no, [`Error::Unavailable`] when none was reached in time,
    /// [`Error::OutcomeUnknown`] when it went out and no answer came.
    pub async fn publish(&self, channel: impl Into<String>, message: impl Into<Message>) -> Result<Published> {
        let request = v1::PublishRequest { channel: channel.into(), ..message.into().into_request() };
        check_size(request.encoded_len())?;
        let result = self.call(Effect::Changes, request, |mut grpc, request| async move { grpc.publish(request).await }).await?;
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
        let result = self.call(Effect::Changes, request, |mut grpc, request| async move { grpc.publish(request).await }).await?;
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
        let response = self.call(Effect::Changes, request, |mut grpc, request| async move { grpc.publish_batch(request).await }).await?;
        Ok(response.outcomes.into_iter().map(outcome).collect())
    }

    /// Opens a stream for publishing many messages with at most `in_flight` (at least one) of them unanswered. Must be
    /// called inside a tokio runtime.
    #[must_use]
    pub fn publish_stream(&self, in_flight: usize) -> PublishStream {
        PublishStream::open(self.clone(), in_flight)
    }

    /// Listens to channels: from now on, or from where the returned [`Subscribe`] is told. Await it to begin.
    pub fn subscribe<C: Into<String>>(&self, channels: impl IntoIterator<Item = C>) -> Subscribe {
        Subscribe::new(self.clone(), channels.into_iter().map(Into::into).collect())
    }

    /// Reads what a channel still holds, page by page. Await the returned [`HistoryQuery`] for a page.
    pub fn history(&self, channel: impl Into<String>) -> HistoryQuery {
        HistoryQuery::new(self.clone(), channel.into())
    }

    /// Tells who is on a channel, page by page. Await the returned [`PresenceQuery`] for a page.
    pub fn presence(&self, channel: impl Into<String>) -> PresenceQuery {
        PresenceQuery::new(self.clone(), channel.into())
    }

    /// Lists the channels there are, page by page. Await the returned [`ChannelsQuery`] for a page.
    pub fn channels(&self) -> ChannelsQuery {
        ChannelsQuery::new(self.clone())
    }

    /// Tells how the cluster looks from the broker that answers. Needs a key that may administer every channel.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn cluster_info(&self) -> Result<ClusterInfo> {
        let request = v1::ClusterInfoRequest {};
        let told = self.call(Effect::Reads, request, |mut grpc, request| async move { grpc.cluster_info(request).await }).await?;
        Ok(told.into())
    }

    /// Forgets a channel's messages and returns the cursor where it stands now. Who resumes from before is told by a gap.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn clear(&self, channel: impl Into<String>) -> Result<String> {
        let request = v1::ClearRequest { channel: channel.into() };
        let response = self.call(Effect::Changes, request, |mut grpc, request| async move { grpc.clear(request).await }).await?;
        Ok(response.cursor)
    }

    /// How long one call is tried.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The connection.
    pub(crate) fn link(&self) -> &Link {
        &self.link
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
    pub(crate) async fn call<T, U, F>(&self, effect: Effect, message: T, call: impl Fn(BrokerClient<Channel>, Request<T>) -> F) -> Result<U>
    where
        T: Clone,
        F: Future<Output = Result<Response<U>, Status>>,
    {
        let mut tries = Tries::new(effect, self.patience);
        loop {
            let line = self.link.line();
            let try_deadline = tries.deadline.min(Instant::now() + TRY_MAX);
            let failure = match timeout_at(try_deadline, call(line.grpc.clone(), self.request(message.clone()))).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Failure::of(&status),
                Err(_) => {
                    self.link.replace(&line);
                    Failure::silence()
                }
            };
            tokio::time::sleep(tries.failed(failure)?).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_cannot_stand_in_a_header_is_refused() {
        let client = Client::connect_lazy("127.0.0.1:1").unwrap();
        assert_eq!(client.clone().with_key("a\nb").unwrap_err(), Error::Key);
        assert!(!format!("{:?}", client.with_key("secret").unwrap()).contains("secret"), "a key must not reach a log");
    }

    #[tokio::test]
    async fn another_patience_is_for_one_call_and_has_the_same_bound() {
        let client = Client::connect_lazy("127.0.0.1:1").unwrap().with_patience(Duration::from_secs(3));
        assert_eq!(client.within(Duration::MAX).patience(), PATIENCE_MAX);
        assert_eq!(client.patience(), Duration::from_secs(3));
    }
}
