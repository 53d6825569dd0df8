//! Why somebody is not let in, or may not do something: a label for the metric, a code and a sentence for the caller, a
//! detail for the log. None of them holds a secret, and none holds a token.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::{Error, ErrorCode};
pub use crate::metrics::Denied;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The metric's label.
    pub cause: Denied,
    /// For the caller.
    pub message: Cow<'static, str>,
    /// For the log, beside the message.
    pub detail: String,
    /// How long until it is worth to ask again, where that is known.
    pub wait: Option<Duration>,
}

impl Refusal {
    /// A refusal whose sentence says it all.
    pub fn new(cause: Denied, message: impl Into<Cow<'static, str>>) -> Self {
        Self { cause, message: message.into(), detail: String::new(), wait: None }
    }

    /// With more for the log.
    #[must_use]
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The row of the error table.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self.cause {
            Denied::Expired => ErrorCode::TokenExpired,
            Denied::Revoked => ErrorCode::Revoked,
            Denied::Permission | Denied::Namespace | Denied::Origin => ErrorCode::PermissionDenied,
            Denied::Rate => ErrorCode::Overloaded,
            _ => ErrorCode::Unauthenticated,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self { wait: refusal.wait, ..Self::new(refusal.code(), refusal.message) }
    }
}
