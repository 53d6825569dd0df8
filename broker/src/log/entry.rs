//! A message with its place in the log. Made once, shared by everybody who delivers it, never changed.

use std::time::Duration;

use super::pos::{Epoch, Pos, Slot};
use super::trail::Trail;
use crate::clock::Moment;
use crate::message::{ChannelName, EventName, Headers, MessageId, Payload, PublishId};

/// What one kept message costs besides its own bytes: the entry, its reference counts, its place in the history.
pub const ENTRY_FIXED_BYTES: u64 = 288;

/// A message as it was appended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its channel's slot.
    pub slot: Slot,
    /// Its position there: what clients resume by.
    pub pos: Pos,
    /// Its channel; all entries of a channel share one allocation.
    pub channel: ChannelName,
    /// The channel's own count, 1, 2, 3 … within one life of the channel. For people; nothing resumes by it.
    pub offset: u64,
    /// What subscribers see as its id.
    pub id: MessageId,
    /// The event name that browsers listen for.
    pub event: Option<EventName>,
    /// The bytes.
    pub payload: Payload,
    /// Name–value pairs of the publisher.
    pub headers: Headers,
    /// When it was appended. Never before that of an earlier entry of the slot, so it may be a hair later than the
    /// moment the publisher came with.
    pub accepted: Moment,
    /// How long it had been on its way then.
    pub waited: Waited,
    /// Monotonic time from which on nobody is given it from the history any more.
    pub expires: Duration,
    /// Where it comes from, if a split was healed since; `None` for all others.
    pub adopted: Option<Box<Adopted>>,
    /// From where its line came: with its position its own cursor. Each node finds it on its own line.
    pub trail: Trail,
}

/// How long a message was on its way from its publisher's node to its place: nothing on one node, in a cluster what it took to come to
/// its slot's home. In µs and at most 71 minutes, so that it fits into the gap beside the slot's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited(u32);

impl Waited {
    /// Not at all.
    pub const NONE: Self = Self(0);

    /// So many µs; longer than can be said is as long as can be said.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self(u32::try_from(micros).unwrap_or(u32::MAX))
    }

    /// From `asked` until `accepted`.
    #[must_use]
    pub fn between(asked: Duration, accepted: Duration) -> Self {
        Self::from_micros(u64::try_from(accepted.saturating_sub(asked).as_micros()).unwrap_or(u64::MAX))
    }

    /// In µs.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 as u64
    }
}

impl Entry {
    /// When its publisher's node took it, as this node's clock would have shown it: where its delay begins.
    #[must_use]
    pub fn asked(&self) -> Duration {
        match self.waited {
            // On one node always.
            Waited::NONE => self.accepted.mono,
            Waited(micros) => self.accepted.mono.saturating_sub(Duration::from_micros(micros.into())),
        }
    }

    /// Bytes of payload, names and headers. The channel's name is not counted, since it is shared.
    #[must_use]
    pub fn size(&self) -> u64 {
        let id = if let MessageId::Keyed(id) = &self.id { id.len() } else { 0 };
        let event = self.event.as_ref().map_or(0, |event| event.as_str().len());
        let content_type = self.payload.content_type().map_or(0, str::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (self.payload.bytes().len() + id + event + content_type + headers) as u64
    }

    /// Memory it takes while it is kept: [`Entry::size`] and [`ENTRY_FIXED_BYTES`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.size() + ENTRY_FIXED_BYTES
    }

    /// The id it was published under, by which a repeat is recognised.
    #[must_use]
    pub fn publish_id(&self) -> Option<PublishId> {
        match &self.id {
            MessageId::Keyed(id) => Some(PublishId::Keyed(id.clone())),
            MessageId::Auto(id) => {
                let birth = self.birth();
                let own = message_id(None, self.slot, birth.epoch, birth.idx);
                (own != self.id).then_some(PublishId::Retry(*id))
            }
        }
    }

    /// The position it was first given.
    #[must_use]
    pub fn birth(&self) -> Pos {
        self.adopted.as_ref().and_then(|from| from.birth).unwrap_or(self.pos)
    }

    /// Whether it may no longer be read from the history.
    #[must_use]
    pub fn is_expired(&self, now: Moment) -> bool {
        self.expires <= now.mono
    }
}

/// Where an entry stood before the line that carries it took it over from a divergent one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The position it was first given.
    pub birth: Option<Pos>,
    /// The position on the branch it was taken from, when that is not its birth.
    pub via: Option<Pos>,
    /// Whether subscribers get it later than its order among others suggests.
    pub late: bool,
}

impl Adopted {
    /// Where else it stood: on the branch it was taken from, and first.
    pub fn origins(&self) -> impl Iterator<Item = Pos> + Clone + use<> {
        [self.via, self.birth].into_iter().flatten()
    }
}

/// The id that subscribers see: the publisher's, or one made of the position, which is unique without a counter.
pub(super) fn message_id(given: Option<&PublishId>, slot: Slot, epoch: Epoch, idx: u64) -> MessageId {
    match given {
        Some(id) => id.into(),
        None => MessageId::Auto(u128::from(epoch.tag().get()) << 80 | u128::from(slot.number()) << 64 | u128::from(idx)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_cost_covers_what_an_entry_takes() {
        // Two reference counts of its Arc, the deque's pointer at half fill, the payload's own count and the headers'.
        let real = size_of::<Entry>() + 16 + 16 + 24;
        assert!(real as u64 <= ENTRY_FIXED_BYTES, "an entry takes {real} bytes");
        assert_eq!(size_of::<Option<Box<Adopted>>>(), 8);
    }
}
