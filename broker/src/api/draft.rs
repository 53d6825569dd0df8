//! From the words of a request to a `Draft`: the rules both skins share.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::message::{ChannelName, Draft, EventName, Headers, Payload, PublishId};

/// A draft that does not know its channel yet. Cheap to clone, so that one content can go to many channels.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes.
    pub payload: Payload,
    /// The event name that browsers listen for.
    pub event: Option<EventName>,
    /// By which a repeat is recognised, in each channel for itself.
    pub id: Option<PublishId>,
    /// Extra name–value pairs.
    pub headers: Headers,
    /// Kept at most this long.
    pub ttl: Option<Duration>,
}

impl Content {
    /// The draft of this content for one channel.
    #[must_use]
    pub fn for_channel(self, channel: ChannelName) -> Draft {
        Draft { channel, id: self.id, event: self.event, payload: self.payload, headers: self.headers, ttl: self.ttl }
    }
}

/// Parses a time to live: seconds (`30`, `0.5`), or a number with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// `invalid_request` when it is neither, or not more than zero.
pub fn parse_ttl(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_each = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(no_ttl()),
    };
    // `f64` would also read words, signs and exponents, none of which anyone means here.
    if !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(no_ttl());
    }
    ttl_from_seconds(digits.parse::<f64>().map_err(|_| no_ttl())? * seconds_each)
}

/// A time to live in seconds.
///
/// # Errors
/// `invalid_request` unless it is a positive number that a duration can hold.
pub fn ttl_from_seconds(seconds: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(ttl) if !ttl.is_zero() => Ok(ttl),
        _ => Err(no_ttl()),
    }
}

fn no_ttl() -> Error {
    Error::invalid("a ttl is more than 0 seconds: a number, or text such as \"30s\", \"500ms\", \"5m\", \"1h\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_ttl_is_seconds_or_a_number_with_a_unit() {
        for (text, millis) in
            [("30", 30_000), ("0.5", 500), ("30s", 30_000), ("250ms", 250), ("5m", 300_000), ("1h", 3_600_000), ("2d", 172_800_000)]
        {
            assert_eq!(parse_ttl(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn other_words_are_no_ttl() {
        for text in
            ["", "s", "0", "0s", "-1", "+1", "1e3", "inf", "nan", "NaN", "1x", "1 s", "1.2.3", ".", "99999999999999999999999h", "٣s", "ms"]
        {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
        assert!(ttl_from_seconds(f64::NAN).is_err());
        assert!(ttl_from_seconds(-1.0).is_err());
    }

    #[test]
    fn the_brokers_own_channels_are_closed() {
        assert_eq!(ChannelName::parse("tidings-probe:x").unwrap_err().code, ErrorCode::PermissionDenied);
        assert_eq!(ChannelName::parse("").unwrap_err().code, ErrorCode::InvalidRequest);
        assert_eq!(ChannelName::parse("tidings-probes").unwrap().as_str(), "tidings-probes");
    }
}
