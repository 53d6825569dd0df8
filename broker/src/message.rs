//! The values a publish is made of. Each is valid by its type: what parses here needs no second look further in.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};

/// Longest channel name, in bytes.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;
/// Longest event name, in bytes.
pub const EVENT_NAME_BYTES_MAX: usize = 255;
/// Longest publish id, in bytes.
pub const PUBLISH_ID_BYTES_MAX: usize = 128;
/// Longest content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// How deep arrays and objects of a JSON payload may lie in one another. Parsers give up at some depth, the strictest of the
/// common ones at 64, and one payload that a reader's parser refuses takes its whole answer with it.
pub const JSON_DEPTH_MAX: usize = 60;
/// Most headers on one message.
pub const HEADERS_MAX: usize = 32;
/// Most bytes of all header names and values of one message together.
pub const HEADERS_BYTES_MAX: usize = 4096;
/// Event names with this prefix are the broker's own.
pub const RESERVED_EVENT_PREFIX: &str = "tidings:";
/// Channels with this prefix are the broker's own: users neither see nor use them.
pub const INTERNAL_CHANNEL_PREFIX: &str = "tidings-probe:";

/// A channel's name: UTF-8, 1–255 bytes, no control characters. Cheap to clone.
///
/// The part before the first `:` is its namespace; the first `{tag}` with something in it, if any, decides the slot
/// instead of the whole name, so that channels which belong together can share one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Parses a name that a user gave.
    ///
    /// # Errors
    /// `invalid_request` when it is empty, longer than 255 bytes, or holds a control character; `permission_denied` for a
    /// channel of the broker's own.
    pub fn parse(name: &str) -> Result<Self> {
        if name.starts_with(INTERNAL_CHANNEL_PREFIX) {
            return Err(Error::new(ErrorCode::PermissionDenied, "channels that start with `tidings-probe:` are the broker's own"));
        }
        if name.is_empty() {
            return Err(Error::invalid("a channel name must not be empty"));
        }
        if name.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(Error::invalid(format!("a channel name has at most {CHANNEL_NAME_BYTES_MAX} bytes, this one has {}", name.len())));
        }
        if holds_control(name) {
            return Err(Error::invalid("a channel name must not hold control characters"));
        }
        Ok(Self(name.into()))
    }

    /// A channel of the broker's own.
    #[must_use]
    pub(crate) fn internal(name: impl fmt::Display) -> Self {
        Self(format!("{INTERNAL_CHANNEL_PREFIX}{name}").into())
    }

    /// A name as another node of the cluster says it, the broker's own ones included. `None` when it could not have been one.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub(crate) fn told(name: &str) -> Option<Self> {
        let is_name = (1..=CHANNEL_NAME_BYTES_MAX).contains(&name.len()) && !holds_control(name);
        is_name.then(|| Self(name.into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `:`; `None` when there is no `:`.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let end = self.0.bytes().position(|byte| byte == b':')?;
        Some(&self.0[..end])
    }

    /// The part that decides the slot: the first non-empty `{tag}`, else the whole name.
    #[must_use]
    pub fn slot_key(&self) -> &str {
        let name = &*self.0;
        if let Some(open) = name.find('{')
            && let Some(len) = name[open + 1..].find('}')
            && len > 0
        {
            return &name[open + 1..open + 1 + len];
        }
        name
    }

    /// Whether this is a channel of the broker's own, hidden from users.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with(INTERNAL_CHANNEL_PREFIX)
    }

    /// Whether both are the very same allocation: true only for clones of one value.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// An event name that a browser can listen for: 1–255 bytes, no CR, LF or other control character, not `tidings:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(Arc<str>);

