//! The JSON that every front and skin shares: a message, a gap, an error, a close. Pure: bytes in, bytes out.
//!
//! Every form is **one line**: an event stream cuts at line ends and so does a stream of lines, and neither should have
//! to look inside. Nothing is built as a tree first; text goes straight to the buffer.

mod percent;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::percent::percent_decode;
use crate::close::CloseReason;
use crate::error::Error;
use crate::log::{CursorText, Entry, Gap, Slot};
use crate::message::{ChannelName, Headers, MessageId, Payload, PayloadKind};
use crate::presence::{Counts, Notice, Page, User};

/// Appends a message:
/// `{"channel","offset","cursor","id","event"?,"data"|"base64","content_type"?,"headers"?,"time"}`.
///
/// `cursor` is the message's own position, so a client that gives it back goes on right after this message. `time` is
/// when the broker accepted it, in milliseconds since 1970.
pub fn write_message(out: &mut Vec<u8>, entry: &Entry) {
    write_message_at(out, entry, &entry.cursor());
}

/// Appends the same with another cursor: that of a reader who has seen more than the message's line.
pub fn write_message_at(out: &mut Vec<u8>, entry: &Entry, cursor: &str) {
    reserve_message(out, entry);
    out.push(b'{');
    write_place(out, entry);
    out.extend_from_slice(b",\"cursor\":\"");
    out.extend_from_slice(cursor.as_bytes());
    out.push(b'"');
    write_content(out, entry);
}

/// Appends the beginning of a message that carries a cursor of its reader instead of its own: `{"cursor":"…",`, to be
/// followed by [`write_message_rest`].
pub fn write_message_cursor(out: &mut Vec<u8>, cursor: &str) {
    out.extend_from_slice(b"{\"cursor\":\"");
    out.extend_from_slice(cursor.as_bytes());
    out.extend_from_slice(b"\",");
}

/// Appends what [`write_message`] does, without the opening brace and the cursor.
pub fn write_message_rest(out: &mut Vec<u8>, entry: &Entry) {
    reserve_message(out, entry);
    write_place(out, entry);
    write_content(out, entry);
}

