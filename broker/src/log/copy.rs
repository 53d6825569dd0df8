//! The log as others copy it: records given from outside, and the state of channels.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::pos::{Epoch, Pos};
use super::retention::NamespaceId;
use crate::message::{ChannelName, PublishId};

/// What takes an index on a line.
#[derive(Clone, Debug)]
pub enum Record {
    /// A message.
    Message(Arc<Entry>),
    /// A channel is emptied.
    Clear {
        /// Its index.
        idx: u64,
        /// The channel.
        channel: ChannelName,
    },
    /// An epoch begins.
    Open {
        /// Its index, the first of the epoch.
        idx: u64,
        /// The epoch.
        epoch: Epoch,
        /// Whether something acknowledged before it may be lost.
        is_uncertain: bool,
    },
    /// How this line stands to other branches. Two are written when one is taken over: the first says what that had lost, before what
    /// is left of it, the second that all of it is part of this line.
    Cover {
        /// Its index.
        idx: u64,
        /// Last positions of stretches of branches that are part of this line.
        ends: Vec<Pos>,
        /// What branches had lost before this line could take it over.
        lost: Vec<Lost>,
    },
}

/// Messages of a branch that left it before another line could take them over: whoever did not read them there never gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose messages.
    pub of: LostOf,
    /// The last of them, where it stood. Who has read that far there misses none.
    pub upto: Pos,
}

/// Whose messages are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostOf {
    /// This channel's.
    Channel(ChannelName),
    /// Those of any channel of this namespace, because some were closed.
    Namespace(NamespaceId),
    /// Those of any channel: a home died on the branch, and may have answered for more than it left; or there are too many to name.
    Anything,
}

/// What was lost, and where a line says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostAt {
    /// Index of the record that says so.
    pub at: u64,
    /// What it says.
    pub lost: Lost,
}

impl Record {
    /// Its channel; `None` for a record of the slot's own.
    #[must_use]
    pub fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Message(entry) => Some(&entry.channel),
            Self::Clear { channel, .. } => Some(channel),
            Self::Open { .. } | Self::Cover { .. } => None,
        }
    }

    /// Its index.
    #[must_use]
    pub fn idx(&self) -> u64 {
        match self {
            Self::Message(entry) => entry.pos.idx,
            Self::Clear { idx, .. } | Self::Open { idx, .. } | Self::Cover { idx, .. } => *idx,
        }
    }
}

/// A channel's state as of a commit, or a part of it: then the same name comes again with what follows.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// Its name.
    pub name: ChannelName,
    /// What the copy holds up to this index stays; it is exact.
    pub keep: u64,
    /// Who has read up to here has missed nothing that is lost.
    pub floor: u64,
    /// The floor it was opened with, for lack of knowledge.
    pub inherited: u64,
    /// Index of the newest clear.
    pub cleared_at: u64,
    /// Offset of its newest message.
    pub offset: u64,
    /// Index of its newest message.
    pub last: u64,
    /// How long ago its newest record was committed.
    pub idle: Option<Duration>,
    /// Messages after `keep`, ascending.
    pub entries: Vec<Arc<Entry>>,
    /// Publish ids to remember, those of `entries` left out; only for those who want everything.
    pub ids: Vec<KnownId>,
}

/// A remembered publish id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownId {
    /// The id.
    pub id: PublishId,
    /// Where the first one went.
    pub idx: u64,
    /// Its offset.
    pub offset: u64,
    /// How long ago.
    pub age: Duration,
}

/// What a copy lacks of what is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// So many records, committed or not, and no more.
    pub records: u64,
    /// When the oldest message among them got its place.
    pub oldest: Option<Duration>,
}

/// Up to where closed channels of a namespace may have lost messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The namespace: its number among the configured ones, which are the same on all nodes.
    pub namespace: NamespaceId,
    /// Up to this index.
    pub idx: u64,
}