impl EventName {
    /// Parses a name.
    ///
    /// # Errors
    /// `invalid_request` when it is empty, too long, holds a control character (it could forge a line of the event
    /// stream) or starts with the reserved prefix.
    pub fn parse(name: &str) -> Result<Self> {
        if name.is_empty() || name.len() > EVENT_NAME_BYTES_MAX {
            return Err(Error::invalid(format!("an event name has 1 to {EVENT_NAME_BYTES_MAX} bytes")));
        }
        if holds_control(name) {
            return Err(Error::invalid("an event name must not hold control characters"));
        }
        if name.starts_with(RESERVED_EVENT_PREFIX) {
            return Err(Error::invalid("event names that start with `tidings:` are reserved"));
        }
        Ok(Self(name.into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A publisher's own name for a message, by which a repeated publish is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublishId {
    /// Made by an SDK for its own retries; remembered 30 s.
    Retry(u128),
    /// Chosen by the publisher; remembered 120 s. 1–128 bytes, no control characters.
    Keyed(Arc<str>),
}

impl PublishId {
    /// Parses a publisher's key.
    ///
    /// # Errors
    /// `invalid_request` when it is empty, longer than 128 bytes, or holds a control character.
    pub fn keyed(id: &str) -> Result<Self> {
        if id.is_empty() || id.len() > PUBLISH_ID_BYTES_MAX {
            return Err(Error::invalid(format!("a publish id has 1 to {PUBLISH_ID_BYTES_MAX} bytes")));
        }
        if holds_control(id) {
            return Err(Error::invalid("a publish id must not hold control characters"));
        }
        Ok(Self::Keyed(id.into()))
    }

    /// An id nobody else has, for a publisher that gave none.
    #[must_use]
    pub fn fresh() -> Self {
        // Its top bit tells it from ids that are made of positions.
        Self::Retry(1 << 127 | rand::random::<u128>())
    }
}

impl From<&PublishId> for MessageId {
    fn from(id: &PublishId) -> Self {
        match id {
            PublishId::Retry(id) => Self::Auto(*id),
            PublishId::Keyed(id) => Self::Keyed(id.clone()),
        }
    }
}

/// The id that subscribers see: the publisher's own, or one the broker made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageId {
    /// 128 bits, shown as 32 hexadecimal digits.
    Auto(u128),
    /// The publisher's key, as it was given.
    Keyed(Arc<str>),
}

impl MessageId {
    /// As subscribers see it, written into `digits` where it is made of them.
    pub(crate) fn text<'a>(&'a self, digits: &'a mut [u8; 32]) -> &'a str {
        match self {
            Self::Auto(id) => hexadecimal(*id, digits),
            Self::Keyed(id) => id,
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; 32]))
    }
}

/// Whether a text holds a control character.
fn holds_control(text: &str) -> bool {
    // Without a way out of the loop, so that it looks at many bytes at once. Some of what begins with 0xc2 are control characters,
    // nothing that begins with more is.
    let is_suspect = text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == 0x7f) | (byte == 0xc2));
    is_suspect && text.chars().any(char::is_control)
}

/// The 32 digits of an id, into `out`: each publish is answered with one, and the general way of writing numbers is slow.
fn hexadecimal(id: u128, out: &mut [u8; 32]) -> &str {
    for (pair, byte) in out.chunks_exact_mut(2).zip(id.to_be_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    std::str::from_utf8(out).expect("digits are ASCII")
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// How a payload appears inside JSON. Decided once, when it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// Valid JSON of a JSON content type: embedded as it is.
    Json,
    /// Valid UTF-8: a string.
    Text,
    /// Anything else: base64.
    Binary,
}

impl PayloadKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Binary];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// A message's bytes with what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
    kind: PayloadKind,
    content_type: Option<Arc<str>>,
}

