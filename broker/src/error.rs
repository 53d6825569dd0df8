//! One table of errors for every surface: a code, its HTTP status, its gRPC status, and whether to come back.

use std::borrow::Cow;
use std::time::Duration;

/// What went wrong, as a closed list. The text form is part of the wire contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request cannot be understood or breaks a rule that the message names.
    InvalidRequest,
    /// A cursor that this broker did not make, or that is damaged.
    InvalidCursor,
    /// No credential was given, or it is not believed.
    Unauthenticated,
    /// The token has expired: a fresh one may pass.
    TokenExpired,
    /// What the caller shows was revoked: only another token may pass.
    Revoked,
    /// A backend ended this client's stay, and it is not to come back by itself.
    Disconnected,
    /// The caller is known but may not do this.
    PermissionDenied,
    /// There is no such route or thing.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The body, payload or name is larger than its limit.
    TooLarge,
    /// A limit of the broker is reached; the same request may pass later.
    Overloaded,
    /// It was taken, and nobody can say in time what became of it: it may have been done or not. The same request with the same
    /// publish id is safe.
    Unconfirmed,
    /// The node is leaving; another one will answer.
    Draining,
    /// The broker failed in a way that is not the caller's doing.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of [`ErrorCode::index`].
    pub const ALL: [Self; 14] = [
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

    /// The name clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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
        }
    }

    /// The HTTP status (RFC 9110, section 15).
    #[must_use]
    pub fn http_status(self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            Self::InvalidRequest | Self::InvalidCursor => S::BAD_REQUEST,
            Self::Unauthenticated | Self::TokenExpired | Self::Revoked => S::UNAUTHORIZED,
            Self::PermissionDenied | Self::Disconnected => S::FORBIDDEN,
            Self::NotFound => S::NOT_FOUND,
            Self::MethodNotAllowed => S::METHOD_NOT_ALLOWED,
            Self::TooLarge => S::PAYLOAD_TOO_LARGE,
            Self::Overloaded | Self::Draining => S::SERVICE_UNAVAILABLE,
            Self::Unconfirmed => S::GATEWAY_TIMEOUT,
            Self::Internal => S::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may pass later, here or on another node; after `token_expired` with a fresh token.
    #[must_use]
    pub fn may_retry(self) -> bool {
        matches!(self, Self::TokenExpired | Self::Overloaded | Self::Unconfirmed | Self::Draining | Self::Internal)
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Seconds after which to ask again, of which nobody knows better.
const RETRY_AFTER: u64 = 2;
/// Longest that somebody is told to wait: limits may be raised, and clients be given others, before a long debt is over.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// An error for the one who asked: a code for programs, a sentence for people. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Error {
    /// Which row of the table.
    pub code: ErrorCode,
    /// What exactly, with the limit or the rule that was broken.
    pub message: Cow<'static, str>,
    /// How long until it may pass, where that is known.
    pub wait: Option<Duration>,
}

impl Error {
    /// An error of this code with a sentence for people.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), wait: None }
    }

    /// The same, which may pass after this time.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    /// The seconds of a `Retry-After` (RFC 9110, section 10.2.3): how long until it may pass, rounded up, a minute at most; and a moment
    /// where nobody knows.
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        self.wait.map_or(RETRY_AFTER, |wait| wait.min(RETRY_AFTER_MAX).as_millis().div_ceil(1000).max(1) as u64)
    }

    /// Shorthand for the most frequent one.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

/// What fallible calls of the broker return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_wait_waits_long_enough_and_never_longer_than_a_minute() {
        let error = || Error::new(ErrorCode::Overloaded, "too much");
        assert_eq!(error().retry_after(), 2);
        let told = [0, 1, 1000, 1001, 59_001, 10_000_000].map(|ms| error().with_wait(Duration::from_millis(ms)).retry_after());
        assert_eq!(told, [1, 1, 1, 2, 60, 60]);
    }
}
