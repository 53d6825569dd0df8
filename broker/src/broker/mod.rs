//! The one door: what fronts, gRPC, the HTTP API, the admin room and an embedding program hold, and nothing deeper.

mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
use crate::hub::{self, ATTEND_LIMIT, Hub};
use crate::log::{Cursor, CursorText, Entry, Gap, PageLimit, Pos, Slot};
use crate::message::{ChannelName, Draft, MessageId};
use crate::metrics::Metrics;
use crate::session;

pub use self::subscription::Subscription;
pub use crate::session::{Bounds, Since, retry_after};

/// Most bytes in one page of history, a single larger message excepted: what a caller asks for and then does not read
/// stays in memory, and gRPC clients take no more than 4 MiB at once by themselves.
const HISTORY_PAGE_BYTES: usize = 2 << 20;

/// Names to try for a channel whose home is here: many more than there are nodes.
const PROBE_NAMES_MAX: usize = 4096;

/// The broker of one node. A cheap handle.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    hub: Arc<Hub>,
    limits: ArcSwap<Limits>,
    metrics: Arc<Metrics>,
    /// The node has stopped. A flag beside the token, since publishers look at it and the token takes a lock.
    is_closed: AtomicBool,
    closed: CancellationToken,
}

/// What the door enforces.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait of a publisher for subscribers that are not served fast enough.
    pub publish_wait: Duration,
    /// How much one subscription may listen to.
    pub subscribe: session::Bounds,
    /// Messages in one page of history.
    pub page_messages: usize,
}

/// Where a published message went.
#[derive(Clone, Debug)]
pub struct Published {
    /// The channel.
    pub channel: ChannelName,
    /// Its slot.
    pub slot: Slot,
    /// The message's position.
    pub pos: Pos,
    /// Its number in the channel: 1, 2, 3 … for people; never a resume key.
    pub offset: u64,
    /// The id subscribers see.
    pub id: MessageId,
    /// Nodes that held it when it was acknowledged.
    pub copies: u32,
    /// The publish id was seen before: this is where the first one went, and nothing was published now.
    pub duplicate: bool,
}

impl Published {
    /// A cursor that resumes right after this message.
    #[must_use]
    pub fn cursor(&self) -> CursorText {
        CursorText::of(self.slot, self.pos)
    }
}

/// A message in the log whose commit is still to come.
#[derive(Debug)]
pub struct Receipt(hub::Receipt);

impl Receipt {
    /// Waits until it is committed: from then on subscribers see it.
    ///
    /// # Errors
    /// `internal` when the broker stopped first; whether the message is published is unknown then.
    pub async fn committed(self) -> Result<Published> {
        let (channel, slot) = (self.0.channel.clone(), self.0.slot);
        let hub::Placed { pos, offset, id, copies, duplicate } = self.0.committed().await?;
        Ok(Published { channel, slot, pos, offset, id, copies, duplicate })
    }
}

/// In which order a page of history comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they were published.
    #[default]
    OldestFirst,
    /// The newest first.
    NewestFirst,
}

/// Which part of a channel's history.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Only what came after it.
    pub since: Option<Cursor>,
    /// At most this many messages; the broker's own limit applies besides.
    pub limit: usize,
    /// In which order.
    pub order: Order,
}

/// A page of history.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The messages.
    pub entries: Vec<Arc<Entry>>,
    /// Where to read on (oldest first), or where the channel stands now (newest first).
    pub cursor: Cursor,
    /// What the cursor of the query missed, if anything.
    pub gap: Option<Gap>,
}

/// Which channels.
#[derive(Clone, Debug, Default)]
pub struct ChannelsQuery {
    /// Only names that begin so.
    pub prefix: String,
    /// Only names after this one, in byte order.
    pub after: Option<String>,
    /// At most this many; the broker's own limit applies besides.
    pub limit: usize,
}

/// What is known of a channel.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// Its name.
    pub channel: ChannelName,
    /// The newest offset given.
    pub offset: u64,
    /// Messages kept.
    pub messages: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Shards and streams of this node that listen to it.
    pub listeners: u64,
    /// Where it stands now.
    pub cursor: Cursor,
}

/// A page of channels, by name.
#[derive(Clone, Debug, Default)]
pub struct ChannelsPage {
    /// The channels.
    pub channels: Vec<ChannelInfo>,
    /// Give it as `after` for the next page; none when this was the last.
    pub next: Option<String>,
}

/// What to listen to.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The channels; repeated names count once.
    pub channels: Vec<ChannelName>,
    /// From where.
    pub since: Since,
}

impl Subscribe {
    /// From now on; another start is set by the field.
    ///
    /// # Errors
    /// `invalid_request` for a name that is none.
    pub fn live<N: AsRef<str>>(channels: impl IntoIterator<Item = N>) -> Result<Self> {
        let channels = channels.into_iter().map(|name| ChannelName::parse(name.as_ref())).collect::<Result<_>>()?;
        Ok(Self { channels, since: Since::Live })
    }
}

/// What a subscription hands out.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Messages, in order.
    Messages(Vec<Arc<Entry>>),
    /// Messages of this channel are missing before what follows.
    Gap {
        /// Which channel.
        channel: ChannelName,
        /// Why, and what is left.
        gap: Gap,
    },
    /// The stay is over; nothing follows.
    Closed(CloseReason),
}

impl Broker {
    /// Other limits from now on, for all who hold the door.
    pub(crate) fn limit(&self, limits: Limits) {
        self.shared.limits.store(Arc::new(limits));
    }

