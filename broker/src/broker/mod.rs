//! The one door: what fronts, gRPC, the HTTP API, the admin room and an embedding program hold, and nothing deeper.

mod subscription;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
use crate::hub::{self, ATTEND_LIMIT, Hub, WHO_LIMIT, Way};
use crate::log::{Cursor, CursorText, Entry, Gap, PageLimit, Pos, Slot, Trail};
use crate::message::{ChannelName, Draft, MessageId};
use crate::metrics::Metrics;
use crate::presence::{self, Member, Notice};
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
    /// What its cursor says besides its position.
    pub trail: Trail,
}

impl Published {
    /// A cursor that resumes right after this message.
    #[must_use]
    pub fn cursor(&self) -> CursorText {
        match self.trail.ends() {
            [] => CursorText::of(self.slot, self.pos),
            ends => CursorText::trailing(self.slot, self.pos, ends),
        }
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
        match self.known() {
            Known::Published(published) => Ok(published),
            Known::NotYet(Self(hub::Receipt { channel, slot, way })) => {
                let hub::Placed { pos, offset, id, copies, duplicate, trail } = way.committed().await?;
                Ok(Published { channel, slot, pos, offset, id, copies, duplicate, trail })
            }
        }
    }

    /// The same for who does not wait: one node commits with the append.
    #[must_use]
    pub fn known(self) -> Known {
        match self.0 {
            hub::Receipt { channel, slot, way: Way::Here(placed, None) } => {
                let hub::Placed { pos, offset, id, copies, duplicate, trail } = placed;
                Known::Published(Published { channel, slot, pos, offset, id, copies, duplicate, trail })
            }
            receipt => Known::NotYet(Self(receipt)),
        }
    }
}

/// What a receipt says without a wait.
#[derive(Debug)]
pub enum Known {
    /// It is committed.
    Published(Published),
    /// Its commit is still to come.
    NotYet(Receipt),
}

/// What became of an append that does not wait.
#[derive(Debug)]
pub enum Attempt {
    /// The message is in the log.
    Appended(Receipt),
    /// Some shard that listens has no room for it now.
    NoRoom(Draft),
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
    /// Shards and streams that listen to it, on all nodes that were asked.
    pub listeners: u64,
    /// Of these, those of this node.
    pub listeners_here: u64,
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
    /// Nodes that were asked and did not answer in time: channels that only they hold are missing here.
    pub silent_nodes: Vec<String>,
}

/// What to listen to.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The channels; repeated names count once.
    pub channels: Vec<ChannelName>,
    /// From where.
    pub since: Since,
    /// As whom others see the listener on channels whose namespace has presence; nobody sees one without.
    pub member: Option<Member>,
    /// Whether to tell who is there, who joins and who leaves.
    pub presence: bool,
}

impl Subscribe {
    /// To these, from there, seen by nobody and told of nobody.
    #[must_use]
    pub fn to(channels: Vec<ChannelName>, since: Since) -> Self {
        Self { channels, since, member: None, presence: false }
    }

