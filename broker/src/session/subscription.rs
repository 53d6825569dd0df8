//! A subscription: channels by slot, and the position reached in each.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::{Error, ErrorCode, Result};
use crate::hub::{Channel, Hub};
use crate::log::{CURSOR_SLOTS_MAX, Cursor, Entry, Gap, PageLimit, Pos, Slot, SlotCursor, Start};
use crate::message::ChannelName;

/// From where a client wants to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// From now on.
    Live,
    /// Everything kept, then live.
    Earliest,
    /// The newest N of each channel, then live.
    Last(u32),
    /// After this cursor; slots it does not name start live.
    Cursor(Cursor),
}

impl Since {
    fn start(&self, slot: Slot) -> Start {
        match self {
            Self::Live => Start::Live,
            Self::Earliest => Start::Earliest,
            Self::Last(count) => Start::Last(*count),
            Self::Cursor(cursor) => cursor.get(slot).map_or(Start::Live, |at| Start::After(at.clone())),
        }
    }
}

/// One channel of a subscription.
#[derive(Clone, Debug)]
pub struct Member {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Entries up to this index are not wanted, though the slot's position may be lower (`last=N`).
    pub from: u64,
}

/// The channels of one slot. They share one position: entries come in index order, whatever their channel.
#[derive(Clone, Debug)]
pub struct Group {
    /// The slot.
    pub slot: Slot,
    /// Everything wanted up to here was handed on.
    pub pos: Pos,
    /// Branches seen beside the line, and hints; empty as long as the line never split.
    pub extras: Vec<Pos>,
    /// The channels.
    pub members: SmallVec<[Member; 1]>,
}

impl Group {
    /// Reads on from the group's position and advances it. `None` when a channel's state was given up meanwhile,
    /// which cannot happen while somebody listens to it.
    #[must_use]
    pub fn read(&mut self, hub: &Hub, limit: PageLimit) -> Option<(Vec<News>, bool)> {
        let from: SmallVec<[(Arc<Channel>, u64); 4]> =
            self.members.iter().map(|member| (member.channel.clone(), self.pos.idx.max(member.from))).collect();
        let page = hub.read(self.slot, &from, limit)?;
        let mut news = Vec::with_capacity(page.gaps.len() + page.entries.len());
        for (key, gap) in &page.gaps {
            if let Some(member) = self.members.iter().find(|member| member.channel.key == *key) {
                news.push(News::Gap(member.channel.clone(), *gap));
            }
        }
        news.extend(page.entries.into_iter().map(News::Message));
        self.pos = page.upto;
        Some((news, page.at_head))
    }

    fn cursor(&self) -> SlotCursor {
        SlotCursor { slot: self.slot, main: self.pos, extras: self.extras.clone() }
    }
}

/// What a listener is told next.
#[derive(Clone, Debug)]
pub enum News {
    /// A message.
    Message(Arc<Entry>),
    /// Messages of this channel are missing before what follows.
    Gap(Arc<Channel>, Gap),
}

/// How a subscription began.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What was missed, to be declared before anything else.
    pub gaps: Vec<(Arc<Channel>, Gap)>,
    /// A cursor was given and nothing was missed.
    pub recovered: bool,
}

/// The channels a client listens to and how far it has come.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// One per slot, in slot order.
    pub groups: SmallVec<[Group; 1]>,
}