/// Appends a declared gap: `{"channel","reason","oldest"}`. Reading after `oldest` gives the oldest message still kept.
pub fn write_gap(out: &mut Vec<u8>, channel: &ChannelName, gap: &Gap) {
    out.extend_from_slice(b"{\"channel\":");
    write_string(out, channel.as_str());
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(gap.reason.as_str().as_bytes());
    out.extend_from_slice(b"\",\"oldest\":\"");
    out.extend_from_slice(CursorText::of(Slot::of(channel), gap.oldest).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Appends who is on a channel, or what changed of it:
/// `{"channel","users","anonymous","connections","counts_only"?,"here"?,"joined"?,"left"?}`. `here` is everybody, and what was
/// told before does not count any more; the other two are what changed since.
pub fn write_notice(out: &mut Vec<u8>, channel: &ChannelName, notice: &Notice) {
    out.extend_from_slice(b"{\"channel\":");
    write_string(out, channel.as_str());
    write_counts(out, notice.counts, notice.counts_only);
    for (name, users) in [("here", notice.here.as_deref()), ("joined", Some(&notice.joined[..]).filter(|joined| !joined.is_empty()))] {
        let Some(users) = users else { continue };
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":[");
        for (at, user) in users.iter().enumerate() {
            write_user(out, at, user);
            out.push(b'}');
        }
        out.push(b']');
    }
    let mut before: &[u8] = b",\"left\":[";
    for name in &notice.left {
        out.extend_from_slice(before);
        write_string(out, name);
        before = b",";
    }
    out.extend_from_slice(if notice.left.is_empty() { b"}" } else { b"]}" });
}

/// Appends a page of who is on a channel:
/// `{"channel","users","anonymous","connections","counts_only"?,"full"?,"members":[{"user","info"?,"connections"}…],"next"?}`.
pub fn write_presence(out: &mut Vec<u8>, channel: &ChannelName, page: &Page) {
    out.extend_from_slice(b"{\"channel\":");
    write_string(out, channel.as_str());
    write_counts(out, page.counts, page.counts_only);
    if page.is_full {
        out.extend_from_slice(b",\"full\":true");
    }
    out.extend_from_slice(b",\"members\":[");
    for (at, user) in page.users.iter().enumerate() {
        write_user(out, at, user);
        out.extend_from_slice(b",\"connections\":");
        write_number(out, user.connections.into());
        out.push(b'}');
    }
    out.push(b']');
    if let Some(next) = &page.next {
        out.extend_from_slice(b",\"next\":");
        write_string(out, next);
    }
    out.push(b'}');
}

/// Appends an error: `{"error":{"code","message","retry","retry_after_ms"?}}`; `retry` says whether the same request may pass later, and
/// the wait how much, where that is known.
pub fn write_error(out: &mut Vec<u8>, error: &Error) {
    out.extend_from_slice(b"{\"error\":");
    write_refusal(out, error);
    out.push(b'}');
}

/// The same as bytes of its own, for the body of an answer.
#[must_use]
pub fn error_json(error: &Error) -> Vec<u8> {
    let mut out = Vec::new();
    write_error(&mut out, error);
    out
}

/// Appends an error in the form of a close, `{"code","message","retry","retry_after_ms"?}`: for streams, which have no status to give.
pub fn write_refusal(out: &mut Vec<u8>, error: &Error) {
    write_reason(out, error.code.as_str(), &error.message, error.code.may_retry(), error.wait);
}

/// Appends why a stay ended: `{"code","message","retry"}`; `retry` says whether the client should come back.
pub fn write_close(out: &mut Vec<u8>, reason: CloseReason) {
    write_reason(out, reason.as_str(), reason.sentence(), reason.may_retry(), None);
}

/// Appends the same with how long to wait, for wires that have no other place to say it:
/// `{"code","message","retry","retry_after_ms"?}`; the wait is there when the client should come back.
pub fn write_close_with_wait(out: &mut Vec<u8>, reason: CloseReason, wait: Duration) {
    write_reason(out, reason.as_str(), reason.sentence(), reason.may_retry(), reason.may_retry().then_some(wait));
}

/// Appends that a backend ended a subscription: `{"channel","error":{"code","message","retry"}}`.
pub fn write_unsubscribed(out: &mut Vec<u8>, channel: &ChannelName) {
    out.extend_from_slice(b"{\"channel\":");
    write_string(out, channel.as_str());
    out.extend_from_slice(b",\"error\":");
    write_reason(out, CloseReason::Unsubscribed.as_str(), "a backend ended this subscription", false, None);
    out.push(b'}');
}

/// Appends an end of a front's own in the same form: `wait` is for those who may come back.
pub fn write_end(out: &mut Vec<u8>, code: &str, message: &str, retry: bool, wait: Option<Duration>) {
    write_reason(out, code, message, retry, wait);
}

/// Appends a string with its quotes (RFC 8259, section 7). Line ends and other control characters become escapes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Without a way out of the loop, so that it looks at many bytes at once; nearly all strings are plain.
    let must_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if !text.bytes().fold(false, |found, byte| found | must_escape(byte)) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(&mut *out, text).expect("a string is always JSON, and memory takes every write");
}

/// Appends a whole number.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(&mut *out, &number).expect("a number is always JSON, and memory takes every write");
}

/// Appends a message's id as a string.
pub fn write_id(out: &mut Vec<u8>, id: &MessageId) {
    match id {
        MessageId::Auto(_) => {
            out.push(b'"');
            out.extend_from_slice(id.text(&mut [0; 32]).as_bytes());
            out.push(b'"');
        }
        MessageId::Keyed(id) => write_string(out, id),
    }
}

