//! The JSON body of `POST /v1/publish`: a message described member by member, and where it goes.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::draft::{Content, parse_ttl, ttl_from_seconds};
use crate::error::{Error, Result};
use crate::message::{ChannelName, EventName, Headers, Payload, PublishId, is_json};

/// Padding is taken with or without: encoders differ, and nothing is gained by refusing one.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Where a JSON publish goes.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    One(String),
    Many(Vec<String>),
}

/// The body of `POST /v1/publish` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    channel: Option<String>,
    channels: Option<Vec<String>>,
    // `null` is a payload too, so being there must not depend on the value.
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    event: Option<String>,
    id: Option<String>,
    content_type: Option<String>,
    headers: Option<Pairs>,
    ttl: Option<Ttl>,
}

/// Reads a JSON publish.
///
/// # Errors
/// `invalid_request` that says what is wrong and where.
pub(super) fn parse(bytes: &[u8]) -> Result<(Target, Content)> {
    if !is_object(bytes) {
        return Err(Error::invalid("the body is not a publish in JSON: that is an object"));
    }
    let request: Request<'_> = serde_json::from_slice(bytes).map_err(|why| {
        // The message may quote the body; nobody needs a megabyte of it back.
        let why: String = why.to_string().chars().take(300).collect();
        Error::invalid(format!("the body is not a publish in JSON: {why}"))
    })?;
    let target = match (request.channel, request.channels) {
        (Some(channel), None) => Target::One(channel),
        (None, Some(channels)) if !channels.is_empty() => Target::Many(channels),
        _ => return Err(Error::invalid("give exactly one of `channel` and `channels`, and at least one channel")),
    };
    let content_type = request.content_type.as_deref();
    let payload = match (request.data, request.text, request.base64) {
        (Some(data), None, None) => {
            if content_type.is_some_and(|given| !is_json(given)) {
                return Err(Error::invalid("`data` is JSON and so must be its `content_type`; for others use `text` or `base64`"));
            }
            Payload::new(data.get().as_bytes(), content_type.or(Some("application/json")))?
        }
        (None, Some(text), None) => Payload::new(text.as_bytes(), content_type)?,
        (None, None, Some(base64)) => {
            let bytes = BASE64.decode(base64).map_err(|why| Error::invalid(format!("`base64` is not base64: {why}")))?;
            Payload::new(&bytes, content_type)?
        }
        _ => return Err(Error::invalid("give exactly one of `data`, `text` and `base64`")),
    };
    let content = Content {
        payload,
        event: request.event.as_deref().map(EventName::parse).transpose()?,
        id: request.id.as_deref().map(PublishId::keyed).transpose()?,
        headers: Headers::parse(request.headers.map(|pairs| pairs.0).unwrap_or_default())?,
        ttl: request.ttl.map(|ttl| ttl.0),
    };
    Ok((target, content))
}

/// Where a publish was to go that [`parse`] refused, for whoever looks up why: of a JSON object that names one channel, once, and by a name
/// that a channel can have. Of anything else nothing is guessed, nor shown. It reads what was read once more, and keeps no more than the name.
pub(super) fn channel_of(bytes: &[u8]) -> Option<ChannelName> {
    #[derive(Deserialize)]
    struct Addressed<'a> {
        #[serde(borrow)]
        channel: Cow<'a, str>,
        channels: Option<IgnoredAny>,
    }
    if !is_object(bytes) {
        return None;
    }
    let addressed: Addressed<'_> = serde_json::from_slice(bytes).ok()?;
    if addressed.channels.is_some() {
        return None;
    }
    ChannelName::parse(&addressed.channel).ok()
}

/// The library would take an array for the fields in their order.
fn is_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// An object of strings in the publisher's order, repeated names included so that they can be refused.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Read)
    }
}