impl Subscription {
    /// Looks the channels up, once each, and groups them by slot. Nothing is joined yet.
    ///
    /// # Errors
    /// `invalid_request` without a channel or with too many channels or slots, `overloaded` at the bound of channels.
    pub fn open(hub: &Hub, names: &[ChannelName], channels_max: usize, slots_max: usize) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::invalid("name at least one channel: ?channel=NAME"));
        }
        if names.len() > channels_max {
            return Err(Error::invalid(format!(
                "one subscription takes at most {channels_max} channels (limits.subscribe_channels), {} were asked for",
                names.len()
            )));
        }
        let mut slots: Vec<Slot> = names.iter().map(Slot::of).collect();
        slots.sort_unstable();
        slots.dedup();
        let slots_max = slots_max.min(CURSOR_SLOTS_MAX);
        if slots.len() > slots_max {
            return Err(Error::invalid(format!(
                "one subscription spans at most {slots_max} slots (limits.subscribe_slots), these channels span {}; \
                 channels with the same {{tag}} in their names share a slot",
                slots.len()
            )));
        }
        let mut groups: SmallVec<[Group; 1]> =
            slots.into_iter().map(|slot| Group { slot, pos: hub.commit(slot), extras: Vec::new(), members: SmallVec::new() }).collect();
        for name in names {
            let channel = hub.open(name)?;
            if let Some(group) = groups.iter_mut().find(|group| group.slot == channel.slot)
                && !group.members.iter().any(|member| member.channel.name == channel.name)
            {
                group.members.push(Member { channel, from: 0 });
            }
        }
        Ok(Self { groups })
    }

    /// Takes the position that `since` asks for in every slot.
    ///
    /// # Errors
    /// `internal` when a channel's state was given up between opening and joining; opening again helps.
    pub fn join(&mut self, hub: &Hub, since: &Since) -> Result<Joined> {
        let mut declared = Vec::new();
        let mut recovered = true;
        for group in &mut self.groups {
            let channels: SmallVec<[Arc<Channel>; 4]> = group.members.iter().map(|member| member.channel.clone()).collect();
            let joined = hub.join(group.slot, &channels, &since.start(group.slot)).ok_or_else(channel_gone)?;
            group.pos = joined.after;
            // A cluster of one never meets another branch of its line again, so there is nothing to compare with them.
            group.extras = Vec::new();
            for (member, from) in group.members.iter_mut().zip(&joined.from) {
                // What a channel without history still keeps is not for those who come now.
                let is_shown = member.channel.has_history || matches!(since, Since::Cursor(_));
                member.from = if is_shown { *from } else { hub.commit(group.slot).idx };
            }
            recovered &= joined.recovered;
            for gap in &joined.gaps {
                if let Some(channel) = Hub::gap_channel(&channels, gap) {
                    declared.push((channel.clone(), gap.1));
                }
            }
        }
        Ok(Joined { gaps: declared, recovered })
    }

    /// Looks handles up again that died meanwhile. Once somebody listens to the channels, they cannot die any more.
    ///
    /// # Errors
    /// `overloaded` at the bound of channels.
    pub fn renew(&mut self, hub: &Hub) -> Result<()> {
        for member in self.groups.iter_mut().flat_map(|group| group.members.iter_mut()) {
            member.channel = hub.open(&member.channel.name)?;
        }
        Ok(())
    }

    /// Whether nothing is there to replay.
    #[must_use]
    pub fn is_live(&self, hub: &Hub) -> bool {
        self.groups
            .iter()
            .all(|group| group.pos == hub.commit(group.slot) && group.members.iter().all(|member| member.from <= group.pos.idx))
    }

    /// Reads one page over all slots, each from its position. The flag says whether all of them reached the head.
    ///
    /// # Errors
    /// `internal` when a channel's state was given up meanwhile, which cannot happen while somebody listens to it.
    pub fn read(&mut self, hub: &Hub, limit: PageLimit) -> Result<(Vec<News>, bool)> {
        let mut news = Vec::new();
        let mut at_head = true;
        let mut left = limit;
        for group in &mut self.groups {
            if left.entries == 0 || left.bytes == 0 {
                return Ok((news, false));
            }
            let (page, reached) = group.read(hub, left).ok_or_else(channel_gone)?;
            at_head &= reached;
            for message in &page {
                if let News::Message(entry) = message {
                    left.entries = left.entries.saturating_sub(1);
                    left.bytes = left.bytes.saturating_sub(entry.size() as usize);
                }
            }
            news.extend(page);
        }
        Ok((news, at_head))
    }

    /// Moves the position of quiet slots to their commit, so that the cursor does not age. `true` when one moved.
    pub fn refresh(&mut self, hub: &Hub) -> bool {
        let mut moved = false;
        for group in &mut self.groups {
            let channels = group.members.iter().map(|member| &*member.channel);
            if let Some(pos) = hub.quiet_position(group.slot, channels, group.pos.idx)
                && pos.idx > group.pos.idx
            {
                group.pos = pos;
                moved = true;
            }
        }
        moved
    }

    /// The cursor that resumes here.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let mut groups = self.groups.iter().map(Group::cursor);
        let mut cursor = Cursor::from(groups.next().expect("a subscription has at least one channel, and so one slot"));
        for slot in groups {
            cursor.insert(slot).expect("a subscription spans no more slots than a cursor does");
        }
        cursor
    }

    /// Every channel, slot by slot.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.groups.iter().flat_map(|group| group.members.iter().map(|member| &member.channel))
    }

    /// Whether one position says it all: then a message's own cursor is the session's cursor too.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.groups.len() == 1 && self.groups[0].extras.is_empty()
    }
}

fn channel_gone() -> Error {
    Error::new(ErrorCode::Overloaded, "the channel was given up in this very moment; try again")
}
