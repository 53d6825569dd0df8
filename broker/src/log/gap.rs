//! What a client is told when messages it has not seen are gone.

use super::pos::Pos;

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// They left the channel's history by count, size or age.
    Window,
    /// The broker cannot tell: the channel's state is younger than the cursor, or the cursor points past the log's end.
    Unknown,
    /// The channel was cleared.
    Cleared,
    /// The node that gave the cursor restarted; its memory is lost.
    Restart,
    /// A node took the slot over and cannot rule out that its last owner had acknowledged more than it left behind.
    Failover,
    /// The channel conflates: who is behind gets its newest message, and those before it were passed over. Nothing is wrong.
    Conflated,
}

impl GapReason {
    /// Every reason, in the order of [`GapReason::index`].
    pub const ALL: [Self; 6] = [Self::Window, Self::Unknown, Self::Cleared, Self::Restart, Self::Failover, Self::Conflated];

    /// The name in messages to clients, in metrics and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Unknown => "unknown",
            Self::Cleared => "cleared",
            Self::Restart => "restart",
            Self::Failover => "failover",
            Self::Conflated => "conflated",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Messages of one channel are missing. A gap is told before what follows it, and moves no cursor: in a slot with
/// several channels, messages before `oldest` may still be due from another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// Reading the channel after this position yields the oldest message still kept.
    pub oldest: Pos,
}
