//! What the broker says, as frames: one object of JSON each, compressed for those who agreed to it and where it pays.

use std::cell::RefCell;
use std::time::Duration;

use parking_lot::Mutex;

use super::codec::{Deflater, Frame, WINDOW_BITS_MAX};
use super::ending::Ending;
use crate::close::CloseReason;
use crate::log::{Cursor, Entry, Gap, Slot};
use crate::message::ChannelName;
use crate::metrics::Front;
use crate::presence::Notice;
use crate::shard::{Encoder, Form};
use crate::wire::{write_cluster, write_gap, write_message_at, write_notice, write_unsubscribed};

/// zlib's level, 1 to 9: higher costs the shard more time than it saves bytes of short texts.
const LEVEL: u32 = 4;

thread_local! {
    /// One serves all connections of a shard, since no message knows of the one before.
    static DEFLATER: RefCell<Option<Deflater>> = const { RefCell::new(None) };
}

/// A wire form: objects as frames of text.
#[derive(Debug)]
pub(in crate::front) struct Objects {
    /// From this many bytes on they are compressed; 0 for never.
    compress_bytes: usize,
}

/// For clients that did not agree to compression.
pub(in crate::front) static PLAIN: Objects = Objects { compress_bytes: 0 };

impl Objects {
    /// The form that compresses from so many bytes on. Encoders live as long as the process; there is one for each value
    /// that any node of it was ever configured with.
    pub(in crate::front) fn compressing(compress_bytes: usize) -> &'static Self {
        static KNOWN: Mutex<Vec<&Objects>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock();
        if let Some(same) = known.iter().find(|objects| objects.compress_bytes == compress_bytes) {
            return same;
        }
        let made: &'static Self = Box::leak(Box::new(Self { compress_bytes }));
        known.push(made);
        made
    }

    /// Writes one object.
    pub(super) fn write(&self, out: &mut Vec<u8>, json: impl FnOnce(&mut Vec<u8>)) {
        if self.compress_bytes == 0 {
            return Frame::TEXT.write_with(out, json);
        }
        let mut text = Vec::with_capacity(256);
        json(&mut text);
        if text.len() >= self.compress_bytes {
            let packed = deflate(&text);
            // What does not shrink goes out as it is: each message says for itself whether it is compressed.
            if packed.len() < text.len() {
                return Frame::TEXT.compressed().write(out, &packed);
            }
        }
        Frame::TEXT.write(out, &text);
    }

    /// Writes `{"id":…,"NAME":BODY}`, without the id if there is none.
    pub(super) fn write_reply(&self, out: &mut Vec<u8>, id: Option<u64>, name: &str, body: impl FnOnce(&mut Vec<u8>)) {
        self.write(out, |out| {
            out.push(b'{');
            if let Some(id) = id {
                out.extend_from_slice(b"\"id\":");
                crate::wire::write_number(out, id);
                out.push(b',');
            }
            crate::wire::write_string(out, name);
            out.push(b':');
            body(out);
            out.push(b'}');
        });
    }
}

fn deflate(text: &[u8]) -> Vec<u8> {
    DEFLATER.with_borrow_mut(|deflater| deflater.get_or_insert_with(|| Deflater::new(LEVEL, WINDOW_BITS_MAX)).deflate(text))
}

impl Encoder for Objects {
    fn form(&self) -> Form {
        Form { front: Front::WebSocket, number: u8::from(self.compress_bytes > 0) }
    }

    /// A client keeps a cursor per channel, and each message has its own.
    fn wants_own_cursor(&self) -> bool {
        false
    }

    fn message(&self, entry: &Entry, cursor: &str, out: &mut Vec<u8>) {
        self.write_reply(out, None, "message", |out| write_message_at(out, entry, cursor));
    }

    fn own_cursor(&self, _cursor: &Cursor, _out: &mut Vec<u8>) {}

    fn gap(&self, _slot: Slot, channel: &ChannelName, gap: &Gap, out: &mut Vec<u8>) {
        self.write_reply(out, None, "gap", |out| write_gap(out, channel, gap));
    }

    fn cluster(&self, is_degraded: bool, out: &mut Vec<u8>) {
        self.write_reply(out, None, "cluster", |out| write_cluster(out, is_degraded));
    }

    fn presence(&self, channel: &ChannelName, notice: &Notice, out: &mut Vec<u8>) {
        self.write_reply(out, None, "presence", |out| write_notice(out, channel, notice));
    }

    fn unsubscribed(&self, channel: &ChannelName, out: &mut Vec<u8>) {
        self.write_reply(out, None, "unsubscribed", |out| write_unsubscribed(out, channel));
    }

    fn heartbeat(&self, cursor: Option<&Cursor>, out: &mut Vec<u8>) {
        // Without a cursor there is nothing to say: pings are what keeps the connection.
        let Some(cursor) = cursor else { return };
        self.write_reply(out, None, "heartbeat", |out| {
            out.extend_from_slice(b"{\"cursor\":");
            crate::wire::write_string(out, &cursor.encode());
            out.push(b'}');
        });
    }

    fn farewell(&self, reason: CloseReason, retry: Duration, out: &mut Vec<u8>) {
        Ending::of(reason).write(self, retry, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::Inflater;
    use super::*;

    #[test]
    fn only_what_is_long_enough_and_shrinks_is_compressed() {
        let objects = Objects::compressing(64);
        let write = |text: &str| {
            let mut out = Vec::new();
            objects.write(&mut out, |out| out.extend_from_slice(text.as_bytes()));
            out
        };
        assert_eq!(write("short")[..2], *b"\x81\x05");
        let long = "all work and no play ".repeat(20);
        let out = write(&long);
        assert_eq!(out[0], 0xc1);
        assert_eq!(Inflater::default().inflate(&out[2..], 1000).unwrap(), long.as_bytes());
        let noise: String = (0..100_u32).map(|n| char::from(33 + (n.wrapping_mul(2_654_435_761) >> 25) as u8 % 93)).collect();
        assert_eq!(write(&noise)[..2], [0x81, 100], "noise only grows");
        assert!(std::ptr::eq(objects, Objects::compressing(64)), "each form is made once");
        assert_ne!(objects.form(), PLAIN.form());
    }
}
