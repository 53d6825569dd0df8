//! A node as the others see it.

use xxhash_rust::xxh3::xxh3_64;

use crate::log::Tag;

/// Names a node over all its lives: a hash of its configured name. Placement goes by it, so a node that restarts gets its
/// slots back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The id of the node with this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Gathers links and copies; owns no slot yet.
    Joining,
    /// Takes its share of the slots.
    Active,
    /// Hands its slots over.
    Draining,
    /// Owns nothing any more and is about to end.
    Leaving,
    /// Doubts itself: it reaches too few of the others.
    Impaired,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Joining, Self::Active, Self::Draining, Self::Leaving, Self::Impaired];

    /// The word on the wire and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Impaired => "impaired",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name's hash.
    pub id: NodeId,
    /// The process.
    pub tag: Tag,
    /// Its state, as it said last.
    pub state: State,
}

/// How a process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It is known to have ended: its connections were closed and its address refuses new ones, or its name came back as
    /// another process. It heard this node so shortly before that it cannot have taken it for down.
    Ended,
    /// It is known to have ended, and it may have been cut off from this node and gone on without it before.
    Lost,
    /// Nobody hears it. It may live behind a cut and go on.
    Silent,
}
