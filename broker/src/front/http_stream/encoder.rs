//! Lines and calls as bytes. Both carry the same objects: a message as it is, and `{"gap"}`, `{"heartbeat"}`, `{"close"}`.
//! The newest `cursor` seen in any of them is where a client resumes.

use std::time::Duration;

use super::script;
use crate::close::CloseReason;
use crate::front::stream::Framing;
use crate::log::{Cursor, Entry, Gap, Slot};
use crate::message::ChannelName;
use crate::metrics::Front;
use crate::presence::Notice;
use crate::shard::{Encoder, Form};
use crate::wire::{
    write_close_with_wait, write_cluster, write_gap, write_message_at, write_message_cursor, write_message_rest, write_notice,
    write_unsubscribed,
};

/// How an object stands in the stream, and whose cursor a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Layout {
    /// A line; the message's own position is also the session's.
    Line,
    /// A line; a message carries the session's cursor, because it spans several slots.
    LineWithOwnCursor,
    /// A script call.
    Script,
    /// A script call with the session's cursor.
    ScriptWithOwnCursor,
}

#[derive(Debug)]
struct Objects {
    layout: Layout,
    framing: Framing,
}

/// The encoder of this form; one value for all sessions.
pub(in crate::front) fn encoder(layout: Layout, framing: Framing) -> &'static dyn Encoder {
    const fn both(layout: Layout) -> [Objects; 2] {
        [Objects { layout, framing: Framing::Chunked }, Objects { layout, framing: Framing::Plain }]
    }
    static ALL: [[Objects; 2]; 4] =
        [both(Layout::Line), both(Layout::LineWithOwnCursor), both(Layout::Script), both(Layout::ScriptWithOwnCursor)];
    &ALL[layout as usize][framing as usize]
}

impl Objects {
    fn is_script(&self) -> bool {
        matches!(self.layout, Layout::Script | Layout::ScriptWithOwnCursor)
    }

    /// Writes one object.
    fn write(&self, out: &mut Vec<u8>, json: impl FnOnce(&mut Vec<u8>)) {
        self.framing.write(out, |out| {
            if self.is_script() {
                return script::write_call(out, json);
            }
            write_line(out, json);
        });
    }
}

/// Writes JSON as one line to every reader. Some cut at the line ends of Unicode too (Python's `str.splitlines`, and clients on top
/// of it): a payload could forge a message else. In JSON these stand in strings only, where an escape says the same.
fn write_line(out: &mut Vec<u8>, json: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    json(out);
    if memchr::memchr2_iter(0xc2, 0xe2, &out[start..]).any(|at| line_end(&out[start + at..]).is_some()) {
        let text = out.split_off(start);
        escape_line_ends(out, &text);
    }
    out.push(b'\n');
}

/// The escape of the character that the text begins with, if that ends a line: NEL, LINE SEPARATOR, PARAGRAPH SEPARATOR. The other
/// ones are control characters of ASCII, which JSON escapes anyway.
fn line_end(text: &[u8]) -> Option<&'static [u8]> {
    match text {
        [0xc2, 0x85, ..] => Some(b"\\u0085"),
        [0xe2, 0x80, 0xa8, ..] => Some(b"\\u2028"),
        [0xe2, 0x80, 0xa9, ..] => Some(b"\\u2029"),
        _ => None,
    }
}

fn escape_line_ends(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = memchr::memchr2(0xc2, 0xe2, text) {
        out.extend_from_slice(&text[..at]);
        let (character, width) = (&text[at..], if text[at] == 0xc2 { 2 } else { 3 });
        out.extend_from_slice(line_end(character).unwrap_or(&character[..width]));
        text = &character[width..];
    }
    out.extend_from_slice(text);
}

impl Encoder for Objects {
    fn form(&self) -> Form {
        Form { front: Front::HttpStream, number: self.layout as u8 * 2 + self.framing as u8 }
    }

    fn wants_own_cursor(&self) -> bool {
        matches!(self.layout, Layout::LineWithOwnCursor | Layout::ScriptWithOwnCursor)
    }

