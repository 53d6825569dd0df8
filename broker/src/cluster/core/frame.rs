//! What replicas of one slot say to one another. Every frame names its slot when it travels; here the slot is understood.
//!
//! Entries travel as they are kept, shared. When a frame crosses a wire, times must not: `Entry::accepted.mono` and
//! `Entry::expires` belong to the sender's clock. Send `now − accepted` and `expires − accepted`, and give the receiver's
//! entry its own `now` less that age. Everything else in a frame is the same on both ends.

use std::sync::Arc;
use std::time::Duration;

use crate::log::{ChannelState, Entry, Epoch, Floor, Line, Lost, LostAt, Pos, Record, Tag, Trail};
use crate::message::{ChannelName, Draft, MessageId};

/// One thing said by a replica to the replica of the same slot on another node.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Ingress → home: a message to publish.
    Forward(Forward),
    /// Home → ingress: what became of it.
    ForwardAck {
        /// Of [`Forward::rid`].
        rid: u64,
        /// Of [`Forward::flight`].
        flight: u32,
        /// The answer.
        outcome: Outcome,
    },
    /// Who wants the slot's stream → home.
    Sub(Sub),
    /// The same, for one more channel of a stream that flows.
    More {
        /// Of [`Sub::generation`].
        generation: u32,
        /// The channels; nothing of them is held yet.
        channels: Vec<ChannelName>,
    },
    /// These channels are not wanted any more; without a name, nothing is.
    Unsub {
        /// Of [`Sub::generation`].
        generation: u32,
        /// The channels.
        channels: Vec<ChannelName>,
    },
    /// The asked one is not the home; this one may be.
    NotHome {
        /// Of [`Sub::generation`].
        generation: u32,
        /// Who is, as far as it knows.
        home: Option<Tag>,
    },
    /// Source → who asked: state of channels, then the stream goes on from there.
    Sync(Sync),
    /// Source → who asked: what was appended or committed since.
    Stream(Stream),
    /// Follower → home.
    StreamAck(StreamAck),
    /// Home → follower: from now on its acknowledgements are waited for. Said again whenever the home's view changes, so that what
    /// was true of those who left since is settled.
    Counted {
        /// The home's epoch.
        epoch: Epoch,
        /// Those whom the home would tell before it goes on without this follower.
        witnesses: Vec<Tag>,
    },
    /// Home → everyone: it commits alone from `from` on, or not any more.
    Note {
        /// The home's epoch.
        epoch: Epoch,
        /// From this index on.
        from: u64,
        /// Whether it does.
        solo: bool,
    },
    /// The answer to a note that says `solo`.
    NoteAck {
        /// Of the note.
        epoch: Epoch,
        /// Of the note.
        from: u64,
    },
    /// Who wants to be home → everyone.
    Claim {
        /// Of the claim; answers name it.
        round: u32,
        /// Whether an open home is to seal its epoch now. Else it is only a question.
        seal: bool,
    },
    /// The answer to a claim.
    Standing {
        /// Of the claim.
        round: u32,
        /// What the asked one holds.
        standing: Standing,
    },
    /// Home → everyone: an epoch was opened.
    Opened {
        /// The home's line, its last epoch is the new one.
        line: Line,
    },
    /// An open home → who should be home by its view.
    Yield {
        /// Its line.
        line: Line,
    },
    /// Home → a follower that is not needed any more: it keeps only what it has listeners for.
    Release {
        /// Of [`Sub::generation`].
        generation: u32,
    },
    /// Follower → home: entries of a branch that is not part of the home's line.
    Offer(Offer),
    /// Home → follower: the offered branch is committed in the home's line up to here.
    OfferAck {
        /// The last position of the offer.
        end: Pos,
    },
}

impl Frame {
    /// The names of all kinds, in the order of [`Frame::index`].
    pub const NAMES: [&'static str; 19] = [
        "forward",
        "forward_ack",
        "sub",
        "more",
        "unsub",
        "not_home",
        "sync",
        "stream",
        "stream_ack",
        "counted",
        "note",
        "note_ack",
        "claim",
        "standing",
        "opened",
        "yield",
        "release",
        "offer",
        "offer_ack",
    ];

    /// The name of its kind, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// A dense number of its kind, for tables.
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Forward(_) => 0,
            Self::ForwardAck { .. } => 1,
            Self::Sub(_) => 2,
            Self::More { .. } => 3,
            Self::Unsub { .. } => 4,
            Self::NotHome { .. } => 5,
            Self::Sync(_) => 6,
            Self::Stream(_) => 7,
            Self::StreamAck(_) => 8,
            Self::Counted { .. } => 9,
            Self::Note { .. } => 10,
            Self::NoteAck { .. } => 11,
            Self::Claim { .. } => 12,
            Self::Standing { .. } => 13,
            Self::Opened { .. } => 14,
            Self::Yield { .. } => 15,
            Self::Release { .. } => 16,
            Self::Offer(_) => 17,
            Self::OfferAck { .. } => 18,
        }
    }
}

/// When a publisher is answered, and with how many copies it is content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it is answered.
    pub ack: Ack,
    /// Nodes that should hold it before it is seen: 1 does not wait for the follower.
    pub replicas: u32,
    /// Fewer copies than that are refused rather than taken.
    pub copies_min: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self { ack: Ack::Committed, replicas: 2, copies_min: 1 }
    }
}

/// When a publisher is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// When the home has it.
    Appended,
    /// When it is committed: as many nodes hold it as should and can.
    Committed,
}

