//! What comes out of a channel: messages, and the gaps between them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidings_proto::v1;

/// A message as it was published, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The channel it is in.
    pub channel: String,
    /// Its number in the channel: 1, 2, 3 … For people; to go on after it there is the cursor.
    pub offset: u64,
    /// From where to go on right after it: of a subscription in all its channels, of a page of history in this one.
    pub cursor: String,
    /// Its id: the publisher's own, or the one the broker made.
    pub id: String,
    /// The event name; empty when it has none.
    pub event: String,
    /// The payload.
    pub data: Bytes,
    /// What the payload is; empty when the publisher did not say.
    pub content_type: String,
    /// The publisher's names and values.
    pub headers: BTreeMap<String, String>,
    /// When the broker accepted it, to the millisecond. For people; order is what `offset` says.
    pub time: SystemTime,
}

impl Received {
    /// The payload as text; `None` when it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.data).ok()
    }
}

impl From<v1::Message> for Received {
    fn from(message: v1::Message) -> Self {
        let v1::Message { channel, offset, cursor, id, event, data, content_type, headers, time_ms } = message;
        // A broker whose clock is beyond what this machine can say is a riddle that only people look at.
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(time_ms)).unwrap_or(SystemTime::UNIX_EPOCH);
        Self { channel, offset, cursor, id, event, data, content_type, headers, time }
    }
}

/// Messages of a channel are missing here, and will not come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Of which channel.
    pub channel: String,
    /// Why: `window` (older than what is kept), `unknown` (a cursor of another history), `cleared`, `restart` (the broker
    /// lost its memory), or a word of tomorrow.
    pub reason: String,
    /// Reading after this cursor gives the oldest message that is still kept.
    pub oldest: String,
}

impl Gap {
    /// Whether something is lost. It is not where the reason is `conflated`: that channel gives who is behind its newest message only,
    /// and that follows.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        self.reason != "conflated"
    }
}

impl From<v1::Gap> for Gap {
    fn from(gap: v1::Gap) -> Self {
        let v1::Gap { channel, reason, oldest } = gap;
        Self { channel, reason, oldest }
    }
}
