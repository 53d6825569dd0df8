use std::time::Duration;

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Moment;
use crate::error::ErrorCode;
use crate::log::{Epoch, GapReason, Pos, Tag, Trail, Waited};
use crate::message::EventName;

fn entry(payload: Payload) -> Entry {
    let channel = ChannelName::parse("news:sport").unwrap();
    Entry {
        slot: Slot::of(&channel),
        pos: pos(7),
        channel,
        offset: 3,
        id: MessageId::Auto(0xabc),
        event: None,
        payload,
        headers: Headers::default(),
        accepted: Moment { mono: Duration::ZERO, unix_ms: 1_700_000_000_123 },
        waited: Waited::NONE,
        expires: Duration::from_secs(60),
        adopted: None,
        trail: Trail::NONE,
    }
}

fn pos(idx: u64) -> Pos {
    Pos { epoch: Epoch::new(1, Tag::new(42).unwrap()), idx }
}

fn parse(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = b"before".to_vec();
    write(&mut out);
    let line = out.strip_prefix(b"before").expect("a writer only appends");
    assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n')), "more than one line: {}", String::from_utf8_lossy(line));
    serde_json::from_slice(line).unwrap()
}

fn message(entry: &Entry) -> Value {
    parse(|out| write_message(out, entry))
}

#[test]
fn a_bare_text_message_has_only_what_it_needs() {
    let entry = entry(Payload::new("Grüße\n".as_bytes(), None).unwrap());
    let mut out = Vec::new();
    write_message(&mut out, &entry);
    let cursor = CursorText::of(entry.slot, entry.pos).to_string();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            r#"{{"channel":"news:sport","offset":3,"cursor":"{cursor}","id":"00000000000000000000000000000abc","data":"Grüße\n","time":1700000000123}}"#
        )
    );
}

#[test]
fn a_message_shows_everything_it_carries() {
    let mut full = entry(Payload::new(b"{\"a\":\r\n [1,\n2]}\n", Some("application/json")).unwrap());
    full.id = MessageId::Keyed("order \"7\"".into());
    full.event = Some(EventName::parse("created").unwrap());
    full.headers = Headers::parse([("trace", "x\"y"), ("b", "")]).unwrap();
    let shown = message(&full);
    assert_eq!(shown["id"], "order \"7\"");
    assert_eq!(shown["event"], "created");
    assert_eq!(shown["data"], json!({ "a": [1, 2] }));
    assert_eq!(shown["content_type"], "application/json");
    assert_eq!(shown["headers"], json!({ "trace": "x\"y", "b": "" }));
}

#[test]
fn bytes_that_are_no_text_are_base64() {
    let shown = message(&entry(Payload::new(&[0xff, 0, 1, 2], Some("image/png")).unwrap()));
    assert_eq!(shown["base64"], "/wABAg==");
    assert!(shown.get("data").is_none());
}

#[test]
fn a_message_may_carry_its_readers_cursor_instead_of_its_own() {
    let entry = entry(Payload::new(b"x", None).unwrap());
    let mut own = message(&entry);
    own["cursor"] = json!("of-the-reader");
    let shown = parse(|out| {
        write_message_cursor(out, "of-the-reader");
        write_message_rest(out, &entry);
    });
    assert_eq!(shown, own);
}

#[test]
fn a_gap_tells_from_where_to_read_on() {
    let channel = ChannelName::parse("a").unwrap();
    let shown = parse(|out| write_gap(out, &channel, &Gap { reason: GapReason::Window, oldest: pos(9) }));
    let oldest = CursorText::of(Slot::of(&channel), pos(9)).to_string();
    assert_eq!(shown, json!({ "channel": "a", "reason": "window", "oldest": oldest }));
}

#[test]
fn errors_and_closes_say_whether_to_come_back() {
    let shown = parse(|out| write_error(out, &Error::new(ErrorCode::Overloaded, "try\nlater")));
    assert_eq!(shown, json!({ "error": { "code": "overloaded", "message": "try\nlater", "retry": true } }));
    let shown = parse(|out| write_error(out, &Error::invalid("no")));
    assert_eq!(shown["error"]["retry"], false);
    let refused = parse(|out| write_refusal(out, &Error::invalid("no")));
    assert_eq!(refused, json!({ "code": "invalid_request", "message": "no", "retry": false }));
    assert_eq!(error_json(&Error::invalid("no")), json!({ "error": refused }).to_string().as_bytes());
    for reason in CloseReason::ALL {
        let shown = parse(|out| write_close(out, reason));
        assert_eq!(shown, json!({ "code": reason.as_str(), "message": reason.sentence(), "retry": reason.may_retry() }));
        let waiting = parse(|out| write_close_with_wait(out, reason, Duration::from_millis(1500)));
        assert_eq!(waiting.get("retry_after_ms"), reason.may_retry().then_some(&json!(1500)));
        assert_eq!(waiting["code"], reason.as_str());
    }
}

/// JSON trees with plain numbers, so that reading them back compares equal.
fn json_tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn every_message_is_one_line_that_parses_back(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in any::<String>(),
        tree in json_tree(),
        pretty in any::<bool>(),
        headers in prop::collection::btree_map("[^\\p{Cc}]{1,20}", "[^\\p{Cc}]{0,40}", 0..8),
        id in "[^\\p{Cc}]{1,32}",
        offset in any::<u64>(),
    ) {
        let json = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
        let parsed_headers = Headers::parse(headers.iter()).unwrap();
        for payload in [
            Payload::new(&bytes, Some("x/y")).unwrap(),
            Payload::new(text.as_bytes(), None).unwrap(),
            Payload::new(format!("\r\n{json}\r\n").as_bytes(), Some("application/json")).unwrap(),
        ] {
            let mut full = entry(payload.clone());
            full.headers = parsed_headers.clone();
            full.id = MessageId::Keyed(id.as_str().into());
            full.offset = offset;
            let shown = message(&full);
            prop_assert_eq!(&shown["id"], &Value::from(id.as_str()));
            prop_assert_eq!(&shown["offset"], &Value::from(offset));
            prop_assert_eq!(shown.get("headers").is_some(), !headers.is_empty());
            for (name, value) in &headers {
                prop_assert_eq!(&shown["headers"][name], value.as_str());
            }
            match payload.kind() {
                PayloadKind::Json => prop_assert_eq!(&shown["data"], &tree),
                PayloadKind::Text => prop_assert_eq!(shown["data"].as_str().unwrap().as_bytes(), &payload.bytes()[..]),
                PayloadKind::Binary => {
                    prop_assert_eq!(&STANDARD.decode(shown["base64"].as_str().unwrap()).unwrap()[..], &payload.bytes()[..]);
                }
            }
        }
    }
}
