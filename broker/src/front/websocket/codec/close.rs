//! Why a connection ends, in RFC 6455's numbers, and everything a client can do that ends it.

/// A status code as it stands in a close frame (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// All is done.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint is going away.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of message that is not understood here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The peer sent data that is not what it says, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer did what is not allowed, for which no other code fits.
    pub const POLICY: Self = Self(1008);
    /// The peer sent a message that is too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// The server failed.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts; come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server has too much to do; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// The client's token has expired; come back with a fresh one. Of our own, after HTTP's 401.
    pub const TOKEN_EXPIRED: Self = Self(4401);
    /// What the client showed was revoked. Of our own, after HTTP's 403.
    pub const REVOKED: Self = Self(4403);
    /// A backend ended the connection for good. Of our own, after HTTP's 410.
    pub const DISCONNECTED: Self = Self(4410);

    /// A code that may stand in a close frame: those of the RFC and of its registry, and 3000 to 4999, which are for
    /// frameworks and applications. Not 1004, 1005, 1006 and 1015, which only say what happened without a frame.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub code: CloseCode,
    /// The same in words; often empty.
    pub reason: String,
}

/// What a client did that a connection cannot survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A reserved bit is set that no extension gave a meaning here.
    ReservedBit,
    /// An opcode that the RFC keeps for later.
    ReservedOpCode,
    /// A client's frame without a mask.
    Unmasked,
    /// A control frame in pieces.
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    LongControl,
    /// A length written longer than it must be, or with its highest bit set.
    BadLength,
    /// A continuation of nothing.
    NothingToContinue,
    /// A new message in the middle of another.
    UnfinishedMessage,
    /// A close frame with half a code.
    HalfCloseCode,
    /// A close frame with a code that must not be there.
    BadCloseCode,
    /// Text that is not UTF-8, in a message or in a close frame.
    NotUtf8,
    /// Compressed data that is none.
    BrokenCompression,
    /// A message over the bound, compressed or not.
    TooLarge,
}

impl Violation {
    /// The code to close with (RFC 6455, section 7.4.1).
    #[must_use]
    pub fn code(self) -> CloseCode {
        match self {
            Self::NotUtf8 | Self::BrokenCompression => CloseCode::INVALID_DATA,
            Self::TooLarge => CloseCode::TOO_LARGE,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The reason to close with; at most 123 bytes.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ReservedBit => "a reserved bit is set, and no extension gives it a meaning",
            Self::ReservedOpCode => "the opcode is reserved",
            Self::Unmasked => "a client must mask its frames",
            Self::FragmentedControl => "a control frame must not be fragmented",
            Self::LongControl => "a control frame has at most 125 bytes",
            Self::BadLength => "the length is not written in its shortest form",
            Self::NothingToContinue => "there is no message to continue",
            Self::UnfinishedMessage => "the message before is not finished",
            Self::HalfCloseCode => "a close frame has no code or two bytes of it",
            Self::BadCloseCode => "this close code must not be sent",
            Self::NotUtf8 => "text must be UTF-8",
            Self::BrokenCompression => "the compressed data cannot be read",
            Self::TooLarge => "the message is too large",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_mean_something_in_a_frame_are_codes() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
    }
}
