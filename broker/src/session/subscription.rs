//! A subscription: channels by slot, and the position reached in each.

use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use crate::error::{Error, ErrorCode, Result};
use crate::hub::{Channel, Hub, ReadOn};
use crate::log::{CURSOR_SLOTS_MAX, Cursor, Entry, Gap, Page, PageLimit, Pos, Slot, SlotCursor, Start};
use crate::message::ChannelName;

use super::since::{Since, Starts};

/// How often a channel is opened again that was given up before somebody listened.
const OPENINGS_MAX: usize = 8;

/// How long a listener's cursor remembers branches that this node's line never took over: they are lost by then, and to be told
/// one's own cursor with each message costs more than the message's.
const OWN_AGE: Duration = Duration::from_secs(15 * 60);

/// How much one client may listen to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Channels.
    pub channels: usize,
    /// Slots; never more than a cursor holds.
    pub slots: usize,
}

impl Bounds {
    /// Refuses more channels than allowed.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn check_channels(self, channels: usize) -> Result<()> {
        if channels > self.channels {
            return Err(Error::invalid(format!(
                "one subscription takes at most {} channels (limits.subscribe_channels), {channels} were asked for",
                self.channels
            )));
        }
        Ok(())
    }

    /// Refuses what is more than allowed.
    fn check(self, channels: usize, slots: usize) -> Result<()> {
        self.check_channels(channels)?;
        let slots_max = self.slots.min(CURSOR_SLOTS_MAX);
        if slots > slots_max {
            return Err(Error::invalid(format!(
                "one subscription spans at most {slots_max} slots (limits.subscribe_slots), these channels span {slots}; \
                 channels with the same {{tag}} in their names share a slot"
            )));
        }
        Ok(())
    }
}

/// One channel of a subscription.
#[derive(Clone, Debug)]
pub struct Member {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Entries up to this index are not wanted, though the slot's position may be lower (`last=N`, or another channel of
    /// the slot that began further back).
    pub from: u64,
}

/// Where one channel starts.
struct JoinedMember {
    after: Pos,
    extras: Vec<Pos>,
    is_own: bool,
    gap: Option<Gap>,
    recovered: bool,
}

impl Member {
    /// As [`Member::join`]. A channel that nobody listens to may be given up in any moment, and is opened again then.
    fn join_alive(&mut self, hub: &Hub, since: &Since) -> Result<JoinedMember> {
        for _ in 0..OPENINGS_MAX {
            if let Some(joined) = self.join(hub, since) {
                return Ok(joined);
            }
            self.channel = hub.open(&self.channel.name)?;
        }
        Err(channel_gone())
    }

    /// Takes the position that `since` asks for. `None` when the handle died.
    fn join(&mut self, hub: &Hub, since: &Since) -> Option<JoinedMember> {
        let slot = self.channel.slot;
        // What a channel without history still keeps is not for those who come now.
        let is_shown = self.channel.has_history || matches!(since, Since::Cursor(_));
        let start = if is_shown { since.start(slot) } else { Start::Live };
        let joined = hub.join(slot, std::slice::from_ref(&self.channel), &start)?;
        let after = joined.after;
        self.from = joined.from.first().map_or(after.idx, |from| (*from).max(after.idx));
        // A node alone never meets another branch of its line again, so there is nothing to compare with extras.
        let (extras, is_own) = if hub.is_shared() { (joined.extras, joined.is_own) } else { (Vec::new(), false) };
        Some(JoinedMember { after, extras, is_own, gap: joined.gaps.first().map(|(_, gap)| *gap), recovered: joined.recovered })
    }
}

/// The channels of one slot. They share one position: entries come in index order, whatever their channel.
#[derive(Clone, Debug)]
pub struct Group {
    /// The slot.
    pub slot: Slot,
    /// Everything wanted up to here was handed on.
    pub pos: Pos,
    /// Branches seen beside the line, and hints; empty as long as nobody ever took the slot over.
    pub extras: Vec<Pos>,
    /// Since when the cursor says more than the messages' own do: the listener knows of a branch that the line has not taken
    /// over. Until it has, messages go to this listener with its own cursor.
    pub own_since: Option<Duration>,
    /// The channels.
    pub members: SmallVec<[Member; 1]>,
}

impl Group {
    fn new(slot: Slot, pos: Pos) -> Self {
        Self { slot, pos, extras: Vec::new(), own_since: None, members: SmallVec::new() }
    }

    /// Reads on from the group's position and advances it. `None` when a channel's state was given up meanwhile,
    /// which cannot happen while somebody listens to it.
    #[must_use]
    pub fn read(&mut self, hub: &Hub, limit: PageLimit) -> Option<(Vec<News>, bool)> {
        if hub.is_shared() { self.read_shared(hub, limit) } else { self.read_own(hub, limit) }
    }

