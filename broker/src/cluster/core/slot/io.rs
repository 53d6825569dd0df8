//! What goes into a replica, and what comes out.

use std::sync::Arc;

use super::super::frame::{Ask, Done, Frame, Refusal, Terms};
use super::super::settings::Settings;
use super::super::view::View;
use crate::clock::Moment;
use crate::log::{ChannelKey, Entry, Epoch, SlotLog, Tag};
use crate::message::ChannelName;

/// The channels of one slot on this node. Called under the slot's lock.
pub trait Channels {
    /// The open channel of this name; opened in the log by its namespace's rules when it is not there. Bounds on the number
    /// of channels do not count here: a copy must hold what the home holds.
    fn open(&mut self, log: &mut SlotLog, name: &ChannelName, now: Moment) -> ChannelKey;

    /// The open channel of this name, if there is one.
    fn find(&self, name: &ChannelName) -> Option<ChannelKey>;

    /// All open channels of the slot.
    fn all(&self) -> Vec<ChannelKey>;
}

/// What a replica is handed along with every input.
pub struct Context<'a> {
    /// Now.
    pub now: Moment,
    /// The node's view.
    pub view: &'a View,
    /// The slot's channels.
    pub channels: &'a mut dyn Channels,
    /// How many more publish ids the node may remember.
    pub dedupe_room: usize,
    /// Times and bounds.
    pub settings: &'a Settings,
    /// What is to be done, in this order.
    pub out: &'a mut Vec<Output>,
}

/// What a replica is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// [`Replica::due`](super::Replica::due) has come. More often does no harm.
    Tick,
    /// The view may have changed.
    View,
    /// Frames to this process may go, or were lost: what was sent before and not answered may never arrive.
    Link {
        /// The process.
        peer: Tag,
        /// Whether it can be reached, directly or through another one.
        is_up: bool,
    },
    /// Too much waits for this process. Nothing more is streamed to it until it is told to be up again with
    /// [`Input::Drained`]; then it gets what it missed from the log.
    Lagging {
        /// The process.
        peer: Tag,
    },
    /// What waited for this process was sent.
    Drained {
        /// The process.
        peer: Tag,
    },
    /// A frame came.
    Frame {
        /// From this process.
        from: Tag,
        /// The frame, its times in this node's clock.
        frame: Frame,
    },
    /// Somebody here publishes. Answered by one [`Output::Answer`], perhaps within this very call.
    Publish {
        /// The caller's own number for it, unique within the slot.
        rid: u64,
        /// The message, or the channel that is to be emptied (answered with the position of the record that says so).
        ask: Ask,
        /// Its terms.
        terms: Terms,
    },
    /// A channel has its first listener on this node. May be told again.
    Listen(ChannelName),
    /// A channel has no listener on this node any more.
    Leave(ChannelName),
}

/// What is to be done for a replica.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this frame. If there is no way to `to`, drop it: the replica was or will be told by [`Input::Link`].
    Send {
        /// To this process.
        to: Tag,
        /// The frame.
        frame: Frame,
    },
    /// A message became visible: push it to everyone on this node who listens to its channel. They come in index order.
    Committed {
        /// Its channel.
        key: ChannelKey,
        /// The message.
        entry: Arc<Entry>,
    },
    /// The slot's line changed under its listeners (an epoch began, a branch was left, something was lost). Send every
    /// listener of the slot to the log, before anything that follows in this list is pushed; there each takes its cursor up
    /// again, if its position is not on the line any more (`SlotLog::is_off`), and is told of gaps.
    Turn,
    /// The log answers for this channel from now on: who waited for it may join. What is not ready must not be joined.
    Ready(ChannelName),
    /// The answer to a publish.
    Answer {
        /// Of the publish.
        rid: u64,
        /// The answer.
        answer: Answer,
    },
    /// A message left a history: free it outside the lock.
    Evicted(Arc<Entry>),
    /// Something happened that operators may want to count or to read.
    Event(Event),
}

/// The answer to a publisher on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in the log.
    Done(Done),
    /// It is not, and will not be.
    Refused(Refusal),
    /// It is not: this node is to leave and is cut off from all who could keep it ([`View::is_cut_off`]). Another node may take it.
    Leaving,
    /// Nobody can say: it was tried for [`Settings::publish`], or one home may have taken it and another does not. To publish it again under the same id does no harm.
    Unknown,
}

/// How a node came to order a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nobody held anything of it.
    First,
    /// The node before it handed it over.
    Moved,
    /// The node before it was gone, or said nothing.
    TakenOver,
    /// Two nodes ordered it, and one of them gave way.
    Merged,
}

impl Opening {
    /// Every way, in the order of [`Opening::index`].
    pub const ALL: [Self; 4] = [Self::First, Self::Moved, Self::TakenOver, Self::Merged];

    /// The word for people and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Moved => "moved",
            Self::TakenOver => "taken_over",
            Self::Merged => "merged",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What happened in a slot, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node opened an epoch: it is the home.
    Opened {
        /// The epoch.
        epoch: Epoch,
        /// Whether something acknowledged before may be lost, so that listeners got a gap.
        is_uncertain: bool,
        /// Whether somebody who is not down never answered or refused: views differed for too long.
        is_forced: bool,
        /// How it came to it.
        opening: Opening,
    },
    /// This node sealed its epoch for another one.
    Sealed {
        /// For this process.
        successor: Tag,
    },
    /// This home commits alone.
    Solo,
    /// A follower's copy is complete and counts.
    Counted {
        /// The follower.
        follower: Tag,
    },
    /// Messages of another branch were taken into this line.
    Adopted {
        /// So many.
        count: usize,
    },
    /// Messages of another branch left before they could be taken into the line.
    OrphansLost {
        /// So many.
        count: usize,
    },
}
