//! What can go wrong, and whether to come back.

use std::fmt;
use std::time::Duration;

use tidings_proto::v1;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be used. Nothing was sent.
    #[error("the broker's address `{address}` cannot be used: {why}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The API key holds characters that a header may not. Nothing was sent.
    #[error("the API key holds characters that a header may not")]
    Key,
    /// The broker answered, and said no. When [`Refused::retry`] is true it said so for as long as patience lasted.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No broker was reached in time. Nothing was done.
    #[error("no broker was reached: {why}")]
    Unavailable {
        /// How long it was tried.
        patience: Duration,
        /// What the last try met.
        why: String,
    },
    /// A publish or a clear went out, and no answer came in time: it may have been done or not. To publish it again is
    /// only safe within 120 seconds and with an id of your own ([`Message::id`](crate::Message::id)).
    #[error("no answer within {patience:?}, whether it was done is unknown: {why}")]
    OutcomeUnknown {
        /// How long it was tried.
        patience: Duration,
        /// What the last try met.
        why: String,
    },
    /// The stream's task is gone, which happens when its runtime shuts down.
    #[error("the publish stream has ended")]
    StreamEnded,
}

impl Error {
    /// The broker's code, when the broker said no.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Refused(refused) => Some(&refused.code),
            _ => None,
        }
    }

    /// Whether the same call may pass later.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.retry,
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Address { .. } | Self::Key | Self::StreamEnded => false,
        }
    }
}

/// What calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A "no" of the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Refused {
    /// For programs.
    pub code: Code,
    /// For people: the limit or the rule that was broken.
    pub message: String,
    /// Whether the same call may pass later.
    pub retry: bool,
}

/// The codes that all surfaces of a broker share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request breaks a rule that the words name.
    InvalidRequest,
    /// A cursor that the broker did not make.
    InvalidCursor,
    /// No key was given, or it is unknown.
    Unauthenticated,
    /// The token has expired: the same call may pass with a fresh one.
    TokenExpired,
    /// What the caller shows was revoked: only another token may pass.
    Revoked,
    /// A backend ended the connection, and asks the client not to come back by itself.
    Disconnected,
    /// The caller is known but may not do this.
    PermissionDenied,
    /// There is no such thing.
    NotFound,
    /// The broker has no such call: it is older than this client, or no broker.
    MethodNotAllowed,
    /// Larger than its limit.
    TooLarge,
    /// A limit of the broker is reached.
    Overloaded,
    /// It was taken, and whether it was done is unknown.
    Unconfirmed,
    /// The node is leaving.
    Draining,
    /// The broker failed.
    Internal,
    /// One this client does not know by name.
    Other(String),
}

impl Code {
    /// Every code with a name that this client knows.
    const KNOWN: [Self; 14] = [
        Self::InvalidRequest,
        Self::InvalidCursor,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::Revoked,
        Self::Disconnected,
        Self::PermissionDenied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::Overloaded,
        Self::Unconfirmed,
        Self::Draining,
        Self::Internal,
    ];

    /// The code of this name.
    pub(crate) fn parse(name: &str) -> Self {
        Self::KNOWN.into_iter().find(|code| code.as_str() == name).unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// The name, as the broker gives it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidCursor => "invalid_cursor",
            Self::Unauthenticated => "unauthenticated",
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::Disconnected => "disconnected",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::Unconfirmed => "unconfirmed",
            Self::Draining => "draining",
            Self::Internal => "internal",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Refused {
    /// What a publisher hears: a "no", or that nobody knows.
    pub(crate) fn into_error(self, patience: Duration) -> Error {
        match self.code {
            Code::Unconfirmed => Error::OutcomeUnknown { patience, why: self.message },
            _ => Error::Refused(self),
        }
    }

    /// The broker answered with something this client cannot read.
    pub(crate) fn not_understood() -> Self {
        let message = "the broker's answer holds neither a result nor an error that this client knows".to_owned();
        Self { code: Code::Internal, message, retry: false }
    }
}

impl From<v1::PublishError> for Refused {
    fn from(error: v1::PublishError) -> Self {
        Self { code: Code::parse(&error.code), message: error.message, retry: error.retry }
    }
}

/// Adds what caused an error, unless it is said already.
pub(crate) fn append_causes(words: &mut String, mut cause: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_name_back() {
        for code in Code::KNOWN {
            assert_eq!(Code::parse(code.as_str()), code);
            assert!(!matches!(code, Code::Other(_)));
        }
        assert_eq!(Code::parse("one_of_tomorrow").as_str(), "one_of_tomorrow");
    }

    #[test]
    fn an_error_says_whether_to_come_back() {
        let refused = |retry| Error::Refused(Refused { code: Code::Overloaded, message: String::new(), retry });
        assert!(refused(true).may_retry() && !refused(false).may_retry());
        assert!(Error::Unavailable { patience: Duration::ZERO, why: String::new() }.may_retry());
        assert!(!Error::Key.may_retry());
        assert_eq!(refused(true).code(), Some(&Code::Overloaded));
    }
}
