//! Events as bytes. A block is `id:`, `event:`, `data:` lines and an empty line (WHATWG HTML, section 9.2.5).

use std::time::Duration;

use crate::close::CloseReason;
use crate::front::stream::Framing;
use crate::log::{Cursor, Entry, Gap, Slot};
use crate::message::{ChannelName, PayloadKind};
use crate::metrics::Front;
use crate::presence::Notice;
use crate::shard::{Encoder, Form};
use crate::wire::{write_close, write_cluster, write_gap, write_message_at, write_notice, write_unsubscribed};

use super::OVER;

/// What stands in `data:`, and whose `id:` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Layout {
    /// The payload itself: one channel.
    Payload,
    /// The message as JSON: several channels of one slot, whose position is the message's.
    Envelope,
    /// The message as JSON; the `id:` line is the session's own, because it spans several slots.
    EnvelopeWithOwnId,
}

#[derive(Debug)]
struct Events {
    layout: Layout,
    framing: Framing,
}

/// The encoder of this form; one value for all sessions.
pub(in crate::front) fn encoder(layout: Layout, framing: Framing) -> &'static dyn Encoder {
    const fn events(layout: Layout, framing: Framing) -> Events {
        Events { layout, framing }
    }
    static CHUNKED: [Events; 3] = [
        events(Layout::Payload, Framing::Chunked),
        events(Layout::Envelope, Framing::Chunked),
        events(Layout::EnvelopeWithOwnId, Framing::Chunked),
    ];
    static PLAIN: [Events; 3] = [
        events(Layout::Payload, Framing::Plain),
        events(Layout::Envelope, Framing::Plain),
        events(Layout::EnvelopeWithOwnId, Framing::Plain),
    ];
    match framing {
        Framing::Chunked => &CHUNKED[layout as usize],
        Framing::Plain => &PLAIN[layout as usize],
    }
}

impl Encoder for Events {
    fn form(&self) -> Form {
        Form { front: Front::Sse, number: self.layout as u8 * 2 + self.framing as u8 }
    }

    fn wants_own_cursor(&self) -> bool {
        self.layout == Layout::EnvelopeWithOwnId
    }

    fn message(&self, entry: &Entry, cursor: &str, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            if self.layout != Layout::EnvelopeWithOwnId {
                write_id(out, cursor);
            }
            if let Some(event) = &entry.event {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(event.as_str().as_bytes());
                out.push(b'\n');
            }
            // An event stream is UTF-8 and nothing else: other bytes go out in the envelope, as base64.
            if self.layout == Layout::Payload && entry.payload.kind() != PayloadKind::Binary {
                write_data(out, entry.payload.bytes());
            } else {
                out.extend_from_slice(b"data: ");
                write_message_at(out, entry, cursor);
                out.push(b'\n');
            }
            out.push(b'\n');
        });
    }

    fn own_cursor(&self, cursor: &Cursor, out: &mut Vec<u8>) {
        self.framing.write(out, |out| write_id(out, &cursor.encode()));
    }

    fn gap(&self, _slot: Slot, channel: &ChannelName, gap: &Gap, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            out.extend_from_slice(b"event: tidings:gap\ndata: ");
            write_gap(out, channel, gap);
            out.extend_from_slice(b"\n\n");
        });
    }

    fn cluster(&self, is_degraded: bool, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            out.extend_from_slice(b"event: tidings:cluster\ndata: ");
            write_cluster(out, is_degraded);
            out.extend_from_slice(b"\n\n");
        });
    }

    fn presence(&self, channel: &ChannelName, notice: &Notice, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            out.extend_from_slice(b"event: tidings:presence\ndata: ");
            write_notice(out, channel, notice);
            out.extend_from_slice(b"\n\n");
        });
    }

    fn unsubscribed(&self, channel: &ChannelName, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            out.extend_from_slice(b"event: tidings:unsubscribed\ndata: ");
            write_unsubscribed(out, channel);
            out.extend_from_slice(b"\n\n");
        });
    }

    fn heartbeat(&self, cursor: Option<&Cursor>, out: &mut Vec<u8>) {
        self.framing.write(out, |out| match cursor {
            // A block with nothing but an id sets what the client resumes with and fires no event (section 9.2.6).
            Some(cursor) => {
                write_id(out, &cursor.encode());
                out.push(b'\n');
            }
            None => out.extend_from_slice(b":\n\n"),
        });
    }

    fn farewell(&self, reason: CloseReason, retry: Duration, out: &mut Vec<u8>) {
        self.framing.write(out, |out| {
            // An `EventSource` comes back after any end. Who is not to is known by this id, and then answered so that it stops.
            let next = if reason.may_retry() { format!("retry: {}", retry.as_millis()) } else { format!("id: {OVER}{}", reason.as_str()) };
            out.extend_from_slice(next.as_bytes());
            out.extend_from_slice(b"\nevent: tidings:close\ndata: ");
            write_close(out, reason);
            out.extend_from_slice(b"\n\n");
        });
        self.framing.end(out);
    }
}

fn write_id(out: &mut Vec<u8>, cursor: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(cursor.as_bytes());
    out.push(b'\n');
}

/// One `data:` line for each line of the payload. CR, LF and CRLF all end a line of the stream, so they must all be cut
/// at here: a payload could forge fields else.
fn write_data(out: &mut Vec<u8>, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        rest = match rest[end..] {
            [] => return,
            [b'\r', b'\n', ref after @ ..] | [_, ref after @ ..] => after,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(payload: &str) -> String {
        let mut out = Vec::new();
        write_data(&mut out, payload.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_of_line_end_starts_a_new_data_line() {
        assert_eq!(data("one"), "data: one\n");
        assert_eq!(data(""), "data: \n");
        assert_eq!(data("a\nb"), "data: a\ndata: b\n");
        assert_eq!(data("a\r\nb\rc\n"), "data: a\ndata: b\ndata: c\ndata: \n");
        assert_eq!(data("\r\r\n"), "data: \ndata: \ndata: \n");
        assert_eq!(data("x\nevent: forged\n\n"), "data: x\ndata: event: forged\ndata: \ndata: \n");
    }

    #[test]
    fn forms_differ_where_bytes_do() {
        let mut forms: Vec<u8> = [Layout::Payload, Layout::Envelope, Layout::EnvelopeWithOwnId]
            .into_iter()
            .flat_map(|layout| [Framing::Chunked, Framing::Plain].map(|framing| encoder(layout, framing).form().number))
            .collect();
        forms.sort_unstable();
        forms.dedup();
        assert_eq!(forms.len(), 6);
    }
}