    fn read_own(&mut self, hub: &Hub, limit: PageLimit) -> Option<(Vec<News>, bool)> {
        let from: SmallVec<[(Arc<Channel>, u64); 4]> =
            self.members.iter().map(|member| (member.channel.clone(), self.pos.idx.max(member.from))).collect();
        let page = hub.read(self.slot, &from, limit)?;
        self.pos = page.upto;
        let at_head = page.at_head;
        Some((self.news(page), at_head))
    }

    /// On a line that other nodes write too: it may have left the branch that this listener read.
    fn read_shared(&mut self, hub: &Hub, limit: PageLimit) -> Option<(Vec<News>, bool)> {
        let mut news = Vec::new();
        // Once is enough, unless the line turns again in this very moment.
        for _ in 0..3 {
            let from: SmallVec<[(Arc<Channel>, u64); 4]> =
                self.members.iter().map(|member| (member.channel.clone(), self.pos.idx.max(member.from))).collect();
            let mut cursor = self.cursor();
            match hub.read_on(&mut cursor, &from, limit)? {
                ReadOn::Page(page, is_own) => {
                    let at_head = page.at_head;
                    news.extend(self.news(page));
                    (self.pos, self.extras) = (cursor.main, cursor.extras);
                    self.note_own(is_own, hub);
                    return Some((news, at_head));
                }
                ReadOn::Off => news.extend(self.take_up(hub)?),
            }
        }
        Some((news, false))
    }

    /// Joins anew with the cursor. What is missed by that is news.
    fn take_up(&mut self, hub: &Hub) -> Option<Vec<News>> {
        let channels: Vec<Arc<Channel>> = self.members.iter().map(|member| member.channel.clone()).collect();
        let joined = hub.join(self.slot, &channels, &Start::After(self.cursor()))?;
        (self.pos, self.extras) = (joined.after, joined.extras);
        self.note_own(joined.is_own, hub);
        for (member, from) in self.members.iter_mut().zip(&joined.from) {
            member.from = *from;
        }
        let gaps = joined.gaps.iter();
        Some(gaps.filter_map(|gap| Hub::gap_channel(&channels, gap).map(|channel| News::Gap(channel.clone(), gap.1))).collect())
    }

    fn news(&self, page: Page) -> Vec<News> {
        let mut news = Vec::with_capacity(page.gaps.len() + page.entries.len());
        for (key, gap) in &page.gaps {
            if let Some(member) = self.members.iter().find(|member| member.channel.key == *key) {
                news.push(News::Gap(member.channel.clone(), *gap));
            }
        }
        let mut own = self.own_since.map(|_| self.cursor());
        news.extend(page.entries.into_iter().map(|entry| {
            let own = own.as_mut().map(|cursor| {
                cursor.pass(&entry);
                Box::new(cursor.clone())
            });
            News::Message(entry, own)
        }));
        news
    }

    /// Moves past a message that was handed on. Returns the cursor to tell with it, when its own would say too little.
    pub fn pass(&mut self, entry: &Entry) -> Option<SlotCursor> {
        if self.own_since.is_none() {
            // Where an epoch begins everybody reads the log, so the extras stay as they are.
            self.pos = entry.pos;
            return None;
        }
        let mut cursor = self.cursor();
        cursor.pass(entry);
        (self.pos, self.extras) = (cursor.main, cursor.extras.clone());
        Some(cursor)
    }

    fn note_own(&mut self, is_own: bool, hub: &Hub) {
        self.own_since = is_own.then(|| self.own_since.unwrap_or_else(|| hub.clock().mono()));
    }

    /// Moves to the commit if nothing wanted lies between. `true` when the cursor is another one now.
    fn refresh(&mut self, hub: &Hub) -> bool {
        let mut cursor = self.cursor();
        let mut is_moved = hub.move_quiet(&mut cursor, self.members.iter().map(|member| &*member.channel));
        if self.own_since.is_some_and(|since| hub.clock().mono().saturating_sub(since) > OWN_AGE) {
            hub.disown(&mut cursor);
            self.own_since = None;
            is_moved = true;
        }
        if is_moved {
            (self.pos, self.extras) = (cursor.main, cursor.extras);
        }
        is_moved
    }

