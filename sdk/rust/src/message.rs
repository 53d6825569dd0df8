//! What goes in and what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidings_proto::v1;

use crate::error::{Code, Refused};

/// Largest message in bytes, names and headers included, that is sent at all. A broker's namespaces usually allow less.
/// What is larger would be cut off by the gRPC layer, together with everything else on the same stream.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message on its way to the broker: bytes, and what is said about them.
///
/// Anything that turns into [`Bytes`] (`&'static str`, `String`, `Vec<u8>` …) is a message already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    data: Bytes,
    content_type: String,
    event: String,
    id: String,
    headers: BTreeMap<String, String>,
    ttl: Option<Duration>,
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(data: T) -> Self {
        Self::new(data)
    }
}

impl Message {
    /// A message of these bytes and nothing else.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// Says what the bytes are, as in HTTP. JSON is checked by the broker and reaches browsers as JSON.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Gives the event name that browsers listen for.
    #[must_use]
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = event.into();
        self
    }

    /// Gives the message an id of your own, 1–128 bytes: publishing it again within 120 seconds, by whomever, adds
    /// nothing. Without one, only this client's own retries are recognised.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Adds a header, or replaces the one of the same name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Has it kept for at most this long, when that is shorter than the namespace keeps it. Rounded up to milliseconds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The wire form, without a channel. Made once per message, so that every retry carries the same id.
    pub(crate) fn into_request(self) -> v1::PublishRequest {
        let retry_id = if self.id.is_empty() { Bytes::copy_from_slice(&rand::random::<[u8; 16]>()) } else { Bytes::new() };
        v1::PublishRequest {
            data: self.data,
            content_type: self.content_type,
            event: self.event,
            id: self.id,
            retry_id,
            headers: self.headers,
            // Zero would mean "as the namespace says", so the shortest life that can be asked for is one millisecond.
            ttl_ms: self.ttl.map_or(0, |ttl| u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)),
            ..v1::PublishRequest::default()
        }
    }
}

/// Refuses what the gRPC layer would not carry.
pub(crate) fn check_size(bytes: usize) -> Result<(), Refused> {
    if bytes <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a publish has at most {MESSAGE_BYTES_MAX} bytes on the wire, this one has {bytes}");
    Err(Refused { code: Code::TooLarge, message, retry: false })
}

/// What became of a message: the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The channel it is in.
    pub channel: String,
    /// Its number in the channel: 1, 2, 3 … without holes.
    pub offset: u64,
    /// Its position; a subscriber that resumes from here gets what comes after it.
    pub cursor: String,
    /// Its id: your own, or the one it was given.
    pub id: String,
    /// How many nodes hold it.
    pub copies: u32,
    /// Whether the broker had it already; then nothing was added and the rest is about the first one.
    pub duplicate: bool,
}

impl From<v1::PublishResult> for Published {
    fn from(result: v1::PublishResult) -> Self {
        let v1::PublishResult { channel, offset, cursor, id, copies, duplicate, results: _ } = result;
        Self { channel, offset, cursor, id, copies, duplicate }
    }
}

/// One outcome of several. An outcome that says neither is of a broker newer than this client.
pub(crate) fn outcome(outcome: v1::PublishOutcome) -> Result<Published, Refused> {
    match outcome.outcome {
        Some(v1::publish_outcome::Outcome::Result(result)) => Ok(result.into()),
        Some(v1::publish_outcome::Outcome::Error(error)) => Err(error.into()),
        None => Err(Refused::not_understood()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_retry_id_exactly_when_it_has_no_id() {
        assert_eq!(Message::new("a").into_request().retry_id.len(), 16);
        assert_ne!(Message::new("a").into_request().retry_id, Message::new("a").into_request().retry_id);
        assert!(Message::new("a").id("mine").into_request().retry_id.is_empty());
    }

    #[test]
    fn a_ttl_never_becomes_for_ever() {
        let ttl_ms = |ttl| Message::new("a").ttl(ttl).into_request().ttl_ms;
        assert_eq!(ttl_ms(Duration::ZERO), 1);
        assert_eq!(ttl_ms(Duration::from_micros(1_001)), 2);
        assert_eq!(ttl_ms(Duration::MAX), u64::MAX);
        assert_eq!(Message::new("a").into_request().ttl_ms, 0);
    }

    #[test]
    fn what_the_wire_cannot_carry_is_refused_here() {
        assert_eq!(check_size(MESSAGE_BYTES_MAX), Ok(()));
        assert_eq!(check_size(MESSAGE_BYTES_MAX + 1).unwrap_err().code, Code::TooLarge);
    }
}