/// A time to live as seconds or as text.
struct Ttl(Duration);

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Ttl;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds as a number, or text such as \"30s\"")
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Ttl, E> {
                self.visit_f64(seconds as f64)
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Ttl, E> {
                self.visit_f64(seconds as f64)
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Ttl, E> {
                ttl_from_seconds(seconds).map(Ttl).map_err(|why| E::custom(why.message))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ttl, E> {
                parse_ttl(text).map(Ttl).map_err(|why| E::custom(why.message))
            }
        }
        from.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::PayloadKind;

    fn content(json: &str) -> Content {
        parse(json.as_bytes()).unwrap().1
    }

    #[test]
    fn one_channel_or_many() {
        assert_eq!(parse(br#"{"channel":"a","text":""}"#).unwrap().0, Target::One("a".into()));
        assert_eq!(parse(br#"{"channels":["a","b"],"text":""}"#).unwrap().0, Target::Many(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn data_is_json_whatever_its_shape() {
        for data in ["null", "1", "\"x\"", "{\"a\" : [1, 2]}", "[]", "true"] {
            let payload = content(&format!(r#"{{"channel":"a","data":{data}}}"#)).payload;
            assert_eq!((payload.kind(), &payload.bytes()[..]), (PayloadKind::Json, data.as_bytes()), "{data}");
            assert_eq!(payload.content_type(), Some("application/json"));
        }
        let named = content(r#"{"channel":"a","data":1,"content_type":"application/ld+json"}"#);
        assert_eq!(named.payload.content_type(), Some("application/ld+json"));
    }

    #[test]
    fn text_and_base64_are_bytes() {
        let text = content(r#"{"channel":"a","text":"h\u00fc","content_type":"text/plain"}"#).payload;
        assert_eq!((text.kind(), &text.bytes()[..], text.content_type()), (PayloadKind::Text, "hü".as_bytes(), Some("text/plain")));
        for base64 in ["/wA=", "/wA"] {
            let payload = content(&format!(r#"{{"channel":"a","base64":"{base64}"}}"#)).payload;
            assert_eq!((payload.kind(), &payload.bytes()[..]), (PayloadKind::Binary, &[0xff, 0][..]));
        }
    }

    #[test]
    fn the_rest_is_carried_along() {
        let all = content(r#"{"channel":"a","text":"x","event":"e","id":"i","headers":{"z":"1","a":"2"},"ttl":1.5}"#);
        assert_eq!(all.event.unwrap().as_str(), "e");
        assert_eq!(all.id, Some(PublishId::Keyed("i".into())));
        assert_eq!(all.headers.iter().collect::<Vec<_>>(), [("z", "1"), ("a", "2")]);
        assert_eq!(all.ttl, Some(Duration::from_millis(1_500)));
        assert_eq!(content(r#"{"channel":"a","text":"x","ttl":"5m"}"#).ttl, Some(Duration::from_secs(300)));
        assert_eq!(content(r#"{"channel":"a","text":"x","ttl":30,"event":null}"#).ttl, Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, word) in [
            ("", "not a publish in JSON"),
            ("[]", "not a publish in JSON"),
            (r#"["a",null,{"b":1},null,null,null,null,null,null,null]"#, "that is an object"),
            (r#"{"channel":"a","text":"x"} x"#, "trailing"),
            (r#"{"channel":"a","text":"x","colour":1}"#, "`colour`"),
            (r#"{"channel":"a","text":"x","text":"y"}"#, "duplicate field `text`"),
            (r#"{"text":"x"}"#, "`channels`"),
            (r#"{"channel":"a","channels":["b"],"text":"x"}"#, "`channels`"),
            (r#"{"channels":[],"text":"x"}"#, "at least one"),
            (r#"{"channel":1,"text":"x"}"#, "expected a string"),
            (r#"{"channel":"a"}"#, "exactly one of `data`"),
            (r#"{"channel":"a","text":"x","data":null}"#, "exactly one of `data`"),
            (r#"{"channel":"a","base64":"!"}"#, "`base64`"),
            (r#"{"channel":"a","data":1,"content_type":"text/plain"}"#, "`content_type`"),
            (r#"{"channel":"a","text":"{","content_type":"application/json"}"#, "payload is not"),
            (r#"{"channel":"a","text":"x","event":"tidings:x"}"#, "reserved"),
            (r#"{"channel":"a","text":"x","event":"a\nb"}"#, "control"),
            (r#"{"channel":"a","text":"x","id":""}"#, "publish id"),
            (r#"{"channel":"a","text":"x","headers":{"a":"1","a":"2"}}"#, "`a` is given twice"),
            (r#"{"channel":"a","text":"x","headers":{"a":1}}"#, "expected a string"),
            (r#"{"channel":"a","text":"x","headers":[]}"#, "an object of strings"),
            (r#"{"channel":"a","text":"x","ttl":0}"#, "ttl"),
            (r#"{"channel":"a","text":"x","ttl":-1}"#, "ttl"),
            (r#"{"channel":"a","text":"x","ttl":"soon"}"#, "ttl"),
            (r#"{"channel":"a","text":"x","ttl":[]}"#, "30s"),
        ] {
            let error = parse(json.as_bytes()).unwrap_err();
            assert!(error.message.contains(word), "{json}: {error}");
        }
        assert!(parse(b"{\"channel\":\"a\",\"text\":\"\xff\"}").is_err());
        let long = format!(r#"{{"channel":"a","{}":1}}"#, "x".repeat(100_000));
        assert!(parse(long.as_bytes()).unwrap_err().message.len() < 500);
    }

    #[test]
    fn of_what_is_refused_the_channel_is_known_where_there_is_no_doubt_about_it() {
        for json in [
            r#"{"channel":"a:b","text":1}"#,
            r#"{"text":1,"colour":[{"channel":"c"}],"channel":"\u0061:b","channels":null}"#,
            r#" {"channel":"a:b","base64":"!"}"#,
        ] {
            assert!(parse(json.as_bytes()).is_err(), "{json}");
            assert_eq!(channel_of(json.as_bytes()).unwrap().as_str(), "a:b", "{json}");
        }
        let long = format!(r#"{{"channel":"{}","text":1}}"#, "x".repeat(100_000));
        let deep = format!(r#"{{"channel":"a","data":{}}}"#, "[".repeat(100_000));
        for json in [
            "",
            r#"{"text":1}"#,
            r#"{"channel":1}"#,
            r#"{"channel":null}"#,
            r#"{"channel":""}"#,
            r#"{"channel":"a\nb","text":1}"#,
            r#"{"channel":"a","channel":"b","text":1}"#,
            r#"{"channel":"a","channels":["b"],"text":1}"#,
            r#"{"channels":["a"],"text":1}"#,
            r#"["a",null,{"b":1},null,null,null,null,null,null,null]"#,
            r#"{"channel":"a","text":1"#,
            r#"{"channel":"a","text":1} {"channel":"b"}"#,
            &long,
            &deep,
        ] {
            assert_eq!(channel_of(json.as_bytes()), None, "{json:.60}");
        }
        // What is not UTF-8 elsewhere leaves no doubt about the name.
        assert_eq!(channel_of(b"{\"channel\":\"a\",\"text\":\"\xff\"}").unwrap().as_str(), "a");
        assert_eq!(channel_of(b"{\"channel\":\"\xff\",\"text\":1}"), None);
    }
}
