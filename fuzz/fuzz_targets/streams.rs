//! Whatever a publisher puts into a channel's name, an event's name, a payload or a header, and whatever stands in a token's
//! `sub` and `info`: a client that reads by the book gets one message for one message, with that in it and nothing else.
//!
//! `scripts/fuzz streams 60`

#![no_main]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidings::clock::Moment;
use tidings::close::CloseReason;
use tidings::front::fuzzing::{Dialect, Wire, is_request, wires};
use tidings::front::websocket::codec::Inflater;
use tidings::log::{Cursor, Entry, Epoch, Gap, GapReason, Pos, Slot, Tag, Trail, Waited};
use tidings::message::{ChannelName, EventName, Headers, MessageId, Payload, PayloadKind, PublishId};
use tidings::presence::{Member, MemberId, Notice, User};

#[path = "../../broker/tests/it/support/event_stream.rs"]
#[allow(dead_code)]
mod event_stream;

use event_stream::EventStream;

type Published = (String, Option<String>, Vec<u8>, Option<String>, Option<String>, Vec<(String, String)>);
type Present = (String, Option<String>);

fuzz_target!(|said: (u8, Published, Present)| {
    let (chance, published, present) = said;
    let _ = is_request(&published.0);
    let Some(entry) = entry(published) else { return };
    let notice = notice(present);
    let all = wires();
    // One of them each time: they are many.
    for wire in [all[usize::from(chance) % all.len()]] {
        let bytes = write(&wire, &entry, notice.as_ref());
        let bytes = if wire.is_chunked { unchunked(&bytes) } else { bytes };
        let told = match wire.dialect {
            Dialect::Events | Dialect::Envelopes => events(&wire, &bytes, usize::from(chance), &entry),
            Dialect::Lines => lines(&bytes),
            Dialect::Scripts => calls(&bytes),
            Dialect::Frames => frames(&bytes),
        };
        let (gap, presence): (&[Value], &[Value]) = match &told[1..] {
            [gap, presence, _end] if notice.is_some() => (std::slice::from_ref(gap), std::slice::from_ref(presence)),
            [gap, _end] if notice.is_none() => (std::slice::from_ref(gap), &[]),
            other => panic!("{:?}: one message, one gap and the end were said, and heard were {other:?}", wire.dialect),
        };
        is_told(&told[0], &entry);
        assert_eq!(gap[0]["channel"], entry.channel.as_str());
        if let (Some(notice), [heard]) = (&notice, presence) {
            assert_eq!(heard["here"][0]["user"], *notice.left[0]);
            assert_eq!(heard["left"][0], *notice.left[0]);
            assert!(heard["here"].as_array().is_some_and(|here| here.len() == 1), "{heard}");
        }
    }
});

/// What is published, if it may be.
fn entry((channel, event, payload, content_type, id, headers): Published) -> Option<Entry> {
    let channel = ChannelName::parse(&channel).ok()?;
    let id = match id {
        Some(id) => match PublishId::keyed(&id).ok()? {
            PublishId::Keyed(id) => MessageId::Keyed(id),
            PublishId::Retry(id) => MessageId::Auto(id),
        },
        None => MessageId::Auto(7),
    };
    // Half of them claim to be JSON.
    let content_type = content_type.map(|text| if text.len() % 2 == 0 { "application/json".to_owned() } else { text });
    let payload = Payload::new(&payload, content_type.as_deref()).ok()?;
    if payload.kind() == PayloadKind::Json && !is_plain(payload.bytes()) {
        return None;
    }
    Some(Entry {
        slot: Slot::of(&channel),
        pos: pos(),
        channel,
        offset: 3,
        id,
        event: event.map(|event| EventName::parse(&event)).transpose().ok()?,
        payload,
        headers: Headers::parse(headers).ok()?,
        accepted: Moment::default(),
        waited: Waited::NONE,
        expires: Duration::MAX,
        adopted: None,
        trail: Trail::NONE,
    })
}

