//! What can go wrong, and whether to come back.

use std::fmt;
use std::time::Duration;

use tidings_proto::v1;

/// The metadata key under which a broker gives its own code for a failed call.
const CODE_KEY: &str = "tidings-code";

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
    /// The broker answered, and said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No broker gave a final answer in time. The message may or may not have been published; publishing it again is
    /// only safe with an id of your own.
    #[error("no answer from the broker within {patience:?}: {why}")]
    Unavailable {
        /// How long it was tried.
        patience: Duration,
        /// What the last try met.
        why: String,
    },
    /// The stream's task is gone, which happens when its runtime shuts down.
    #[error("the publish stream has ended")]
    StreamEnded,
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
    /// Whether the same message may pass later.
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
    /// The caller is known but may not do this.
    PermissionDenied,
    /// There is no such thing.
    NotFound,
    /// Larger than its limit.
    TooLarge,
    /// A limit of the broker is reached.
    Overloaded,
    /// The node is leaving.
    Draining,
    /// The broker failed.
    Internal,
    /// One this client does not know by name.
    Other(String),
}

impl Code {
    /// The code of this name.
    fn parse(name: &str) -> Self {
        match name {
            "invalid_request" => Self::InvalidRequest,
            "invalid_cursor" => Self::InvalidCursor,
            "unauthenticated" => Self::Unauthenticated,
            "permission_denied" => Self::PermissionDenied,
            "not_found" => Self::NotFound,
            "too_large" => Self::TooLarge,
            "overloaded" => Self::Overloaded,
            "draining" => Self::Draining,
            "internal" => Self::Internal,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name, as the broker gives it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidCursor => "invalid_cursor",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
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

/// What a failed call means for the one who made it.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// Asking again gives the same answer.
    Final(Refused),
    /// Nobody answered, or the answer was "later": worth another try.
    Passing(String),
}

impl Failure {
    /// Reads a gRPC status.
    pub(crate) fn of(status: &tonic::Status) -> Self {
        use tonic::Code as C;
        let named = status.metadata().get(CODE_KEY).and_then(|name| name.to_str().ok()).map(Code::parse);
        let code = match (named, status.code()) {
            (Some(Code::Overloaded | Code::Draining | Code::Internal), _) => return Self::Passing(words(status)),
            (Some(code), _) => code,
            // Without a code of ours it comes from the layers between: ours or the broker's HTTP/2, or a proxy.
            (None, C::InvalidArgument | C::FailedPrecondition) => Code::InvalidRequest,
            (None, C::Unauthenticated) => Code::Unauthenticated,
            (None, C::PermissionDenied) => Code::PermissionDenied,
            (None, C::NotFound) => Code::NotFound,
            (None, C::OutOfRange) => Code::TooLarge,
            (None, C::Unimplemented) => Code::Other("unimplemented".to_owned()),
            (None, _) => return Self::Passing(words(status)),
        };
        Self::Final(Refused { code, message: status.message().to_owned(), retry: false })
    }
}

/// A status in words, with the cause that transport errors hide below their first line.
fn words(status: &tonic::Status) -> String {
    let mut words = if status.message().is_empty() { status.code().description().to_owned() } else { status.message().to_owned() };
    append_causes(&mut words, std::error::Error::source(status));
    words
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
    use tonic::Status;

    use super::*;

    fn named(status: Status, code: &'static str) -> Status {
        let mut metadata = tonic::metadata::MetadataMap::new();
        metadata.insert(CODE_KEY, tonic::metadata::MetadataValue::from_static(code));
        Status::with_metadata(status.code(), status.message(), metadata)
    }

    #[test]
    fn the_brokers_own_code_wins_over_the_grpc_status() {
        let too_large = named(Status::resource_exhausted("too much"), "too_large");
        assert_eq!(Failure::of(&too_large), Failure::Final(Refused { code: Code::TooLarge, message: "too much".into(), retry: false }));
        let overloaded = named(Status::resource_exhausted("later"), "overloaded");
        assert_eq!(Failure::of(&overloaded), Failure::Passing("later".into()));
    }

    #[test]
    fn a_broken_connection_is_worth_another_try() {
        assert!(matches!(Failure::of(&Status::unavailable("refused")), Failure::Passing(_)));
        assert!(matches!(Failure::of(&Status::unknown("transport error")), Failure::Passing(_)));
        assert!(matches!(Failure::of(&Status::unimplemented("")), Failure::Final(_)));
    }

    #[test]
    fn every_code_has_its_name_back() {
        for name in ["invalid_request", "too_large", "draining", "one_of_tomorrow"] {
            assert_eq!(Code::parse(name).as_str(), name);
        }
    }
}
