//! Why a session ended: one table for all fronts, so that every client is told the same thing in the same words.

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client went away or stopped reading for good.
    ClientGone,
    /// The node is draining; another one will take over.
    Draining,
    /// The client read slower than a channel without history can wait.
    TooSlow,
    /// The client read so slowly that messages it lacks left the history, in a namespace that closes then.
    Lagged,
    /// The session reached its longest allowed stay, or its one answer was given (long-poll).
    Finished,
    /// The broker stopped at once (second signal, or the end of the drain's grace).
    Stopped,
    /// A ping was not answered (WebSocket).
    Unresponsive,
    /// The client broke the protocol of its front (WebSocket).
    ProtocolError,
    /// What the client asked for could not be had; it was told the error's own code.
    Refused,
    /// The client's token has expired; with a fresh one it may come back.
    TokenExpired,
    /// What the client showed was revoked: it is not to come back with it.
    Revoked,
    /// A backend ended the stay, and the client is not to come back by itself.
    Disconnected,
    /// A backend ended the stay so that the client comes back.
    Reconnect,
    /// A backend ended the last subscription of a stream, which is nothing without one.
    Unsubscribed,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseReason::index`].
    pub const ALL: [Self; 14] = [
        Self::ClientGone,
        Self::Draining,
        Self::TooSlow,
        Self::Lagged,
        Self::Finished,
        Self::Stopped,
        Self::Unresponsive,
        Self::ProtocolError,
        Self::Refused,
        Self::TokenExpired,
        Self::Revoked,
        Self::Disconnected,
        Self::Reconnect,
        Self::Unsubscribed,
    ];

    /// The name in messages to clients, in metrics and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Draining => "draining",
            Self::TooSlow => "too_slow",
            Self::Lagged => "lagged",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Unresponsive => "unresponsive",
            Self::ProtocolError => "protocol_error",
            Self::Refused => "refused",
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::Disconnected => "disconnected",
            Self::Reconnect => "reconnect",
            Self::Unsubscribed => "unsubscribed",
        }
    }

    /// One sentence for the client.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ClientGone => "the client went away",
            Self::Draining => "this node is leaving; reconnect",
            Self::TooSlow => "the client reads too slowly for a channel without history; reconnect",
            Self::Lagged => "the client reads so slowly that messages it lacks are no longer kept; reconnect, and a gap says which",
            Self::Finished => "the answer is complete",
            Self::Stopped => "the broker stopped; reconnect",
            Self::Unresponsive => "a ping was not answered in time; reconnect",
            Self::ProtocolError => "the client broke the protocol",
            Self::Refused => "the request was refused",
            Self::TokenExpired => "the token has expired; come back with a fresh one",
            Self::Revoked => "the token was revoked; do not come back with it",
            Self::Disconnected => "a backend ended this connection; do not come back by yourself",
            Self::Reconnect => "a backend asks this client to connect anew",
            Self::Unsubscribed => "a backend ended the last subscription of this stream",
        }
    }

    /// Whether the client should come back.
    #[must_use]
    pub fn may_retry(self) -> bool {
        match self {
            Self::Draining | Self::TooSlow | Self::Lagged | Self::Stopped | Self::Unresponsive | Self::TokenExpired | Self::Reconnect => {
                true
            }
            Self::ClientGone | Self::Finished | Self::ProtocolError | Self::Refused => false,
            Self::Revoked | Self::Disconnected | Self::Unsubscribed => false,
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}