/// A message on its way to the home.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The ingress's own number for it, ascending.
    pub rid: u64,
    /// The ingress's count of fresh starts. Behind what is sent back nothing of the same flight is taken, so that nothing overtakes.
    pub flight: u32,
    /// What is asked for.
    pub ask: Ask,
    /// When the ingress took it, as the clock of whoever holds this would have shown it.
    pub since: Duration,
    /// The publisher's terms.
    pub terms: Terms,
}

/// What an ingress asks the home for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// To publish a message. Its id is never absent: by it a repeat is recognised.
    Publish(Draft),
    /// To empty a channel.
    Clear(ChannelName),
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log.
    Done(Done),
    /// The asked one is not the home; this one may be.
    NotHome(Option<Tag>),
    /// It was not taken.
    Refused(Refusal),
}

/// Where a published message went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its position, or the first one's when it is a duplicate.
    pub pos: Pos,
    /// Its offset in the channel.
    pub offset: u64,
    /// The id subscribers see.
    pub id: MessageId,
    /// Nodes that hold it.
    pub copies: u32,
    /// Whether it was published before.
    pub duplicate: bool,
    /// What its cursor says besides its position.
    pub trail: Trail,
}

/// Why a publish was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer nodes would hold it than its terms ask for.
    Degraded,
    /// Too much waits already.
    Busy,
}

/// A wish for the slot's stream. Replaces what the same node asked for before.
#[derive(Clone, Debug)]
pub struct Sub {
    /// The asker's count of wishes; frames of older ones are ignored on both ends.
    pub generation: u32,
    /// What is wanted.
    pub wants: Wants,
    /// The asker's copy: its lineage and how far it has come (for a follower with what is not committed). `None` without one.
    pub line: Option<Line>,
    /// Up to here its copy is committed.
    pub commit: u64,
    /// Whether somebody listens there: then a commit is told at once, not with the next append.
    pub is_eager: bool,
    /// Whether it holds messages of a branch that is not merged: then it is not released.
    pub has_orphans: bool,
}

/// What of a slot is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// All of it, what is not committed too: a follower's wish.
    Everything,
    /// All of it, once, from whoever holds a copy, home or not: what a node that takes over asks for.
    Copy,
    /// These channels, as far as they are committed.
    Channels(Vec<Channel>),
    /// Some of them, when one frame cannot name all: the list goes on with the next wish of the same generation, and all else is said with the
    /// last. Who carries frames cuts it up and puts it together; a replica says and hears the whole.
    Part(Vec<Channel>),
}

/// One wanted channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// Whether the asker holds an exact copy up to its line's head.
    pub is_held: bool,
}

/// State of channels at one moment. Large ones come in parts, which are applied together when the last is there.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Of [`Sub::generation`].
    pub generation: u32,
    /// The source's lineage; its head is the moment: everything committed up to there is in the state, everything after
    /// comes in the stream.
    pub line: Line,
    /// What the asker has beyond this index is of another branch.
    pub fork: u64,
    /// The channels, whole or in part.
    pub channels: Vec<ChannelState>,
    /// What channels that were closed may have lost; only for those who want everything.
    pub floors: Vec<Floor>,
    /// The source's epochs before which something acknowledged may be lost.
    pub uncertain: Vec<u64>,
    /// Branches that are part of the source's line, up to these positions.
    pub covered: Vec<Pos>,
    /// What these had lost.
    pub lost: Vec<LostAt>,
    /// What was appended after that moment and is not committed; only for those who want everything, with the last part or
    /// the last parts.
    pub tail: Vec<Record>,
    /// Whether it is the last part.
    pub is_last: bool,
}

/// Records in the order of their indices.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Of [`Sub::generation`].
    pub generation: u32,
    /// What came: for followers every record that was appended, for others what was committed in their channels.
    pub records: Vec<Record>,
    /// Committed up to here. For those who want channels: nothing of theirs is missing up to here.
    pub commit: u64,
}

/// How far a follower has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAck {
    /// Of [`Sub::generation`].
    pub generation: u32,
    /// It holds everything up to here.
    pub upto: u64,
    /// As [`Sub::is_eager`].
    pub is_eager: bool,
}

/// What a node holds of a slot, when it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its copy of everything, if it has one; the head with what is not committed.
    pub line: Option<Line>,
    /// Up to here its copy is committed.
    pub commit: u64,
    /// Whether the home of the line's last epoch counts, or counted, its acknowledgements.
    pub is_counted: bool,
    /// If so, those whom that home would have told before it went on without them.
    pub witnesses: Vec<Tag>,
    /// The latest word of a home that it commits alone: its epoch, and from where on.
    pub solo: Option<(Epoch, u64)>,
    /// Whether it is an open home.
    pub is_open: bool,
    /// Whether its own view says that it is the home: then it does not seal.
    pub is_placed: bool,
    /// Highest epoch it ever heard of.
    pub seen: Option<Epoch>,
}

/// Entries of a branch beyond its fork from the home's line, in the branch's order; what is missing among them, it tells.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Of [`Sub::generation`].
    pub generation: u32,
    /// The entries.
    pub run: Vec<Arc<Entry>>,
    /// The last positions of all stretches of the branch that the run belongs to.
    pub ends: Vec<Pos>,
    /// What had left the branch before.
    pub lost: Vec<Lost>,
    /// Whether the run is whole now.
    pub is_last: bool,
}