impl Payload {
    /// Takes an exact copy of `bytes` (a slice of a receive buffer would keep the whole buffer alive in the history).
    ///
    /// # Errors
    /// `invalid_request` when the content type is JSON and the bytes are not, or lie deeper than [`JSON_DEPTH_MAX`] in one
    /// another, or when the content type is too long or holds characters that a header may not.
    pub fn new(bytes: &[u8], content_type: Option<&str>) -> Result<Self> {
        if let Some(content_type) = content_type
            && (content_type.is_empty()
                || content_type.len() > CONTENT_TYPE_BYTES_MAX
                || !content_type.bytes().all(|b| (0x20..0x7f).contains(&b)))
        {
            return Err(Error::invalid(format!("a content type has 1 to {CONTENT_TYPE_BYTES_MAX} printable ASCII characters")));
        }
        let kind = if content_type.is_some_and(is_json) {
            serde_json::from_slice::<&serde_json::value::RawValue>(bytes)
                .map_err(|why| Error::invalid(format!("the content type is JSON but the payload is not: {why}")))?;
            if json_depth_is_over(bytes, JSON_DEPTH_MAX) {
                return Err(Error::invalid(format!(
                    "arrays and objects of a JSON payload lie at most {JSON_DEPTH_MAX} deep in one another"
                )));
            }
            PayloadKind::Json
        } else if std::str::from_utf8(bytes).is_ok() {
            PayloadKind::Text
        } else {
            PayloadKind::Binary
        };
        Ok(Self { bytes: Bytes::copy_from_slice(bytes), kind, content_type: content_type.map(shared) })
    }

    /// A payload as another node of the cluster says it: what it is was found out there, when it was published. Takes an exact
    /// copy of `bytes`.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub(crate) fn told(bytes: &[u8], kind: PayloadKind, content_type: Option<&str>) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), kind, content_type: content_type.map(shared) }
    }

    /// A payload of plain text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { bytes: Bytes::copy_from_slice(text.as_bytes()), kind: PayloadKind::Text, content_type: None }
    }

    /// A payload of the type `application/json`.
    ///
    /// # Errors
    /// `invalid_request` when the value cannot be written as JSON, or is nested too deeply.
    pub fn json(value: &impl serde::Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value).map_err(|why| Error::invalid(format!("the value cannot be written as JSON: {why}")))?;
        Self::new(&bytes, Some("application/json"))
    }

    /// The bytes as they were published.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How they appear inside JSON.
    #[must_use]
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The content type the publisher gave, if any.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }
}

/// Content types that most messages have, kept once for all of them.
static COMMON: LazyLock<[Arc<str>; 4]> =
    LazyLock::new(|| ["application/json", "text/plain", "application/octet-stream", "text/plain; charset=utf-8"].map(Arc::from));

fn shared(content_type: &str) -> Arc<str> {
    COMMON.iter().find(|known| ***known == *content_type).map_or_else(|| content_type.into(), Arc::clone)
}

/// Whether valid JSON is nested deeper than that.
fn json_depth_is_over(json: &[u8], depth_max: usize) -> bool {
    // Most payloads do not even hold so many brackets, and counting them is quick.
    if json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= depth_max {
        return false;
    }
    let (mut depth, mut in_string, mut bytes) = (0_usize, false, json.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            // Whatever is escaped, it is one byte of a string at least, and no end of it.
            b'\\' => drop(bytes.next()),
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    false
}

/// Whether a content type (RFC 9110, section 8.3.1) is JSON: `application/json` or a `+json` suffix (RFC 6839).
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let bytes = content_type.as_bytes();
    let essence = bytes.iter().position(|byte| *byte == b';').map_or(bytes, |end| &bytes[..end]).trim_ascii();
    let ends_with = |suffix: &[u8]| essence.len() >= suffix.len() && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix);
    ends_with(b"+json") || essence.eq_ignore_ascii_case(b"application/json")
}

/// Headers of a message: names and values, in the publisher's order. Bounded by [`HEADERS_MAX`] and
/// [`HEADERS_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<[Header]>>);

type Header = (Box<str>, Box<str>);

