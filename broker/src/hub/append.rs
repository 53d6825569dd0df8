//! Publishing into a slot: wait for room, append, commit, deliver.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{Channel, Hub, Shared, SlotState};
use crate::clock::Moment;
use crate::cluster::core::Answer;
use crate::cluster::core::frame::{Ask, Done, Refusal};
use crate::error::{Error, ErrorCode, Result};
use crate::log::{Appended, ENTRY_FIXED_BYTES, Entry, Pos, SLOTS, Slot, Trail};
use crate::message::{ChannelName, Draft, MessageId};

/// How often a publish looks for room in other slots; what it finds, another one may take first.
const SEARCHES_MAX: u32 = 3;

/// When an appended record counts as committed.
#[derive(Debug)]
pub enum CommitRule {
    /// With the append itself: one node is a cluster of one.
    AtOnce,
    /// When [`Hub::commit_next`] says so. The queue holds (slot, index) in append order.
    Later(Mutex<std::collections::VecDeque<(Slot, u64)>>),
    /// When other nodes hold it too, and wherever its slot's home is.
    Shared(Box<Shared>),
}

/// Where a message stands.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its position, or the first one's when it is a duplicate.
    pub pos: Pos,
    /// Its offset in the channel.
    pub offset: u64,
    /// The id subscribers see.
    pub id: MessageId,
    /// Nodes that hold it.
    pub copies: u32,
    /// Whether the publish id was seen before; nothing was appended then.
    pub duplicate: bool,
    /// What its cursor says besides its position.
    pub trail: Trail,
}

/// A message whose turn is given, and the wait for its commit.
#[derive(Debug)]
pub struct Receipt {
    /// The channel's name.
    pub channel: ChannelName,
    /// The slot that orders it.
    pub slot: Slot,
    /// How its place becomes known.
    pub way: Way,
}

/// How the place of a message becomes known.
#[derive(Debug)]
pub enum Way {
    /// It is in the log of this node, committed or to be. One node commits with the append, so that there is nothing to wait for.
    Here(Placed, Option<oneshot::Receiver<()>>),
    /// The cluster was asked for it.
    Asked(oneshot::Receiver<Answer>),
}

impl Receipt {
    /// Where it stands, when that is known already.
    #[must_use]
    pub fn placed(&self) -> Option<&Placed> {
        match &self.way {
            Way::Here(placed, _) => Some(placed),
            Way::Asked(_) => None,
        }
    }

    /// Waits until the message is committed, which is when subscribers may see it.
    ///
    /// # Errors
    /// `unconfirmed` when nobody can say what became of it, also because this broker stops; in a cluster `overloaded` when too few
    /// nodes would hold it or too much waits, and `draining` when this node is to leave and is cut off from the others.
    pub async fn committed(self) -> Result<Placed> {
        self.way.committed().await
    }
}

impl Way {
    /// As [`Receipt::committed`].
    ///
    /// # Errors
    /// As [`Receipt::committed`].
    pub async fn committed(self) -> Result<Placed> {
        match self {
            Self::Here(placed, None) => Ok(placed),
            Self::Here(placed, Some(wait)) => match wait.await {
                Ok(()) => Ok(placed),
                Err(_) => Err(stopped()),
            },
            Self::Asked(answer) => match answer.await {
                Ok(answer) => placed(answer),
                Err(_) => Err(stopped()),
            },
        }
    }
}

/// Who would have answered is gone. The message may be in the log of another node, or on its way there.
fn stopped() -> Error {
    Error::new(
        ErrorCode::Unconfirmed,
        "the broker stopped before the message was committed; whether it is published is unknown: publish it again with the same id",
    )
}

/// The receipt of what the cluster was asked for.
pub(super) fn asked(channel: ChannelName, slot: Slot, answer: oneshot::Receiver<Answer>) -> Receipt {
    Receipt { channel, slot, way: Way::Asked(answer) }
}