/// Whether every reader makes the same of this JSON: numbers beyond those of a double, and halves of surrogate pairs, are JSON, and
/// what becomes of them is theirs to say (RFC 8259, sections 6 and 8.2).
fn is_plain(json: &[u8]) -> bool {
    serde_json::from_slice::<Value>(json).is_ok()
}

fn pos() -> Pos {
    Pos { epoch: Epoch::new(1, Tag::new(42).expect("42 is a tag")), idx: 7 }
}

/// Somebody whose token says so, who is there, came, and goes.
fn notice((name, info): Present) -> Option<Notice> {
    let member = Member { id: MemberId::User(name.into()), info: info.map(Into::into) };
    member.check().ok()?;
    if member.info.as_deref().is_some_and(|info| !is_plain(info.as_bytes())) {
        return None;
    }
    let name = member.id.name().clone();
    let user = User { name: name.clone(), info: member.info, connections: 1 };
    Some(Notice { here: Some(vec![user.clone()]), joined: vec![user], left: vec![name], ..Notice::default() })
}

/// Everything between two heartbeats.
fn write(wire: &Wire, entry: &Entry, notice: Option<&Notice>) -> Vec<u8> {
    let (encoder, cursor, mut out) = (wire.encoder, Cursor::single(entry.slot, pos()), Vec::new());
    encoder.heartbeat(None, &mut out);
    if encoder.wants_own_cursor() {
        encoder.own_cursor(&cursor, &mut out);
    }
    encoder.message(entry, &entry.cursor(), &mut out);
    encoder.gap(entry.slot, &entry.channel, &Gap { reason: GapReason::Window, oldest: pos() }, &mut out);
    if let Some(notice) = notice {
        encoder.presence(&entry.channel, notice, &mut out);
    }
    encoder.heartbeat(Some(&cursor), &mut out);
    encoder.farewell(CloseReason::Draining, Duration::from_secs(1), &mut out);
    out
}

/// RFC 9112, section 7.1.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|at| at == b"\r\n").expect("a chunk says its length");
        let length =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok()).expect("in hexadecimal digits");
        out.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        assert_eq!(&bytes[end + 2 + length..end + 4 + length], b"\r\n");
        bytes = &bytes[end + 4 + length..];
        if length == 0 {
            assert!(bytes.is_empty());
            return out;
        }
    }
}

/// As an `EventSource`, with reads of any length.
fn events(wire: &Wire, bytes: &[u8], read: usize, entry: &Entry) -> Vec<Value> {
    let mut stream = EventStream::default();
    let heard: Vec<_> = bytes.chunks(read.max(1)).flat_map(|piece| stream.push(piece)).collect();
    assert_eq!(stream.last_event_id, entry.cursor().to_string());
    assert_eq!(stream.retry, Some(1000));
    let kind = entry.event.as_ref().map_or("message", EventName::as_str);
    let is_bare = wire.dialect == Dialect::Events && entry.payload.kind() != PayloadKind::Binary;
    let read = |(nth, event): (usize, &event_stream::StreamEvent)| {
        let expected = if nth == 0 { kind } else { event.kind.strip_prefix("tidings:").map_or("", |_| &*event.kind) };
        assert_eq!(event.kind, expected);
        if nth == 0 && is_bare {
            // Line ends of all kinds are one to whoever reads.
            let text = String::from_utf8_lossy(entry.payload.bytes()).replace("\r\n", "\n").replace('\r', "\n");
            assert_eq!(event.data, text);
            return message(entry);
        }
        serde_json::from_str(&event.data).unwrap_or_else(|why| panic!("{why}: {:?}", event.data))
    };
    heard.iter().enumerate().map(read).collect()
}

/// As every reader of lines cuts them, those of Unicode included.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("JSON is UTF-8");
    let is_end = |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let text = text.strip_suffix('\n').expect("the last line ends");
    unwrapped(text.split(is_end).map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line:?}"))).collect())
}

