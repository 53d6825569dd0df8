//! How much a request becomes when it is decoded, told from its bytes: two of them are an empty message of a batch, which takes a
//! hundred times as many in memory. So it is counted and bounded before.

use crate::error::{Error, ErrorCode, Result};
use crate::message::HEADERS_MAX;

/// Fields of one message: each of its headers is one, and so is each of its channels, which count as messages.
const OF_A_MESSAGE: usize = HEADERS_MAX + 16;
/// What any request may have besides, such as the channels of a subscription.
const OF_ANY: usize = 16 << 10;
/// `messages` of a batch.
const MESSAGES: u64 = 1;
/// `channels` of each of them.
const CHANNELS: u64 = 2;

/// Refuses a request that would take much more memory than it has bytes.
///
/// # Errors
/// `too_large` for too many messages or fields; `invalid_request` for what is no protobuf.
pub(super) fn check(request: &[u8], is_batch: bool, batch_messages: usize) -> Result<()> {
    let counted = count(request, is_batch).map_err(|Malformed| Error::invalid("the request is no message of this method"))?;
    let fields_max = batch_messages * OF_A_MESSAGE + OF_ANY;
    let too_large = |what| Err(Error::new(ErrorCode::TooLarge, what));
    if counted.messages > batch_messages {
        return too_large(format!("a batch holds at most {batch_messages} messages, this one holds {}", counted.messages));
    }
    if counted.fields > fields_max {
        return too_large(format!("a request has at most {fields_max} fields, this one has {}", counted.fields));
    }
    Ok(())
}

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// In all, with those of a batch's messages.
    fields: usize,
    /// Of a batch, by channel: otherwise a batch of messages to many channels each would be the square of the bound.
    messages: usize,
}

/// What is no protobuf; nor is a group here, which no message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

fn count(request: &[u8], is_batch: bool) -> std::result::Result<Counted, Malformed> {
    let mut counted = Counted::default();
    let mut rest = request;
    while let Some(field) = Field::next(&mut rest)? {
        counted.fields += 1;
        if !is_batch || field.number != MESSAGES {
            continue;
        }
        let (mut message, mut channels) = (field.bytes, 0);
        while let Some(field) = Field::next(&mut message)? {
            counted.fields += 1;
            channels += usize::from(field.number == CHANNELS);
        }
        counted.messages += channels.max(1);
    }
    Ok(counted)
}

/// One field on the wire.
struct Field<'a> {
    number: u64,
    /// Empty for a number.
    bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// Takes the next one off.
    fn next(rest: &mut &'a [u8]) -> std::result::Result<Option<Self>, Malformed> {
        if rest.is_empty() {
            return Ok(None);
        }
        let key = varint(rest)?;
        let length = match key & 7 {
            0 => {
                varint(rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(rest)?).map_err(|_| Malformed)?,
            5 => 4,
            _ => return Err(Malformed),
        };
        let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
        *rest = after;
        Ok(Some(Self { number: key >> 3, bytes }))
    }
}

/// Takes a number off.
fn varint(rest: &mut &[u8]) -> std::result::Result<u64, Malformed> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tidings_proto::v1;

    use super::*;

    fn publish(channels: usize) -> v1::PublishRequest {
        v1::PublishRequest {
            channels: vec!["a".into(); channels],
            data: vec![b'x'; 300].into(),
            headers: [("one".to_owned(), "1".to_owned()), ("two".to_owned(), "2".to_owned())].into(),
            ttl_ms: u64::MAX,
            ..Default::default()
        }
    }

    #[test]
    fn messages_count_by_channel_and_fields_wherever_they_stand() {
        let one = v1::PublishRequest { channel: "a".into(), ..publish(0) };
        let batch = v1::PublishBatchRequest { messages: vec![one, publish(5), v1::PublishRequest::default()] }.encode_to_vec();
        assert_eq!(count(&batch, true), Ok(Counted { fields: 3 + 5 + 9, messages: 1 + 5 + 1 }));
        assert_eq!(count(&batch, false), Ok(Counted { fields: 3, messages: 0 }));
        assert_eq!(count(&publish(7).encode_to_vec(), false), Ok(Counted { fields: 7 + 4, messages: 0 }));
        assert_eq!(count(&[], true), Ok(Counted::default()));
    }

    #[test]
    fn what_could_be_decoded_as_more_than_was_counted_is_no_protobuf() {
        for wrong in [&[0x0a][..], &[0x0a, 5, 1], &[0x0b, 0x0a, 0, 0x0c], &[0x80; 11], &[0x09, 1, 2], &[0x0f, 0]] {
            assert_eq!(count(wrong, true), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(count(&[0x0a, 2, 0x0a, 5], true), Err(Malformed), "nor is a message of a batch");
    }

    #[test]
    fn what_is_past_a_bound_is_told_which() {
        let empty = |count: usize| [0x0a, 0].repeat(count);
        assert!(check(&empty(10), true, 10).is_ok());
        let refused = check(&empty(11), true, 10).unwrap_err();
        assert_eq!((refused.code, refused.message.as_ref()), (ErrorCode::TooLarge, "a batch holds at most 10 messages, this one holds 11"));
        let most = 10 * OF_A_MESSAGE + OF_ANY;
        assert!(check(&empty(most), false, 10).is_ok());
        assert_eq!(check(&empty(most + 1), false, 10).unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(check(&[0x0b], false, 10).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