    /// From now on; another start is set by the field.
    ///
    /// # Errors
    /// `invalid_request` for a name that is none.
    pub fn live<N: AsRef<str>>(channels: impl IntoIterator<Item = N>) -> Result<Self> {
        let channels = channels.into_iter().map(|name| ChannelName::parse(name.as_ref())).collect::<Result<_>>()?;
        Ok(Self::to(channels, Since::Live))
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
    /// Who is on this channel, or who joined and left; it has no place among the messages.
    Presence {
        /// Which channel.
        channel: ChannelName,
        /// All of it, or what changed.
        notice: Notice,
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
    /// `too_large` for a payload over its namespace's bound, `invalid_request` for one of a kind that it does not take, `overloaded` at a bound of the node, `draining` when it stopped, or is to leave and is cut off from the others.
    pub async fn publish(&self, draft: Draft) -> Result<Published> {
        let receipt = match self.append_at_once(draft)? {
            Attempt::Appended(receipt) => receipt,
            Attempt::NoRoom(draft) => Box::pin(self.append_in_time(draft)).await?,
        };
        match receipt.known() {
            Known::Published(published) => Ok(published),
            Known::NotYet(receipt) => Box::pin(receipt.committed()).await,
        }
    }

    /// Puts a message into the log; its order is given when this returns. For publishers that do not wait for each
    /// commit before they send the next.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub async fn append(&self, draft: Draft) -> Result<Receipt> {
        match self.append_at_once(draft)? {
            Attempt::Appended(receipt) => Ok(receipt),
            // Boxed here and above: hardly any publish waits, and each would carry the room for it.
            Attempt::NoRoom(draft) => Box::pin(self.append_in_time(draft)).await,
        }
    }

    /// Waits for room, and appends.
    async fn append_in_time(&self, draft: Draft) -> Result<Receipt> {
        let Shared { hub, limits, metrics, .. } = &*self.shared;
        let limit = limits.load().publish_wait;
        if let Some(waited) = hub.way(Slot::of(&draft.channel), limit).await? {
            metrics.publish_waited(waited);
        }
        if let Some(channel) = hub.find(&draft.channel)
            && let Some(waited) = hub.room(&channel, limit).await?
        {
            metrics.publish_waited(waited);
        }
        hub.append(draft).map(Receipt)
    }

    /// The same, unless there is no room: then nothing has happened, and [`Broker::append`] waits for it.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn append_at_once(&self, draft: Draft) -> Result<Attempt> {
        let Shared { hub, is_closed, .. } = &*self.shared;
        if is_closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorCode::Draining, "this broker has stopped"));
        }
        self.check(&draft)?;
        if hub.is_shared() && !hub.has_way(Slot::of(&draft.channel)) {
            return Ok(Attempt::NoRoom(draft));
        }
        let appended = match hub.find(&draft.channel) {
            Some(channel) if !hub.has_room(&channel) => return Ok(Attempt::NoRoom(draft)),
            Some(channel) => hub.append_to(channel, draft),
            None => hub.append(draft),
        };
        appended.map(|receipt| Attempt::Appended(Receipt(receipt)))
    }

    /// Whether a client that listens to the channel hears what it publishes there itself.
    #[must_use]
    pub fn echoes(&self, channel: &ChannelName) -> bool {
        self.shared.hub.rules().echoes(channel)
    }

    /// Whether the draft's namespace takes it.
    fn check(&self, draft: &Draft) -> Result<()> {
        let book = self.shared.hub.rules();
        let rules = book.of(&draft.channel).1;
        let (payload, payload_max) = (draft.payload.bytes().len(), rules.payload_bytes);
        if payload > payload_max {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!("the payload has {payload} bytes, this namespace takes {payload_max} (payload_bytes)"),
            ));
        }
        if !rules.payload_kinds.has(draft.payload.kind()) {
            let what = format!("this namespace takes no {} payloads (payload_kinds)", draft.payload.kind().as_str());
            return Err(Error::invalid(what));
        }
        Ok(())
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
                let (entries, cursor, gap) = hub.history(channel, query.since.as_ref(), limit).await;
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
        let wanted = self.wanted(query);
        together(self.shared.hub.channels_here(&wanted), Vec::new(), wanted.limit)
    }

    /// The channels with state on any node of the cluster, by name, and which nodes did not answer within a second.
    pub async fn channels_everywhere(&self, query: &ChannelsQuery) -> ChannelsPage {
        let (hub, wanted) = (&self.shared.hub, self.wanted(query));
        let told = hub.channels_elsewhere(&wanted).await;
        together(hub.channels_here(&wanted), told, wanted.limit)
    }

    fn wanted(&self, query: &ChannelsQuery) -> hub::Wanted {
        let limit = query.limit.clamp(1, self.shared.limits.load().page_messages);
        hub::Wanted { prefix: query.prefix.clone(), after: query.after.clone(), limit }
    }

    /// Whether a part of the cluster may go on without this node, so that what is published there comes late.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.shared.hub.is_degraded()
    }

    /// Whether one subscription may be to so many channels: told before they are looked at one by one.
    ///
    /// # Errors
    /// `invalid_request`.
    pub(crate) fn check_subscribe_channels(&self, count: usize) -> Result<()> {
        self.shared.limits.load().subscribe.check_channels(count)
    }

    /// Listens to channels from any runtime. The shards' sockets are faster; this is for gRPC and for embedding.
    ///
    /// # Errors
    /// `invalid_request` without a channel or with too many, and for a member that no token could name, `overloaded` at the bound of channels, and in a cluster when a
    /// channel is kept elsewhere and that node does not answer.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription> {
        let Shared { hub, limits, .. } = &*self.shared;
        subscribe.member.as_ref().map_or(Ok(()), Member::check)?;
        // Before other nodes are asked for what they keep of each.
        session::Subscription::check(&subscribe.channels, limits.load().subscribe)?;
        let _attendance = hub.attend(&subscribe.channels, ATTEND_LIMIT).await?;
        let glance = session::Glance::at(hub, &subscribe.channels);
        let state = session::Subscription::open(hub, &subscribe.channels, limits.load().subscribe)?;
        if subscribe.presence {
            state.channels().try_for_each(|channel| hub.check_join_leave(&channel.name))?;
        }
        let mut presence = None;
        let since = subscribe.presence.then_some(0);
        for channel in state.channels() {
            session::Presence::enter(&mut presence, hub, &channel.name, subscribe.member.as_ref(), since)?;
        }
        let begun = Subscription::begin(hub.clone(), state, &subscribe.since, presence, self.shared.closed.clone());
        drop(glance);
        begun
    }

    /// Whether it is known who is on a channel.
    #[must_use]
    pub fn has_presence(&self, channel: &ChannelName) -> bool {
        self.shared.hub.has_presence(channel)
    }

    /// A page of who is on a channel, on whatever node of the cluster.
    ///
    /// # Errors
    /// `invalid_request` when the channel's namespace has no presence; in a cluster `overloaded`, when the node that knows does
    /// not answer.
    pub async fn presence(&self, channel: &ChannelName, query: presence::Query) -> Result<presence::Page> {
        let Shared { hub, limits, .. } = &*self.shared;
        hub.check_presence(channel)?;
        let limit = query.limit.min(limits.load().page_messages).min(presence::BATCH);
        hub.who(channel, presence::Query { limit, ..query }, WHO_LIMIT).await
    }
}

