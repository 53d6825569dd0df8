//! How a connection ends from our side: the same words as on every front, then a close frame whose code says the same in
//! RFC 6455's numbers.

use std::time::Duration;

use super::codec::{CloseCode, Violation, write_close};
use super::encoder::Objects;
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode};
use crate::wire::write_end;

/// Why, in words and in a number.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    close: CloseCode,
    /// The code word: also the close frame's reason.
    word: &'static str,
    sentence: &'a str,
    may_retry: bool,
}

impl<'a> Ending<'a> {
    /// The broker's own reason.
    pub(super) fn of(reason: CloseReason) -> Self {
        Self { close: code_of(reason), word: reason.as_str(), sentence: reason.sentence(), may_retry: reason.may_retry() }
    }

    /// What was asked for cannot be had.
    pub(super) fn refused(error: &'a Error) -> Self {
        let close = match error.code {
            ErrorCode::Overloaded => CloseCode::TRY_AGAIN_LATER,
            ErrorCode::Draining => CloseCode::GOING_AWAY,
            ErrorCode::Internal => CloseCode::INTERNAL,
            ErrorCode::TokenExpired => CloseCode::TOKEN_EXPIRED,
            ErrorCode::Revoked => CloseCode::REVOKED,
            _ => CloseCode::POLICY,
        };
        Self { close, word: error.code.as_str(), sentence: &error.message, may_retry: error.code.may_retry() }
    }

    /// The client's frames are wrong.
    pub(super) fn violated(violation: Violation) -> Self {
        let word = if violation == Violation::TooLarge { ErrorCode::TooLarge.as_str() } else { CloseReason::ProtocolError.as_str() };
        Self { close: violation.code(), word, sentence: violation.sentence(), may_retry: false }
    }

    /// The client's messages are not what this protocol takes.
    pub(super) fn misused(close: CloseCode, sentence: &'static str) -> Self {
        Self { close, word: CloseReason::ProtocolError.as_str(), sentence, may_retry: false }
    }

    /// Writes the last words.
    pub(super) fn write(&self, objects: &Objects, retry: Duration, out: &mut Vec<u8>) {
        let retry = self.may_retry.then_some(retry);
        objects.write_reply(out, None, "close", |out| write_end(out, self.word, self.sentence, self.may_retry, retry));
        write_close(out, Some((self.close, self.word)));
    }
}

/// The number for each of the broker's reasons (RFC 6455, section 7.4.1).
fn code_of(reason: CloseReason) -> CloseCode {
    match reason {
        CloseReason::ClientGone | CloseReason::Finished => CloseCode::NORMAL,
        CloseReason::Draining => CloseCode::GOING_AWAY,
        CloseReason::TooSlow | CloseReason::Lagged => CloseCode::TRY_AGAIN_LATER,
        CloseReason::Stopped => CloseCode::INTERNAL,
        CloseReason::Unresponsive | CloseReason::Refused => CloseCode::POLICY,
        CloseReason::ProtocolError => CloseCode::PROTOCOL_ERROR,
        CloseReason::TokenExpired => CloseCode::TOKEN_EXPIRED,
        CloseReason::Revoked => CloseCode::REVOKED,
        // A connection of this front stays without a subscription, so the second is never said here.
        CloseReason::Disconnected | CloseReason::Unsubscribed => CloseCode::DISCONNECTED,
        CloseReason::Reconnect => CloseCode::SERVICE_RESTART,
    }
}
