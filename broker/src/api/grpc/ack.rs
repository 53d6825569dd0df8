//! One ack as it goes over the wire. Nearly every message is answered with one, so it is written straight from what is known of the
//! message: to fill in the generated type first costs three strings, and to encode that one takes a second look at each field.

use bytes::BufMut;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use tidings_proto::v1;

use super::status::publish_error;
use crate::broker::Published;
use crate::error::Result;

/// Before each message stand a flag (not compressed) and its length.
const HEAD_BYTES: usize = 5;

/// The fields of `PublishAck` and of `PublishResult`.
const SEQ: u8 = 1;
const RESULT: u8 = 2;
const CHANNEL: u8 = 1;
const OFFSET: u8 = 2;
const CURSOR: u8 = 3;
const ID: u8 = 4;
const COPIES: u8 = 5;
const DUPLICATE: u8 = 6;

/// Writes what became of a message to one channel behind what `out` holds, as a message of a gRPC stream.
pub(super) fn write(out: &mut Vec<u8>, seq: u64, result: Result<Published>) {
    match result {
        Ok(published) => write_published(out, seq, &published),
        Err(error) => write_outcome(out, seq, v1::publish_ack::Outcome::Error(publish_error(error))),
    }
}

/// The same for any message.
pub(super) fn write_result(out: &mut Vec<u8>, seq: u64, result: Result<v1::PublishResult>) {
    let outcome = match result {
        Ok(result) => v1::publish_ack::Outcome::Result(result),
        Err(error) => v1::publish_ack::Outcome::Error(publish_error(error)),
    };
    write_outcome(out, seq, outcome);
}

fn write_outcome(out: &mut Vec<u8>, seq: u64, outcome: v1::publish_ack::Outcome) {
    let ack = v1::PublishAck { seq, outcome: Some(outcome) };
    write_head(out, ack.encoded_len());
    ack.encode_raw(out);
}

fn write_published(out: &mut Vec<u8>, seq: u64, published: &Published) {
    let (cursor, mut digits) = (published.cursor(), [0; 32]);
    let (channel, id) = (published.channel.as_str(), published.id.text(&mut digits));
    let (offset, copies, duplicate) = (published.offset, published.copies.into(), published.duplicate.into());
    let texts = text_bytes(channel) + text_bytes(&cursor) + text_bytes(id);
    let bytes = texts + number_bytes(offset) + number_bytes(copies) + number_bytes(duplicate);
    write_head(out, number_bytes(seq) + 1 + encoded_len_varint(bytes as u64) + bytes);
    write_number(out, SEQ, seq);
    out.push(RESULT << 3 | 2);
    encode_varint(bytes as u64, out);
    write_text(out, CHANNEL, channel);
    write_number(out, OFFSET, offset);
    write_text(out, CURSOR, &cursor);
    write_text(out, ID, id);
    write_number(out, COPIES, copies);
    write_number(out, DUPLICATE, duplicate);
}

fn write_head(out: &mut Vec<u8>, bytes: usize) {
    out.reserve(HEAD_BYTES + bytes);
    out.put_u8(0);
    out.put_u32(bytes as u32);
}

/// What a field of text takes. What is empty is left out, as proto3 has it.
fn text_bytes(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + encoded_len_varint(text.len() as u64) + text.len() }
}

fn number_bytes(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(number) }
}

fn write_text(out: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        out.push(field << 3 | 2);
        encode_varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

fn write_number(out: &mut Vec<u8>, field: u8, number: u64) {
    if number != 0 {
        out.push(field << 3);
        encode_varint(number, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::convert;
    use super::*;
    use crate::error::Error;
    use crate::log::{Epoch, Pos, Slot, Tag, Trail};
    use crate::message::{ChannelName, MessageId};

    #[test]
    fn an_ack_is_written_as_the_generated_type_would_be() {
        let epoch = Epoch::new(1, Tag::new(0xabc).unwrap());
        for (seq, channel, offset, copies, duplicate) in [
            (1, "news".to_owned(), 1, 1, false),
            (u64::MAX, "n".repeat(255), u64::MAX, u32::MAX, true),
            (0, "zähler".to_owned(), 0, 0, false),
            (300, "x".repeat(128), 128, 2, true),
        ] {
            for id in [MessageId::Auto(7 << 100), MessageId::Keyed("mine".into())] {
                let (channel, pos) = (ChannelName::parse(&channel).unwrap(), Pos { epoch, idx: 1_000_000 });
                let published =
                    Published { slot: Slot::of(&channel), channel, pos, offset, id, copies, duplicate, trail: Trail::default() };
                let result = convert::result(&published);
                let ack = v1::PublishAck { seq, outcome: Some(v1::publish_ack::Outcome::Result(result.clone())) }.encode_to_vec();
                let framed = [&[0][..], &(ack.len() as u32).to_be_bytes(), &ack].concat();
                let mut out = b"before".to_vec();
                write(&mut out, seq, Ok(published));
                assert_eq!(out, [b"before", &framed[..]].concat());
                let mut out = Vec::new();
                write_result(&mut out, seq, Ok(result));
                assert_eq!(out, framed);
            }
        }
    }

    #[test]
    fn a_refusal_is_an_ack_too() {
        let mut out = Vec::new();
        write(&mut out, 9, Err(Error::invalid("no")));
        let ack = v1::PublishAck::decode(&out[HEAD_BYTES..]).unwrap();
        let Some(v1::publish_ack::Outcome::Error(error)) = ack.outcome else { panic!("{ack:?}") };
        assert_eq!((ack.seq, error.code.as_str(), error.message.as_str()), (9, "invalid_request", "no"));
        assert_eq!(out[..HEAD_BYTES], [&[0][..], &(out.len() as u32 - 5).to_be_bytes()].concat());
    }
}