    /// As [`Group::read`], for who may not listen yet: a channel that was given up meanwhile is opened again, and had nothing.
    fn read_alive(&mut self, hub: &Hub, limit: PageLimit) -> Result<(Vec<News>, bool)> {
        for _ in 0..OPENINGS_MAX {
            if let Some(page) = self.read(hub, limit) {
                return Ok(page);
            }
            for member in &mut self.members {
                member.channel = hub.open(&member.channel.name)?;
            }
        }
        Err(channel_gone())
    }

    /// Takes one more channel in. All share the lower of the two positions; what the others had beyond it they do not get
    /// again.
    fn add(&mut self, member: Member, after: Pos) {
        if after.idx < self.pos.idx {
            for known in &mut self.members {
                known.from = known.from.max(self.pos.idx);
            }
            self.pos = after;
        }
        self.members.push(member);
    }

    /// What one more channel's listener has not seen, the group has not seen: rather twice than never.
    fn see(&mut self, extras: &[Pos]) {
        self.extras.retain_mut(|known| {
            let other = extras.iter().find(|extra| extra.epoch == known.epoch);
            known.idx = other.map_or(0, |other| known.idx.min(other.idx));
            known.idx > 0
        });
    }

    fn cursor(&self) -> SlotCursor {
        SlotCursor { slot: self.slot, main: self.pos, extras: self.extras.clone() }
    }
}

/// What a listener is told next.
#[derive(Clone, Debug)]
pub enum News {
    /// A message, and the cursor to tell with it when its own would say too little.
    Message(Arc<Entry>, Option<Box<SlotCursor>>),
    /// Messages of this channel are missing before what follows.
    Gap(Arc<Channel>, Gap),
}

/// How a subscription began.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What was missed, to be declared before anything else.
    pub gaps: Vec<(Arc<Channel>, Gap)>,
    /// Cursors were given and nothing was missed.
    pub recovered: bool,
}

/// How one more channel began.
#[derive(Clone, Debug)]
pub struct Added {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Its place among all channels, slot by slot.
    pub at: usize,
    /// Where the client may come back to for this channel.
    pub cursor: Cursor,
    /// What was missed, to be declared before anything else of the channel.
    pub gap: Option<Gap>,
    /// A cursor was given and nothing was missed.
    pub recovered: bool,
    /// Nothing is there to replay.
    pub is_live: bool,
}

/// The channels a client listens to and how far it has come.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// One per slot, in slot order.
    pub groups: SmallVec<[Group; 1]>,
}

impl Subscription {
    /// A subscription to nothing yet.
    #[must_use]
    pub fn none() -> Self {
        Self { groups: SmallVec::new() }
    }

    /// Whether one client may listen to all of these; nothing is looked up for it.
    ///
    /// # Errors
    /// `invalid_request` without a channel or with too many channels or slots.
    pub fn check(names: &[ChannelName], bounds: Bounds) -> Result<()> {
        Self::slots(names, bounds).map(drop)
    }

    fn slots(names: &[ChannelName], bounds: Bounds) -> Result<Vec<Slot>> {
        if names.is_empty() {
            return Err(Error::invalid("name at least one channel: ?channel=NAME"));
        }
        bounds.check_channels(names.len())?;
        let mut slots: Vec<Slot> = names.iter().map(Slot::of).collect();
        slots.sort_unstable();
        slots.dedup();
        bounds.check(names.len(), slots.len())?;
        Ok(slots)
    }

