//! What a failed try means: for the next try, and for the one who waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::{Code, Error, Refused, append_causes};

/// The metadata key under which a broker gives its own code for a failed call.
const CODE_KEY: &str = "tidings-code";

/// Why one try of a call did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// Asking again gives the same answer.
    Final(Refused),
    /// The broker did not do it, and says that it may do it later.
    Later(Refused),
    /// It never left here.
    Unreached(String),
    /// It was lost on the way, there or back.
    Lost(String),
}

impl Failure {
    /// Nobody said anything for too long.
    pub(crate) fn silence() -> Self {
        Self::Lost("the broker did not answer".to_owned())
    }

    /// Reads a gRPC status.
    pub(crate) fn of(status: &tonic::Status) -> Self {
        use tonic::Code as C;
        let named = status.metadata().get(CODE_KEY).and_then(|name| name.to_str().ok()).map(Code::parse);
        let code = match (named, status.code()) {
            (Some(code @ (Code::Overloaded | Code::Draining)), _) => {
                return Self::Later(Refused { code, message: status.message().to_owned(), retry: true });
            }
            (Some(Code::Internal | Code::Unconfirmed), _) => return Self::Lost(words(status)),
            (Some(code), _) => code,
            // Without a code of ours it comes from the layers between: ours or the broker's HTTP/2, or a proxy.
            (None, C::InvalidArgument | C::FailedPrecondition) => Code::InvalidRequest,
            (None, C::Unauthenticated) => Code::Unauthenticated,
            (None, C::PermissionDenied) => Code::PermissionDenied,
            (None, C::NotFound) => Code::NotFound,
            (None, C::OutOfRange) => Code::TooLarge,
            (None, C::Unimplemented) => Code::MethodNotAllowed,
            (None, _) if was_not_connected(status) => return Self::Unreached(words(status)),
            (None, _) => return Self::Lost(words(status)),
        };
        Self::Final(Refused { code, message: words(status), retry: false })
    }

    /// In words.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Final(refused) | Self::Later(refused) => refused.to_string(),
            Self::Unreached(why) | Self::Lost(why) => why.clone(),
        }
    }
}

/// Whether there was no connection to send anything over.
fn was_not_connected(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A status in words, with the cause that transport errors hide below their first line.
fn words(status: &tonic::Status) -> String {
    let mut words = if status.message().is_empty() { status.code().description().to_owned() } else { status.message().to_owned() };
    append_causes(&mut words, std::error::Error::source(status));
    words
}

/// Whether doing a call twice is the same as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads: a lost answer is no riddle.
    Reads,
    /// It changes something.
    Changes,
}

/// The tries of one call.
#[derive(Debug)]
pub(crate) struct Tries {
    effect: Effect,
    patience: Duration,
    pub(crate) deadline: Instant,
    backoff: Backoff,
    may_be_done: bool,
}

impl Tries {
    /// Begins now.
    pub(crate) fn new(effect: Effect, patience: Duration) -> Self {
        Self { effect, patience, deadline: Instant::now() + patience, backoff: Backoff::of_a_call(), may_be_done: false }
    }

    /// After a failed try: how long to wait for the next one.
    ///
    /// # Errors
    /// The end: a "no", or no time for another try.
    pub(crate) fn failed(&mut self, failure: Failure) -> Result<Duration, Error> {
        if let Failure::Final(refused) = failure {
            return Err(refused.into());
        }
        self.may_be_done |= matches!(failure, Failure::Lost(_)) && self.effect == Effect::Changes;
        let pause = self.backoff.next();
        if Instant::now() + pause < self.deadline { Ok(pause) } else { Err(given_up(self.patience, self.may_be_done, failure)) }
    }
}

/// What is said when patience ends.
pub(crate) fn given_up(patience: Duration, may_be_done: bool, last: Failure) -> Error {
    match last {
        last if may_be_done => Error::OutcomeUnknown { patience, why: last.why() },
        Failure::Final(refused) | Failure::Later(refused) => Error::Refused(refused),
        Failure::Unreached(why) | Failure::Lost(why) => Error::Unavailable { patience, why },
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

    fn later() -> Failure {
        Failure::of(&named(Status::resource_exhausted("later"), "overloaded"))
    }

    #[test]
    fn the_brokers_own_code_wins_over_the_grpc_status() {
        let too_large = named(Status::resource_exhausted("too much"), "too_large");
        assert_eq!(Failure::of(&too_large), Failure::Final(Refused { code: Code::TooLarge, message: "too much".into(), retry: false }));
        assert_eq!(later(), Failure::Later(Refused { code: Code::Overloaded, message: "later".into(), retry: true }));
        assert!(matches!(Failure::of(&named(Status::internal("a fault"), "internal")), Failure::Lost(_)));
        assert!(matches!(Failure::of(&named(Status::deadline_exceeded("who knows"), "unconfirmed")), Failure::Lost(_)));
    }

    #[test]
    fn a_broken_connection_is_worth_another_try() {
        assert!(matches!(Failure::of(&Status::unavailable("refused")), Failure::Lost(_)));
        assert!(matches!(Failure::of(&Status::unknown("transport error")), Failure::Lost(_)));
        assert!(matches!(Failure::of(&Status::unimplemented("")), Failure::Final(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn when_patience_ends_the_error_says_whether_it_may_be_done() {
        let end = |effect, failures: Vec<Failure>| {
            let mut tries = Tries::new(effect, Duration::ZERO);
            failures.into_iter().map(|failure| tries.failed(failure).unwrap_err()).last().unwrap()
        };
        let lost = || Failure::Lost("cut".into());
        let unreached = || Failure::Unreached("refused".into());
        assert!(matches!(end(Effect::Changes, vec![unreached()]), Error::Unavailable { .. }));
        assert!(matches!(end(Effect::Changes, vec![lost(), unreached()]), Error::OutcomeUnknown { .. }));
        assert!(matches!(end(Effect::Changes, vec![lost(), later()]), Error::OutcomeUnknown { .. }));
        assert!(matches!(end(Effect::Changes, vec![unreached(), later()]), Error::Refused(refused) if refused.retry));
        assert!(matches!(end(Effect::Reads, vec![lost()]), Error::Unavailable { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_go_on_while_there_is_time_and_end_with_a_no() {
        let mut tries = Tries::new(Effect::Changes, Duration::from_secs(20));
        assert!(tries.failed(later()).is_ok());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(tries.failed(later()).is_err());
        let no = Refused { code: Code::TooLarge, message: String::new(), retry: false };
        assert_eq!(Tries::new(Effect::Changes, Duration::from_secs(20)).failed(Failure::Final(no.clone())), Err(Error::Refused(no)));
    }
}