/// One list of what all nodes told, in which each channel stands once, as the node knows it that has most of it. Each told its first
/// `limit`, so that the first `limit` of all are among them.
fn together(here: hub::Rows, told: Vec<hub::Told>, limit: usize) -> ChannelsPage {
    let mut has_more = here.has_more;
    let mut channels: BTreeMap<ChannelName, ChannelInfo> = BTreeMap::new();
    let mut silent_nodes = Vec::new();
    let mut take = |rows: Vec<hub::Row>, is_here: bool| {
        for row in rows {
            let listeners_here = if is_here { row.listening } else { 0 };
            let known = channels.entry(row.channel.clone()).or_insert_with(|| ChannelInfo {
                channel: row.channel,
                offset: 0,
                messages: 0,
                bytes: 0,
                listeners: 0,
                listeners_here: 0,
                cursor: row.cursor.clone(),
            });
            known.listeners += row.listening;
            known.listeners_here += listeners_here;
            if (row.offset, row.messages) > (known.offset, known.messages) {
                (known.offset, known.messages, known.bytes, known.cursor) = (row.offset, row.messages, row.bytes, row.cursor);
            }
        }
    };
    take(here.rows, true);
    for hub::Told { node, rows } in told {
        match rows {
            Some(rows) => {
                has_more |= rows.has_more;
                take(rows.rows, false);
            }
            None => silent_nodes.push(node),
        }
    }
    has_more |= channels.len() > limit;
    let channels: Vec<ChannelInfo> = channels.into_values().take(limit).collect();
    let next = channels.last().filter(|_| has_more).map(|info| info.channel.to_string());
    ChannelsPage { channels, next, silent_nodes }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("hub", &self.shared.hub).finish_non_exhaustive()
    }
}