impl Headers {
    /// Parses name–value pairs.
    ///
    /// # Errors
    /// `invalid_request` for an empty or repeated name or a control character, `too_large` past the bounds.
    pub fn parse<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self> {
        let mut kept: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut bytes = 0;
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.is_empty() || holds_control(name) || holds_control(value) {
                return Err(Error::invalid("a message header needs a name, and neither name nor value may hold control characters"));
            }
            if kept.iter().any(|(known, _)| **known == *name) {
                return Err(Error::invalid(format!("the message header `{name}` is given twice")));
            }
            bytes += name.len() + value.len();
            if kept.len() == HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
                return Err(Error::new(
                    ErrorCode::TooLarge,
                    format!("a message has at most {HEADERS_MAX} headers of {HEADERS_BYTES_MAX} bytes together"),
                ));
            }
            kept.push((name.into(), value.into()));
        }
        Ok(Self((!kept.is_empty()).then(|| kept.into())))
    }

    /// Name–value pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|pairs| pairs.iter()).map(|(name, value)| (&**name, &**value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// What a publisher asks to be kept and delivered: a message without its place in the log.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where to.
    pub channel: ChannelName,
    /// By which a repeat is recognised; without one nothing is compared.
    pub id: Option<PublishId>,
    /// The event name that browsers listen for.
    pub event: Option<EventName>,
    /// The bytes.
    pub payload: Payload,
    /// Extra name–value pairs, handed on as they are.
    pub headers: Headers,
    /// Kept at most this long, when shorter than the namespace keeps it.
    pub ttl: Option<Duration>,
}

impl Draft {
    /// A message with nothing but its payload. The rest is set by its fields.
    #[must_use]
    pub fn new(channel: ChannelName, payload: Payload) -> Self {
        Self { channel, id: None, event: None, payload, headers: Headers::default(), ttl: None }
    }

    /// Bytes that its publisher brings: payload and headers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (self.payload.bytes().len() + headers) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_as_32_digits() {
        for id in [0, 1, 0xabc << 80 | 9 << 64 | 1_000_000, u128::MAX] {
            assert_eq!(MessageId::Auto(id).to_string(), format!("{id:032x}"));
        }
    }

    #[test]
    fn common_content_types_are_kept_once() {
        let payload = |content_type| Payload::new(b"1", Some(content_type)).unwrap().content_type.unwrap();
        assert!(Arc::ptr_eq(&payload("text/plain"), &payload("text/plain")));
        assert_eq!(&*payload("text/csv"), "text/csv");
    }

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn json_may_be_nested_only_so_deep() {
        let json = |text: &str| Payload::new(text.as_bytes(), Some("application/json"));
        assert!(json(&nested(JSON_DEPTH_MAX)).is_ok());
        assert!(json(&nested(JSON_DEPTH_MAX + 1)).is_err());
        assert!(json(&format!("{}1{}", "{\"a\":".repeat(JSON_DEPTH_MAX + 1), "}".repeat(JSON_DEPTH_MAX + 1))).is_err());
        // Neither a stack nor patience runs out.
        assert!(json(&nested(1 << 20)).is_err());
        assert!(json(&"[".repeat(1 << 20)).is_err());
        // Many beside one another, or in strings, lie in nothing.
        assert!(json(&format!("[{}]", vec!["[{}]"; 1000].join(","))).is_ok());
        assert!(json(&serde_json::to_string(&"\"[[{\\".repeat(100)).unwrap()).is_ok());
        assert!(Payload::new(nested(1000).as_bytes(), Some("text/plain")).is_ok(), "text is text");
    }

    #[test]
    fn a_control_character_is_found_wherever_it_stands() {
        for char in '\0'..='\u{ffff}' {
            assert_eq!(holds_control(&format!("é{char}x")), char.is_control(), "{char:?}");
        }
    }

    #[test]
    fn payloads_are_made_of_what_a_program_has() {
        let json = Payload::json(&vec![Some(1), None]).unwrap();
        assert_eq!((&json.bytes()[..], json.kind(), json.content_type()), (&b"[1,null]"[..], PayloadKind::Json, Some("application/json")));
        assert_eq!((Payload::text("ü").bytes().len(), Payload::text("ü").kind()), (2, PayloadKind::Text));
        let keys = std::collections::HashMap::from([(vec![1], 1)]);
        assert!(Payload::json(&keys).is_err(), "an object's names are strings");
    }
}
