//! What a shard knows of one session on a taken-over socket, and of one watch.

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::echo::Echoes;
use super::encoder::{Encoder, Form};
use super::inbound::Conversation;
use super::pipe::Pipe;
use super::unsent::{Held, Unsent};
use crate::close::CloseReason;
use crate::control::Entered;
use crate::journal::SessionId;
use crate::log::Entry;
use crate::message::{ChannelName, MessageId};
use crate::session::{Presence, Subscription};

/// Where a listener stands in a channel of the shard: the channel's local number, and the place in its listeners.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) local: u32,
    pub(super) place: u32,
}

/// What could not be written yet. A session never holds more than this: everything newer stays in the ring or the log.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) bytes: Bytes,
    /// Messages that are complete once it is written, and when the oldest of them was asked for, if their delay counts.
    pub(super) messages: u64,
    pub(super) asked: Option<Duration>,
    pub(super) _held: Held,
}

impl Rest {
    /// Of bytes that went out, those to be counted as delivered: not what belongs to no message.
    pub(super) fn counted(&self, sent: usize) -> u64 {
        if self.messages > 0 { sent as u64 } else { 0 }
    }
}

/// A client's stay on a socket that the shard writes itself.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose stay it is.
    pub(super) id: SessionId,
    pub(super) stream: Pipe,
    pub(super) encoder: &'static dyn Encoder,
    /// The encoder's, at hand for each delivery.
    pub(super) form: Form,
    pub(super) subscription: Subscription,
    /// Where orders of backends find it; none for a client that shows neither a user nor a token's id.
    pub(super) stay: Option<Box<Entered>>,
    /// Where it is seen, and what it is told of others; none where no namespace asks for it.
    pub(super) presence: Option<Box<Presence>>,
    /// The client's side, where the front listens to it.
    pub(super) conversation: Option<Box<Conversation>>,
    /// In the order of the subscription's members.
    pub(super) places: SmallVec<[Place; 1]>,
    /// It listens to one channel, with no cursor of its own and nothing to leave out: its bytes are those of everybody else.
    /// Settled when one of these changes, so that a delivery looks at nothing else.
    pub(super) is_plain: bool,
    /// What it published itself and is not to hear; none for nearly all.
    pub(super) echoes: Option<Box<Echoes>>,
    /// Where the rests of all sessions are counted.
    pub(super) unsent: Rc<Unsent>,
    /// The unsent end of the last write. While it is here nothing else is written.
    pub(super) rest: Option<Box<Rest>>,
    /// Stands in the queue of those who read the log.
    pub(super) behind: bool,
    /// The tick since which it has not been caught up, its socket being full included; kept by [`super::behind::Behind`].
    pub(super) behind_since: Option<u32>,
    /// Whether it ever stood at the head, and still does as far as it was told; kept by [`super::behind::Behind`].
    pub(super) touch: Touch,
    /// Still reading what was there before it came.
    pub(super) replaying: bool,
    /// The client was told something that no message's cursor lies behind (a gap, or nothing at all): once it stands at
    /// the head it must hear from where to come back, or it would be told the same again.
    pub(super) cursor_due: bool,
    /// The position lies behind the last cursor the client was told, because it read a page to the head: the next
    /// heartbeat tells it, so that its cursor does not age.
    pub(super) is_ahead: bool,
    /// What it was told last of the cluster, whether it is degraded; none for a client that did not ask.
    pub(super) cluster_told: Option<bool>,
    /// The stay is over; the session's task sees to the rest.
    pub(super) ended: Option<CloseReason>,
    /// Wakes the session's task.
    pub(super) waker: Option<Waker>,
    /// The tick of the last write, so that busy streams get no heartbeat.
    pub(super) wrote_at: u32,
    /// The tick of the next look at whether a heartbeat is due.
    pub(super) due: u32,
    /// The tick at which the stay is over, because what its client showed does not count any longer.
    pub(super) ends_at: u32,
}

/// A session's touch with the head of what it listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Not there yet: it reads what was published before it came, which is no falling behind.
    Joining,
    /// It stands there.
    Kept,
    /// It stood there, and reads the log since, or has a full socket.
    Lost,
}

impl Session {
    /// To be called when its channels or echoes changed.
    pub(super) fn settle(&mut self) {
        self.is_plain = self.places.len() == 1 && self.echoes.is_none() && !self.encoder.wants_own_cursor();
    }

    /// It publishes this message and is not to hear it.
    pub(super) fn expect_echo(&mut self, channel: ChannelName, id: MessageId, tick: u32) {
        self.echoes.get_or_insert_default().expect(channel, id, tick);
        self.settle();
    }

    /// Whether it is not to hear this message, which it has come to.
    pub(super) fn leaves_out(&mut self, entry: &Entry) -> bool {
        let Some(echoes) = &mut self.echoes else { return false };
        let is_own = echoes.take(entry);
        // Its client hears of the position with the next heartbeat.
        self.is_ahead |= is_own;
        self.drop_echoes_if_none();
        is_own
    }

    /// Gives up what did not come.
    pub(super) fn forget_echoes(&mut self, tick: u32) {
        if let Some(echoes) = &mut self.echoes {
            echoes.forget(tick);
            self.drop_echoes_if_none();
        }
    }

    fn drop_echoes_if_none(&mut self) {
        if self.echoes.as_ref().is_some_and(|echoes| echoes.is_empty()) {
            self.echoes = None;
            self.settle();
        }
    }
}

/// Someone on the shard who reads the log himself (a held poll, an HTTP/2 stream) and only wants to be woken.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) places: SmallVec<[Place; 1]>,
    pub(super) raised: bool,
    /// One answer is waited for: released first when the node leaves.
    pub(super) is_poll: bool,
    pub(super) ended: Option<CloseReason>,
    pub(super) waker: Option<Waker>,
}

/// Whoever listens on a shard.
#[allow(clippy::large_enum_variant, reason = "nearly all are sessions, and a delivery should not have to follow a pointer to each")]
#[derive(Debug)]
pub(super) enum Listener {
    Session(Session),
    Watch(Watch),
}

impl Listener {
    pub(super) fn places(&mut self) -> &mut SmallVec<[Place; 1]> {
        match self {
            Self::Session(session) => &mut session.places,
            Self::Watch(watch) => &mut watch.places,
        }
    }
}
