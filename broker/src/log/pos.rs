//! Where a record stands: the slot, the epoch that wrote it, and its index on the slot's line.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::message::ChannelName;

/// How many slots there are; fixed for ever, since cursors and clusters are built on it.
pub const SLOTS: u16 = 16_384;

/// One of the [`SLOTS`] logs that channels are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a channel: its slot key alone decides, so that channels with one `{tag}` share a slot whatever
    /// their namespaces are.
    #[must_use]
    pub fn of(channel: &ChannelName) -> Self {
        // The remainder is below 16,384, so the cast keeps it whole.
        Self((xxh3_64(channel.slot_key().as_bytes()) % u64::from(SLOTS)) as u16)
    }

    /// The slot with this number; `None` when there is no such slot.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// Its number, below [`SLOTS`].
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one process for its whole life: 40 bits, never zero, drawn at random when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u64);

impl Tag {
    const BITS: u32 = 40;

    /// The tag with these bits; `None` when it is zero or longer than 40 bits.
    #[must_use]
    pub fn new(bits: u64) -> Option<Self> {
        (bits != 0 && bits >> Self::BITS == 0).then_some(Self(bits))
    }

    /// Its bits.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// One stretch of a slot's line, written by one process only: `term:24 ‖ tag:40`. A later takeover compares higher.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// Highest term.
    pub const TERM_MAX: u32 = (1 << 24) - 1;

    /// The epoch of this takeover by this process. Terms past [`Epoch::TERM_MAX`] stay there.
    #[must_use]
    pub fn new(term: u32, tag: Tag) -> Self {
        debug_assert!(term <= Self::TERM_MAX, "a term has 24 bits");
        Self(u64::from(term.min(Self::TERM_MAX)) << Tag::BITS | tag.0)
    }

    /// The epoch with these bits; `None` when its tag would be zero.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits & ((1 << Tag::BITS) - 1) != 0).then_some(Self(bits))
    }

    /// How many takeovers came before it.
    #[must_use]
    pub fn term(self) -> u32 {
        // 64 − 40 bits are left, so the cast keeps them whole.
        (self.0 >> Tag::BITS) as u32
    }

    /// The process that writes it.
    #[must_use]
    pub fn tag(self) -> Tag {
        Tag(self.0 & ((1 << Tag::BITS) - 1))
    }

    /// All its bits.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:010x}", self.term(), self.tag().0)
    }
}

/// A position within a slot. Two are comparable by `idx` only when both lie on the same line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pos {
    /// Who wrote the record.
    pub epoch: Epoch,
    /// Its index on the line: 1, 2, 3 … over all channels of the slot, going on across epochs. Zero is no position.
    pub idx: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_channel_decides_its_slot_alone() {
        let slot = |name: &str| Slot::of(&ChannelName::parse(name).unwrap());
        assert_eq!(slot("chat:{ann}"), slot("mail:{ann}:inbox"));
        assert_eq!(slot("ann"), slot("x{ann}"));
        assert_ne!(slot("chat:ann"), slot("mail:ann"));
    }

    #[test]
    fn slots_do_not_move_between_releases() {
        // Cursors name slots: a different hash would make every stored one wrong.
        assert_eq!(Slot::of(&ChannelName::parse("news").unwrap()).number(), NEWS);
        assert_eq!(Slot::new(SLOTS), None);
    }

    #[test]
    fn an_epoch_keeps_both_its_parts() {
        let tag = Tag::new((1 << 40) - 1).unwrap();
        let epoch = Epoch::new(Epoch::TERM_MAX, tag);
        assert_eq!((epoch.term(), epoch.tag()), (Epoch::TERM_MAX, tag));
        assert_eq!(Epoch::from_bits(epoch.get()), Some(epoch));
        assert!(Epoch::new(2, Tag::new(1).unwrap()) > Epoch::new(1, tag));
        assert_eq!(Epoch::from_bits(7 << 40), None);
        assert_eq!((Tag::new(0), Tag::new(1 << 40)), (None, None));
    }

    const NEWS: u16 = 292;
}