fn write_counts(out: &mut Vec<u8>, counts: Counts, counts_only: bool) {
    for (name, count) in [("users", counts.users), ("anonymous", counts.anonymous), ("connections", counts.connections)] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_number(out, count);
    }
    if counts_only {
        out.extend_from_slice(b",\"counts_only\":true");
    }
}

/// The `at`-th user of a list, without its closing brace.
fn write_user(out: &mut Vec<u8>, at: usize, user: &User) {
    out.extend_from_slice(if at == 0 { b"{\"user\":" } else { b",{\"user\":" });
    write_string(out, &user.name);
    if let Some(info) = &user.info {
        // JSON on one line: the token's own, read when it was proven.
        out.extend_from_slice(b",\"info\":");
        out.extend_from_slice(info.as_bytes());
    }
}

/// A refusal or a close in the words all fronts use.
fn write_reason(out: &mut Vec<u8>, code: &str, message: &str, retry: bool, wait: Option<Duration>) {
    out.extend_from_slice(b"{\"code\":");
    write_string(out, code);
    out.extend_from_slice(b",\"message\":");
    write_string(out, message);
    out.extend_from_slice(if retry { b",\"retry\":true" } else { b",\"retry\":false" });
    if let Some(wait) = wait {
        out.extend_from_slice(b",\"retry_after_ms\":");
        write_number(out, wait.as_millis() as u64);
    }
    out.push(b'}');
}

/// The parts around the payload take about this much; one growth instead of several.
fn reserve_message(out: &mut Vec<u8>, entry: &Entry) {
    out.reserve(entry.payload.bytes().len() + entry.channel.as_str().len() + 192);
}

fn write_place(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(b"\"channel\":");
    write_string(out, entry.channel.as_str());
    out.extend_from_slice(b",\"offset\":");
    write_number(out, entry.offset);
}

fn write_content(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(b",\"id\":");
    write_id(out, &entry.id);
    if let Some(event) = &entry.event {
        out.extend_from_slice(b",\"event\":");
        write_string(out, event.as_str());
    }
    write_payload(out, &entry.payload);
    write_headers(out, &entry.headers);
    out.extend_from_slice(b",\"time\":");
    write_number(out, entry.accepted.unix_ms);
    out.push(b'}');
}

fn write_payload(out: &mut Vec<u8>, payload: &Payload) {
    match payload.kind() {
        PayloadKind::Json => {
            out.extend_from_slice(b",\"data\":");
            write_json_line(out, payload.bytes());
        }
        PayloadKind::Text => {
            out.extend_from_slice(b",\"data\":");
            match std::str::from_utf8(payload.bytes()) {
                Ok(text) => write_string(out, text),
                // Cannot be, since the kind was decided on these very bytes; an empty string is better than a torn line.
                Err(_) => out.extend_from_slice(b"\"\""),
            }
        }
        PayloadKind::Binary => {
            out.extend_from_slice(b",\"base64\":\"");
            write_base64(out, payload.bytes());
            out.push(b'"');
        }
    }
    if let Some(content_type) = payload.content_type() {
        out.extend_from_slice(b",\"content_type\":");
        write_string(out, content_type);
    }
}

/// Appends valid JSON on one line: raw line ends can only be whitespace there, since strings must escape theirs.
fn write_json_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("four characters for every three bytes begun");
}

fn write_headers(out: &mut Vec<u8>, headers: &Headers) {
    let mut before: &[u8] = b",\"headers\":{";
    for (name, value) in headers.iter() {
        out.extend_from_slice(before);
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
        before = b",";
    }
    if !headers.is_empty() {
        out.push(b'}');
    }
}

/// How the cluster is: `{"condition":"whole"}`, or `degraded` when a part of it may go on without this node.
pub fn write_cluster(out: &mut Vec<u8>, is_degraded: bool) {
    let condition: &[u8] = if is_degraded { b"degraded" } else { b"whole" };
    out.extend_from_slice(b"{\"condition\":\"");
    out.extend_from_slice(condition);
    out.extend_from_slice(b"\"}");
}