    /// Looks the channels up, once each, and groups them by slot. Nothing is joined yet.
    ///
    /// # Errors
    /// As [`Self::check`], and `overloaded` at the bound of channels.
    pub fn open(hub: &Hub, names: &[ChannelName], bounds: Bounds) -> Result<Self> {
        let slots = Self::slots(names, bounds)?;
        let mut groups: SmallVec<[Group; 1]> = slots.into_iter().map(|slot| Group::new(slot, hub.commit(slot))).collect();
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

    /// Takes the position that `starts` asks for in every channel.
    ///
    /// # Errors
    /// `overloaded` when a channel's state was given up between opening and joining; opening again helps.
    pub fn join(&mut self, hub: &Hub, starts: &Starts) -> Result<Joined> {
        let mut gaps = Vec::new();
        let mut recovered = true;
        for group in &mut self.groups {
            let members = std::mem::take(&mut group.members);
            (group.extras, group.own_since) = (Vec::new(), None);
            for (nth, mut member) in members.into_iter().enumerate() {
                let since = starts.of(&member.channel.name);
                let joined = member.join_alive(hub, since)?;
                recovered &= joined.recovered || (starts.has_cursor() && !matches!(since, Since::Cursor(_)));
                gaps.extend(joined.gap.map(|gap| (member.channel.clone(), gap)));
                if nth == 0 {
                    (group.pos, group.extras) = (joined.after, joined.extras.clone());
                }
                group.add(member, joined.after);
                group.see(&joined.extras);
                group.note_own(group.own_since.is_some() || joined.is_own, hub);
            }
        }
        Ok(Joined { gaps, recovered })
    }

    /// Whether one more channel may be added.
    ///
    /// # Errors
    /// `invalid_request` when it is there already, or would be one too many.
    pub fn may_add(&self, name: &ChannelName, bounds: Bounds) -> Result<()> {
        if self.channels().any(|channel| channel.name == *name) {
            return Err(Error::invalid("this channel is subscribed to already; unsubscribe from it first"));
        }
        let is_new_slot = !self.groups.iter().any(|group| group.slot == Slot::of(name));
        bounds.check(self.channels().count() + 1, self.groups.len() + usize::from(is_new_slot))
    }

    /// Adds one channel that [may be added](Self::may_add), and joins it.
    ///
    /// # Errors
    /// `overloaded` at the bound of channels, or when the channel's state was given up in this moment.
    pub fn add(&mut self, hub: &Hub, name: &ChannelName, since: &Since) -> Result<Added> {
        let mut member = Member { channel: hub.open(name)?, from: 0 };
        let JoinedMember { after, extras, is_own, gap, recovered } = member.join_alive(hub, since)?;
        let channel = member.channel.clone();
        let slot = channel.slot;
        let is_live = matches!(since.start(slot), Start::Live) || (gap.is_none() && member.from >= hub.commit(slot).idx);
        // Who is cut off before it was told of the gap must be told when it comes back: so it comes back from where it was.
        let before = if let (Since::Cursor(cursor), Some(_)) = (since, gap) { cursor.get(slot).cloned() } else { None };
        let cursor = Cursor::from(before.unwrap_or_else(|| SlotCursor { slot, main: after, extras: extras.clone() }));
        let nth = self.groups.partition_point(|group| group.slot < slot);
        match self.groups.get_mut(nth).filter(|group| group.slot == slot) {
            Some(group) => {
                group.add(member, after);
                // Who begins here has nothing to miss of what others saw before.
                if matches!(since, Since::Cursor(_)) {
                    group.see(&extras);
                }
                group.note_own(group.own_since.is_some() || is_own, hub);
            }
            None => {
                let mut group = Group { extras, members: smallvec![member], ..Group::new(slot, after) };
                group.note_own(is_own, hub);
                self.groups.insert(nth, group);
            }
        }
        let at = self.groups[..=nth].iter().map(|group| group.members.len()).sum::<usize>() - 1;
        Ok(Added { channel, at, cursor, gap, recovered, is_live })
    }

    /// Takes one channel out, and says where it stood among all. `None` when it was not there.
    pub fn remove(&mut self, name: &ChannelName) -> Option<usize> {
        let at = self.channels().position(|channel| channel.name == *name)?;
        let nth = self.groups.iter().position(|group| group.members.iter().any(|member| member.channel.name == *name))?;
        self.groups[nth].members.retain(|member| member.channel.name != *name);
        if self.groups[nth].members.is_empty() {
            self.groups.remove(nth);
        }
        Some(at)
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
            let (page, reached) = group.read_alive(hub, left)?;
            at_head &= reached;
            for message in &page {
                if let News::Message(entry, _) = message {
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
            moved |= group.refresh(hub);
        }
        moved
    }

    /// The cursor that resumes here; `None` without any channel.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let mut groups = self.groups.iter().map(Group::cursor);
        let mut cursor = Cursor::from(groups.next()?);
        for slot in groups {
            cursor.insert(slot).expect("a subscription spans no more slots than a cursor does");
        }
        Some(cursor)
    }

    /// Every channel, slot by slot.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.groups.iter().flat_map(|group| group.members.iter().map(|member| &member.channel))
    }

    /// Every channel, slot by slot, and the index in its slot's log up to which it was handed on.
    pub fn places(&self) -> impl Iterator<Item = (&Arc<Channel>, u64)> {
        self.groups.iter().flat_map(|group| group.members.iter().map(|member| (&member.channel, group.pos.idx.max(member.from))))
    }

    /// Messages kept for it that were not handed on yet. Takes the lock of each channel's slot.
    #[must_use]
    pub fn lacks(&self, hub: &Hub) -> u64 {
        self.places().map(|(channel, after)| hub.kept_after(channel, after)).sum()
    }

    /// Whether a message's own cursor is the session's cursor too.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.groups.len() == 1 && self.groups[0].own_since.is_none()
    }
}

fn channel_gone() -> Error {
    Error::new(ErrorCode::Overloaded, "the channel was given up in this very moment; try again")
}