/// As a browser: HTML finds the scripts, and the script the string.
fn calls(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("a page is UTF-8").strip_suffix('\n').expect("the last line ends");
    let call = |line: &str| {
        let inside = line.strip_prefix("<script>parent.tidings(JSON.parse('").and_then(|rest| rest.strip_suffix("'))</script>"));
        let inside = inside.unwrap_or_else(|| panic!("no call: {line:?}"));
        assert!(!inside.contains(['<', '>', '&', '\'', '\r', '\u{2028}', '\u{2029}']), "{inside:?}");
        serde_json::from_str(&unescaped(inside)).unwrap_or_else(|why| panic!("{why}: {inside:?}"))
    };
    unwrapped(text.split('\n').map(call).collect())
}

/// What a script makes of the inside of a string (ECMA-262, "String Literals").
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text.chars());
    while let Some(next) = rest.next() {
        let digits = match (next, if next == '\\' { rest.next() } else { None }) {
            (_, Some('x')) => 2,
            (_, Some('u')) => 4,
            (_, Some(other)) => {
                out.push(other);
                continue;
            }
            (plain, None) => {
                out.push(plain);
                continue;
            }
        };
        let code: String = rest.by_ref().take(digits).collect();
        out.push(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).expect("an escape is a character"));
    }
    out
}

/// As a WebSocket client (RFC 6455, section 5.2).
fn frames(mut bytes: &[u8]) -> Vec<Value> {
    let mut objects = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("eight bytes")) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        let (payload, after) = rest.split_at(length);
        bytes = after;
        match first {
            0x81 => objects.push(serde_json::from_slice(payload)),
            0xc1 => objects.push(serde_json::from_slice(&Inflater::default().inflate(payload, 1 << 24).expect("it was compressed"))),
            // The close, behind which there is nothing.
            0x88 => assert!(after.is_empty()),
            other => panic!("a frame of kind {other}"),
        }
    }
    unwrapped(objects.into_iter().map(|object| object.expect("frames are JSON")).collect())
}

/// What the envelopes of a dialect hold, without heartbeats.
fn unwrapped(objects: Vec<Value>) -> Vec<Value> {
    let is_heartbeat = |object: &Value| object.get("heartbeat").is_some() && object.get("offset").is_none();
    let inside = |object: Value| match &object {
        Value::Object(members) if members.get("offset").is_none() => {
            let named = ["message", "gap", "presence", "close"].iter().find_map(|name| members.get(*name));
            named.cloned().unwrap_or_else(|| object.clone())
        }
        _ => object,
    };
    objects.into_iter().filter(|object| !is_heartbeat(object)).map(inside).collect()
}

/// A message as it should be told.
fn message(entry: &Entry) -> Value {
    let mut text = Vec::new();
    tidings::wire::write_message(&mut text, entry);
    serde_json::from_slice(&text).expect("a message is JSON")
}

fn is_told(told: &Value, entry: &Entry) {
    assert_eq!(told["channel"], entry.channel.as_str());
    assert_eq!(told["cursor"], entry.cursor().to_string());
    assert_eq!(told["id"], entry.id.to_string());
    assert_eq!(told.get("event").and_then(Value::as_str), entry.event.as_ref().map(EventName::as_str));
    let bytes = entry.payload.bytes();
    match entry.payload.kind() {
        PayloadKind::Text => assert_eq!(told["data"].as_str().map(str::as_bytes), Some(&bytes[..])),
        PayloadKind::Binary => assert_eq!(told["base64"].as_str().and_then(|text| STANDARD.decode(text).ok()).as_deref(), Some(&bytes[..])),
        PayloadKind::Json => assert_eq!(serde_json::from_slice::<Value>(bytes).ok().as_ref(), told.get("data")),
    }
    let headers: Vec<(&str, &str)> = entry.headers.iter().collect();
    let heard = told.get("headers").and_then(Value::as_object);
    assert_eq!(heard.map_or(0, serde_json::Map::len), headers.len());
    assert!(headers.iter().all(|(name, value)| heard.is_some_and(|heard| heard[*name] == **value)));
}