    /// A door to this hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let (is_closed, closed) = (AtomicBool::new(false), CancellationToken::new());
        Self { shared: Arc::new(Shared { hub, limits: ArcSwap::from_pointee(limits), metrics, is_closed, closed }) }
    }

    /// A channel of the broker's own on which it may find out whether it delivers; in a cluster one whose home is here. `None`
    /// when there is none, because this node takes no part in the cluster.
    pub(crate) fn probe_channel(&self) -> Option<ChannelName> {
        let Some(view) = self.shared.hub.view() else { return Some(ChannelName::internal("self")) };
        let is_here = |name: &ChannelName| view.place(Slot::of(name)).is_some_and(|place| place.home == view.me());
        (0..PROBE_NAMES_MAX).map(|nth| ChannelName::internal(format_args!("self-{nth}"))).find(is_here)
    }

    /// The node has stopped: nothing is published any more, and who listens here is told that it is over.
    pub(crate) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        self.shared.closed.cancel();
    }

    /// Publishes a message and waits until it is committed.
    ///
    /// # Errors
    /// `too_large` for a payload over its namespace's bound, `invalid_request` for one of a kind that it does not take, `overloaded` at a bound of the node, `draining` when it stopped.
    pub async fn publish(&self, draft: Draft) -> Result<Published> {
        self.append(draft).await?.committed().await
    }

    /// Puts a message into the log; its order is given when this returns. For publishers that do not wait for each
    /// commit before they send the next.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub async fn append(&self, draft: Draft) -> Result<Receipt> {
        let Shared { hub, limits, metrics, is_closed, .. } = &*self.shared;
        if is_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorCode::Draining, "this broker has stopped"));
        }
        let (payload_max, payload_kinds) = {
            let book = hub.rules();
            let rules = book.of(&draft.channel).1;
            (rules.payload_bytes, rules.payload_kinds)
        };
        let payload = draft.payload.bytes().len();
        if payload > payload_max {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!("the payload has {payload} bytes, this namespace takes {payload_max} (payload_bytes)"),
            ));
        }
        if !payload_kinds.has(draft.payload.kind()) {
            let what = format!("this namespace takes no {} payloads (payload_kinds)", draft.payload.kind().as_str());
            return Err(Error::invalid(what));
        }
        let Some(channel) = hub.find(&draft.channel) else { return hub.append(draft).map(Receipt) };
        if let Some(waited) = hub.room(&channel, limits.load().publish_wait).await? {
            metrics.publish_waited(waited);
        }
        hub.append_to(channel, draft).map(Receipt)
    }

    /// A page of a channel's history.
    ///
    /// # Errors
    /// In a cluster `overloaded`, when the channel is kept elsewhere and that node does not answer.
    pub async fn history(&self, channel: &ChannelName, query: &HistoryQuery) -> Result<HistoryPage> {
        let limit = PageLimit { entries: query.limit.clamp(1, self.shared.limits.load().page_messages), bytes: HISTORY_PAGE_BYTES };
        let hub = &self.shared.hub;
        let _attendance = hub.attend(std::slice::from_ref(channel), ATTEND_LIMIT).await?;
        hub.settle(Slot::of(channel)).await;
        Ok(match query.order {
            Order::OldestFirst => {
                let (entries, cursor, gap) = hub.history(channel, query.since.as_ref(), limit);
                HistoryPage { entries, cursor, gap }
            }
            Order::NewestFirst => {
                let (entries, cursor) = hub.newest(channel, query.since.as_ref(), limit);
                HistoryPage { entries, cursor, gap: None }
            }
        })
    }

    /// Forgets a channel's messages; whoever resumes from before is told so. Returns where the channel stands now.
    ///
    /// # Errors
    /// In a cluster as [`Receipt::committed`].
    pub async fn clear(&self, channel: &ChannelName) -> Result<Cursor> {
        self.shared.hub.clear(channel).await
    }

    /// The channels with state on this node, by name. The broker's own are not shown.
    #[must_use]
    pub fn channels(&self, query: &ChannelsQuery) -> ChannelsPage {
        let limit = query.limit.clamp(1, self.shared.limits.load().page_messages);
        let mut found = self.shared.hub.channels_where(|name| {
            !name.is_internal()
                && name.as_str().starts_with(&query.prefix)
                && query.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
        });
        let more = found.len() > limit;
        if more {
            found.select_nth_unstable_by(limit, |a, b| a.name.cmp(&b.name));
            found.truncate(limit);
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let next = found.last().filter(|_| more).map(|channel| channel.name.to_string());
        let stats = found.iter().filter_map(|channel| self.shared.hub.channel_stats(channel));
        let channels = stats.map(|stats| ChannelInfo {
            cursor: Cursor::single(stats.slot, stats.commit),
            channel: stats.channel,
            offset: stats.offset,
            messages: stats.messages,
            bytes: stats.bytes,
            listeners: stats.listening,
        });
        ChannelsPage { channels: channels.collect(), next }
    }

    /// Listens to channels from any runtime. The shards' sockets are faster; this is for gRPC and for embedding.
    ///
    /// # Errors
    /// `invalid_request` without a channel or with too many, `overloaded` at the bound of channels, and in a cluster when a
    /// channel is kept elsewhere and that node does not answer.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription> {
        let Shared { hub, limits, .. } = &*self.shared;
        let _attendance = hub.attend(&subscribe.channels, ATTEND_LIMIT).await?;
        let state = session::Subscription::open(hub, &subscribe.channels, limits.load().subscribe)?;
        Subscription::begin(hub.clone(), state, &subscribe.since, self.shared.closed.clone())
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("hub", &self.shared.hub).finish_non_exhaustive()
    }
}
