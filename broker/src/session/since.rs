//! From where a client wants to listen: the same for all its channels, or each for itself.

use crate::log::{Cursor, Slot, Start};
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
    pub(super) fn start(&self, slot: Slot) -> Start {
        match self {
            Self::Live => Start::Live,
            Self::Earliest => Start::Earliest,
            Self::Last(count) => Start::Last(*count),
            Self::Cursor(cursor) => cursor.get(slot).map_or(Start::Live, |at| Start::After(at.clone())),
        }
    }
}

/// From where each channel of a subscription is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// The same for all.
    Same(Since),
    /// Each for itself; a channel that is not named starts live. For clients that keep a cursor per channel.
    Each(Vec<(ChannelName, Since)>),
}

impl Starts {
    /// From where this channel is wanted.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> &Since {
        match self {
            Self::Same(since) => since,
            Self::Each(pairs) => pairs.iter().find(|(name, _)| name == channel).map_or(&Since::Live, |(_, since)| since),
        }
    }

    /// Whether nothing from before is wanted of any channel.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.all().all(|since| *since == Since::Live)
    }

    /// Whether the client comes back to at least one channel.
    #[must_use]
    pub fn has_cursor(&self) -> bool {
        self.all().any(|since| matches!(since, Since::Cursor(_)))
    }

    fn all(&self) -> Box<dyn Iterator<Item = &Since> + '_> {
        match self {
            Self::Same(since) => Box::new(std::iter::once(since)),
            Self::Each(pairs) => Box::new(pairs.iter().map(|(_, since)| since)),
        }
    }
}

impl From<Since> for Starts {
    fn from(since: Since) -> Self {
        Self::Same(since)
    }
}