/// What the cluster answered.
fn placed(answer: Answer) -> Result<Placed> {
    match answer {
        Answer::Done(Done { pos, offset, id, copies, duplicate, trail }) => Ok(Placed { pos, offset, id, copies, duplicate, trail }),
        Answer::Refused(Refusal::Degraded) => {
            Err(Error::new(ErrorCode::Overloaded, "fewer nodes than `min_copies` would hold the message; it was not taken"))
        }
        Answer::Refused(Refusal::Busy) => {
            Err(Error::new(ErrorCode::Overloaded, "too many publishes wait for the node that orders this channel"))
        }
        Answer::Leaving => Err(Error::new(
            ErrorCode::Draining,
            "this node is leaving and is cut off from the others, so that it takes no messages; publish it again to another node",
        )),
        Answer::Unknown => Err(Error::new(
            ErrorCode::Unconfirmed,
            "the node that orders this channel did not answer; whether the message is published is unknown: publish it again with the same id",
        )),
    }
}

impl Hub {
    /// Waits until every shard that listens to the channel has room, at most `limit` long. Returns how long it took.
    ///
    /// Publishers wait here, before any lock is taken: that is the back-pressure from slow shards to publishers.
    ///
    /// # Errors
    /// `overloaded` when there was no room in time.
    pub async fn room(&self, channel: &Channel, limit: Duration) -> Result<Option<Duration>> {
        if self.has_room(channel) {
            return Ok(None);
        }
        let began = self.clock.mono();
        let wait = async {
            let mut interested = channel.interested();
            while interested != 0 {
                let shard = interested.trailing_zeros() as usize;
                interested &= interested - 1;
                self.inboxes[shard].room().await;
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| {
            Error::new(ErrorCode::Overloaded, format!("subscribers could not be served fast enough for {limit:?} (limits.publish_wait)"))
        })?;
        Ok(Some(self.clock.mono() - began))
    }

    /// Whether every shard that listens to the channel has room.
    #[must_use]
    pub fn has_room(&self, channel: &Channel) -> bool {
        let mut interested = channel.interested();
        while interested != 0 {
            let shard = interested.trailing_zeros() as usize;
            interested &= interested - 1;
            if !self.inboxes[shard].has_room() {
                return false;
            }
        }
        true
    }

    /// Gives the draft its position, keeps it and, once committed, hands it to everyone who listens.
    ///
    /// # Errors
    /// `overloaded` when the channels are at their bound, or the message is larger than all histories may be.
    pub fn append(&self, draft: Draft) -> Result<Receipt> {
        if self.is_shared() {
            let (channel, slot) = (draft.channel.clone(), Slot::of(&draft.channel));
            let terms = self.rules().of(&channel).1.terms;
            let answer = self.ask(slot, Ask::Publish(draft), terms)?;
            return Ok(asked(channel, slot, answer));
        }
        let channel = self.open_to_publish(&draft.channel)?;
        self.append_to(channel, draft)
    }

    /// As [`Hub::append`], for who has looked the draft's channel up already.
    ///
    /// # Errors
    /// As [`Hub::append`].
    pub fn append_to(&self, mut channel: Arc<Channel>, draft: Draft) -> Result<Receipt> {
        if self.is_shared() {
            return self.append(draft);
        }
        let now = self.clock.now();
        let mut draft = Some(draft);
        let mut evicted = Vec::new();
        let mut told = 0;
        let mut searches = SEARCHES_MAX;
        loop {
            let placed = self.with_channel(&channel, |state| {
                let bytes = draft.as_ref().map_or(0, history_bytes);
                if !self.has_history_room(bytes) && !state.log.make_room(bytes, &mut evicted) {
                    return None;
                }
                // Taken at most once: neither a dead handle nor a lack of room comes to this line.
                let draft = draft.take()?;
                let room = self.bounds().dedupe_ids.saturating_sub(self.totals.dedupe_ids.load(Ordering::Relaxed));
                let payload_bytes = draft.payload.bytes().len() as u64;
                let appended = state.log.append(channel.key, draft, now, room as usize);
                if !appended.duplicate {
                    self.census.published(channel.namespace, payload_bytes);
                }
                self.speak(&channel);
                let wait = match &self.commit_rule {
                    _ if appended.duplicate && appended.pos.idx <= state.log.commit().idx => None,
                    CommitRule::AtOnce | CommitRule::Shared(_) => {
                        let head = state.log.head().idx;
                        told = self.commit_to(state, head, now, &mut evicted);
                        None
                    }
                    CommitRule::Later(queue) => {
                        if !appended.duplicate {
                            queue.lock().push_back((channel.slot, appended.pos.idx));
                        }
                        let (done, wait) = oneshot::channel();
                        state.waiting.push((appended.pos.idx, done));
                        Some(wait)
                    }
                };
                Some((appended, wait))
            });
            let Some(placed) = placed else {
                let name = draft.as_ref().map_or(&channel.name, |draft| &draft.channel).clone();
                channel = self.open_to_publish(&name)?;
                continue;
            };
            let Some((appended, committed)) = placed else {
                // The slot has too little to give: others have what fills the histories.
                let found = searches > 0 && self.make_room_elsewhere(draft.as_ref().map_or(0, history_bytes), &mut evicted);
                if found {
                    searches -= 1;
                    continue;
                }
                self.free(evicted);
                return Err(self.histories_full());
            };
            self.tell(told);
            self.free(evicted);
            let Appended { pos, offset, id, duplicate, trail } = appended;
            let way = Way::Here(Placed { pos, offset, id, copies: 1, duplicate, trail }, committed);
            return Ok(Receipt { channel: channel.name.clone(), slot: channel.slot, way });
        }
    }

    fn has_history_room(&self, bytes: u64) -> bool {
        self.totals.history_bytes.load(Ordering::Relaxed) + bytes <= self.bounds().history_bytes
    }

    /// Lets the oldest messages of other slots give way, one slot after the other from where the last search ended, so that
    /// none pays for all. Locks one slot at a time and none for long. `false` when the bound is smaller than that.
    pub(super) fn make_room_elsewhere(&self, bytes: u64, evicted: &mut Vec<Arc<Entry>>) -> bool {
        if bytes > self.bounds().history_bytes {
            return false;
        }
        for _ in 0..SLOTS {
            if self.has_history_room(bytes) {
                break;
            }
            let number = self.history_hand.fetch_add(1, Ordering::Relaxed) % usize::from(SLOTS);
            let mut place = self.slots[number].lock();
            let Some(state) = place.as_mut() else { continue };
            let before = state.log.stats();
            state.log.make_room(bytes.min(before.bytes), evicted);
            self.totals.book(&before, &state.log.stats());
        }
        self.has_history_room(bytes)
    }

    fn histories_full(&self) -> Error {
        Error::new(
            ErrorCode::Overloaded,
            format!("the histories hold as many bytes as this broker keeps ({}, limits.history_bytes)", self.bounds().history_bytes),
        )
    }

    /// Moves the commit of a slot and delivers what became visible. Returns the shards to tell, as bits.
    pub(super) fn commit_to(&self, state: &mut SlotState, upto: u64, now: Moment, evicted: &mut Vec<Arc<Entry>>) -> u64 {
        // Nearly always one, and that under the lock: no allocation.
        let mut committed = SmallVec::<[_; 1]>::new();
        state.log.commit_to(upto, now, &mut committed, evicted);
        let mut told = 0;
        for (key, entry) in committed {
            told |= self.deliver(state, key, entry);
        }
        for (_, done) in state.waiting.extract_if(.., |(idx, _)| *idx <= upto) {
            // The publisher may have gone away; the message is committed all the same.
            let _ = done.send(());
        }
        told
    }

    /// Commits the oldest uncommitted record, when the rule is [`CommitRule::Later`]. `false` when there is none.
    pub fn commit_next(&self) -> bool {
        let CommitRule::Later(queue) = &self.commit_rule else { return false };
        let Some((slot, upto)) = queue.lock().pop_front() else { return false };
        let mut evicted = Vec::new();
        let now = self.clock.now();
        let told = self.with_slot(slot, |state| self.commit_to(state, upto, now, &mut evicted));
        self.tell(told);
        self.free(evicted);
        true
    }
}

/// What a draft will cost in the histories, but for its headers.
fn history_bytes(draft: &Draft) -> u64 {
    ENTRY_FIXED_BYTES + draft.payload.bytes().len() as u64
}
