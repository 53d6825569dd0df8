//! Looking at what a broker holds, without listening.

use std::pin::Pin;

use tidings_proto::v1;

use crate::client::Client;
use crate::error::Result;
use crate::failure::Effect;
use crate::received::{Gap, Received};

/// The answer to a query that was awaited.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Which page of a channel's history; made by [`Client::history`], awaited for a [`Page`].
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is awaited"]
pub struct HistoryQuery {
    client: Client,
    request: v1::HistoryRequest,
}

impl HistoryQuery {
    pub(crate) fn new(client: Client, channel: String) -> Self {
        Self { client, request: v1::HistoryRequest { channel, ..v1::HistoryRequest::default() } }
    }

    /// Only what comes after this cursor: the last page's, to read on.
    pub fn since(mut self, cursor: impl Into<String>) -> Self {
        self.request.since = cursor.into();
        self
    }

    /// At most so many messages; 100 unless this is said, and at most what the broker's `limits.batch_messages` allows.
    pub fn limit(mut self, messages: u32) -> Self {
        self.request.limit = messages;
        self
    }

    /// The newest first.
    pub fn newest_first(mut self) -> Self {
        self.request.order = v1::Order::NewestFirst.into();
        self
    }
}

impl IntoFuture for HistoryQuery {
    type Output = Result<Page>;
    type IntoFuture = Answer<Page>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, request } = self;
            let page = client.call(Effect::Reads, request, |mut grpc, request| async move { grpc.history(request).await }).await?;
            let messages = page.messages.into_iter().map(Received::from).collect();
            Ok(Page { messages, cursor: page.cursor, gap: page.gap.map(Gap::from) })
        })
    }
}

/// A page of a channel's history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The messages, in the order asked for. Fewer than asked for do not mean that it was the last page: none do.
    pub messages: Vec<Received>,
    /// Where the next page goes on; with the newest first, where the channel stands, to listen from.
    pub cursor: String,
    /// What is missing between the cursor asked for and the first message here.
    pub gap: Option<Gap>,
}

/// Which channels; made by [`Client::channels`], awaited for a [`ChannelsPage`].
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is awaited"]
pub struct ChannelsQuery {
    client: Client,
    request: v1::ChannelsRequest,
}

impl ChannelsQuery {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, request: v1::ChannelsRequest::default() }
    }

    /// Only names that begin so.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.request.prefix = prefix.into();
        self
    }

    /// Only names after this one: the last page's [`ChannelsPage::next`], to read on.
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.request.after = name.into();
        self
    }

    /// At most so many; 100 unless this is said, and at most what the broker's `limits.batch_messages` allows.
    pub fn limit(mut self, channels: u32) -> Self {
        self.request.limit = channels;
        self
    }
}

impl IntoFuture for ChannelsQuery {
    type Output = Result<ChannelsPage>;
    type IntoFuture = Answer<ChannelsPage>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, request } = self;
            let page = client.call(Effect::Reads, request, |mut grpc, request| async move { grpc.channels(request).await }).await?;
            let channels = page.channels.into_iter().map(ChannelInfo::from).collect();
            Ok(ChannelsPage { channels, next: Some(page.next).filter(|next| !next.is_empty()), silent_nodes: page.silent_nodes })
        })
    }
}

/// A page of channels, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelsPage {
    /// The channels.
    pub channels: Vec<ChannelInfo>,
    /// What to give to [`ChannelsQuery::after`] for the next page; none when this was the last.
    pub next: Option<String>,
    /// In a cluster, the nodes that did not answer in time: channels that only they hold are missing here.
    pub silent_nodes: Vec<String>,
}

/// What there is to know of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Its name.
    pub channel: String,
    /// The number of its newest message; 0 when it never had one.
    pub offset: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// How many shards and streams listen to it, on all nodes that answered.
    pub listeners: u64,
    /// Its head: listening from here gives only what is new.
    pub cursor: String,
}

impl From<v1::ChannelInfo> for ChannelInfo {
    fn from(info: v1::ChannelInfo) -> Self {
        let v1::ChannelInfo { channel, offset, messages, bytes, listeners, cursor } = info;
        Self { channel, offset, messages, bytes, listeners, cursor }
    }
}
