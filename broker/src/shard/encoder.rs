//! What a front brings along: how news looks on its wire.

use std::time::Duration;

use crate::close::CloseReason;
use crate::log::{Cursor, Entry, Gap, Slot};
use crate::message::ChannelName;
use crate::metrics::Front;
use crate::presence::Notice;

/// The name of a wire form: equal forms, equal bytes, which is what lets sessions share them. It holds the front, so a
/// front that numbers its own forms can never meet another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// Whose form it is.
    pub front: Front,
    /// The front's own number for it.
    pub number: u8,
}

/// Writes a front's wire form. One value serves all sessions of that form, so it holds nothing of any of them.
pub trait Encoder: Sync {
    /// What names the bytes that [`Encoder::message`] writes.
    fn form(&self) -> Form;

    /// Which front, for metrics.
    fn front(&self) -> Front {
        self.form().front
    }

    /// Whether each message must be preceded by the session's own cursor because the message's is not enough.
    fn wants_own_cursor(&self) -> bool;

    /// One message, with the cursor of its slot behind it: its own for nearly all, and then the bytes are the same for every
    /// session of this form.
    fn message(&self, entry: &Entry, cursor: &str, out: &mut Vec<u8>);

    /// The session's own cursor, right before a message.
    fn own_cursor(&self, cursor: &Cursor, out: &mut Vec<u8>);

    /// Messages are missing on this channel before what follows. Carries no cursor: what follows does.
    fn gap(&self, slot: Slot, channel: &ChannelName, gap: &Gap, out: &mut Vec<u8>);

    /// How the cluster is, for a client that asked to be told.
    fn cluster(&self, is_degraded: bool, out: &mut Vec<u8>);

    /// Who is on a channel, or who came and went. Carries no cursor: it has no place among the messages.
    fn presence(&self, channel: &ChannelName, notice: &Notice, out: &mut Vec<u8>);

    /// A backend ended this subscription: nothing of the channel follows. Carries no cursor.
    fn unsubscribed(&self, channel: &ChannelName, out: &mut Vec<u8>);

    /// Nothing happened for a while. With a cursor, the client may resume from there.
    fn heartbeat(&self, cursor: Option<&Cursor>, out: &mut Vec<u8>);

    /// The last words, and the end of the framing. `retry` is how long the client should wait before it comes back.
    fn farewell(&self, reason: CloseReason, retry: Duration, out: &mut Vec<u8>);
}

impl std::fmt::Debug for dyn Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({:?})", self.form())
    }
}