    fn message(&self, entry: &Entry, cursor: &str, out: &mut Vec<u8>) {
        match self.layout {
            Layout::Line | Layout::Script => self.write(out, |out| write_message_at(out, entry, cursor)),
            Layout::LineWithOwnCursor => self.framing.write(out, |out| write_line(out, |out| write_message_rest(out, entry))),
            Layout::ScriptWithOwnCursor => self.framing.write(out, |out| {
                script::write_argument(out, |out| write_message_rest(out, entry));
                script::end_call(out);
            }),
        }
    }

    /// The first part of the message's own object: a client that has the cursor has the message too.
    fn own_cursor(&self, cursor: &Cursor, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            if self.is_script() {
                script::begin_call(out);
                return script::write_argument(out, |out| write_message_cursor(out, &cursor.encode()));
            }
            write_message_cursor(out, &cursor.encode());
        });
    }

    fn gap(&self, _slot: Slot, channel: &ChannelName, gap: &Gap, out: &mut Vec<u8>) {
        self.write(out, |out| {
            out.extend_from_slice(b"{\"gap\":");
            write_gap(out, channel, gap);
            out.push(b'}');
        });
    }

    fn cluster(&self, is_degraded: bool, out: &mut Vec<u8>) {
        self.write(out, |out| {
            out.extend_from_slice(b"{\"cluster\":");
            write_cluster(out, is_degraded);
            out.push(b'}');
        });
    }

    fn presence(&self, channel: &ChannelName, notice: &Notice, out: &mut Vec<u8>) {
        self.write(out, |out| {
            out.extend_from_slice(b"{\"presence\":");
            write_notice(out, channel, notice);
            out.push(b'}');
        });
    }

    fn unsubscribed(&self, channel: &ChannelName, out: &mut Vec<u8>) {
        self.write(out, |out| {
            out.extend_from_slice(b"{\"unsubscribed\":");
            write_unsubscribed(out, channel);
            out.push(b'}');
        });
    }

    fn heartbeat(&self, cursor: Option<&Cursor>, out: &mut Vec<u8>) {
        self.write(out, |out| {
            out.extend_from_slice(b"{\"heartbeat\":{");
            if let Some(cursor) = cursor {
                out.extend_from_slice(b"\"cursor\":\"");
                out.extend_from_slice(cursor.encode().as_bytes());
                out.push(b'"');
            }
            out.extend_from_slice(b"}}");
        });
    }

    fn farewell(&self, reason: CloseReason, retry: Duration, out: &mut Vec<u8>) {
        self.write(out, |out| {
            out.extend_from_slice(b"{\"close\":");
            write_close_with_wait(out, reason, retry);
            out.push(b'}');
        });
        self.framing.end(out);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Moment;
    use crate::log::{Epoch, GapReason, Pos, Tag, Trail, Waited};
    use crate::message::{Headers, MessageId, Payload};

    const LAYOUTS: [Layout; 4] = [Layout::Line, Layout::LineWithOwnCursor, Layout::Script, Layout::ScriptWithOwnCursor];

    fn pos() -> Pos {
        Pos { epoch: Epoch::new(1, Tag::new(42).unwrap()), idx: 7 }
    }

    fn entry() -> Entry {
        let channel = ChannelName::parse("</script><!--").unwrap();
        Entry {
            slot: Slot::of(&channel),
            pos: pos(),
            channel,
            offset: 3,
            id: MessageId::Auto(1),
            event: None,
            payload: Payload::new("it's\n".as_bytes(), None).unwrap(),
            headers: Headers::default(),
            accepted: Moment { mono: Duration::ZERO, unix_ms: 5 },
            waited: Waited::NONE,
            expires: Duration::from_secs(60),
            adopted: None,
            trail: Trail::NONE,
        }
    }

    /// Everything an encoder can say, object by object.
    fn said(layout: Layout, framing: Framing) -> Vec<Value> {
        let encoder = encoder(layout, framing);
        let entry = entry();
        let cursor = Cursor::single(entry.slot, pos());
        let mut out = Vec::new();
        encoder.heartbeat(Some(&cursor), &mut out);
        if encoder.wants_own_cursor() {
            encoder.own_cursor(&cursor, &mut out);
        }
        encoder.message(&entry, &entry.cursor(), &mut out);
        encoder.gap(entry.slot, &entry.channel, &Gap { reason: GapReason::Window, oldest: pos() }, &mut out);
        encoder.unsubscribed(&entry.channel, &mut out);
        encoder.heartbeat(None, &mut out);
        encoder.farewell(CloseReason::Draining, Duration::from_millis(1500), &mut out);
        if framing == Framing::Chunked {
            out = unchunked(&out);
        }
        let text = String::from_utf8(out).unwrap();
        text.strip_suffix('\n').unwrap().split('\n').map(|line| object(line, layout)).collect()
    }

    fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let end = bytes.windows(2).position(|at| at == b"\r\n").unwrap();
            let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
            out.extend_from_slice(&bytes[end + 2..end + 2 + length]);
            assert_eq!(&bytes[end + 2 + length..end + 4 + length], b"\r\n");
            bytes = &bytes[end + 4 + length..];
            if length == 0 {
                assert!(bytes.is_empty());
                return out;
            }
        }
    }

    fn object(line: &str, layout: Layout) -> Value {
        if matches!(layout, Layout::Line | Layout::LineWithOwnCursor) {
            return serde_json::from_str(line).unwrap();
        }
        let inside = line.strip_prefix("<script>parent.tidings(JSON.parse('").unwrap().strip_suffix("'))</script>").unwrap();
        assert!(!inside.contains(['<', '\'']), "{inside}");
        let text = inside.replace("\\x3c", "<").replace("\\x3e", ">").replace("\\x27", "'").replace("\\\"", "\"").replace("\\\\", "\\");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_form_says_the_same() {
        let cursor = Cursor::single(entry().slot, pos()).encode();
        let expected = vec![
            json!({ "heartbeat": { "cursor": cursor } }),
            json!({ "channel": "</script><!--", "offset": 3, "cursor": cursor, "id": format!("{:032x}", 1), "data": "it's\n", "time": 5 }),
            json!({ "gap": { "channel": "</script><!--", "reason": "window", "oldest": cursor } }),
            json!({ "unsubscribed": { "channel": "</script><!--",
                "error": { "code": "unsubscribed", "message": "a backend ended this subscription", "retry": false } } }),
            json!({ "heartbeat": {} }),
            json!({ "close": { "code": "draining", "message": CloseReason::Draining.sentence(), "retry": true, "retry_after_ms": 1500 } }),
        ];
        for layout in LAYOUTS {
            for framing in [Framing::Chunked, Framing::Plain] {
                assert_eq!(said(layout, framing), expected, "{layout:?} {framing:?}");
            }
        }
    }

    #[test]
    fn a_line_is_one_line_to_readers_that_go_by_unicode_too() {
        let payload = "a\u{2028}{\"channel\":\"forged\"}\u{2029}\u{85}\u{b}\u{c}\u{1e}é€\u{2027}";
        let channel = ChannelName::parse("c\u{2028}d").unwrap();
        let entry = Entry { channel: channel.clone(), payload: Payload::text(payload), ..entry() };
        for layout in [Layout::Line, Layout::LineWithOwnCursor] {
            let mut out = Vec::new();
            encoder(layout, Framing::Plain).message(&entry, &entry.cursor(), &mut out);
            let line = String::from_utf8(out).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains(['\n', '\r', '\u{85}', '\u{b}', '\u{c}', '\u{1e}', '\u{2028}', '\u{2029}']), "{line}");
            let whole = if layout == Layout::Line { line.to_owned() } else { format!("{{{line}") };
            let object: Value = serde_json::from_str(&whole).unwrap();
            assert_eq!((&object["data"], &object["channel"]), (&payload.into(), &channel.as_str().into()));
        }
    }

    #[test]
    fn forms_differ_where_bytes_do() {
        let each = LAYOUTS.into_iter().flat_map(|layout| [Framing::Chunked, Framing::Plain].map(|framing| encoder(layout, framing).form()));
        assert_eq!(each.collect::<std::collections::HashSet<_>>().len(), LAYOUTS.len() * 2);
    }
}
