//! How much a request becomes when it is decoded, told from its bytes: two of them are an empty message of a batch, which takes a
//! hundred times as many in memory. So it is counted and bounded before, however it is cut.

use crate::error::{Error, ErrorCode, Result};
use crate::message::HEADERS_MAX;

/// Fields of one message: each of its headers is one, and so is each of its channels, which count as messages.
const OF_A_MESSAGE: usize = HEADERS_MAX + 16;
/// What any request may have besides, such as the channels of a subscription.
const OF_ANY: usize = 16 << 10;
/// Bytes of the smallest field.
const FIELD_BYTES_MIN: usize = 2;
/// `channels` of a publish.
const CHANNELS: u64 = 2;

/// Which request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One publish, or anything else that holds no publishes.
    One,
    /// A batch of publishes.
    Batch,
    /// One of a publish stream.
    OfStream,
}

impl Kind {
    /// The field that holds a publish, whose own fields count, too.
    fn publish(self) -> Option<u64> {
        match self {
            Self::One => None,
            Self::Batch => Some(1),
            Self::OfStream => Some(2),
        }
    }
}

/// Whether a request of so many bytes could have too many fields. Of most requests that is all there is to know.
pub(super) fn could_be_too_many(bytes: usize, batch_messages: usize) -> bool {
    bytes / FIELD_BYTES_MIN > fields_max(batch_messages)
}

fn fields_max(batch_messages: usize) -> usize {
    batch_messages * OF_A_MESSAGE + OF_ANY
}

/// Refuses a request that would take much more memory than it has bytes.
///
/// # Errors
/// `too_large` for too many messages or fields; `invalid_request` for what is no protobuf.
pub(super) fn check(request: &[u8], kind: Kind, batch_messages: usize) -> Result<()> {
    let mut counting = Counting::new(kind, batch_messages);
    counting.add(request)?;
    counting.end()
}

/// Counts what a request holds while it comes.
#[derive(Debug)]
pub(super) struct Counting {
    kind: Kind,
    batch_messages: usize,
    counted: Counted,
    next: Next,
    /// The number that is being read, and how many bits of it there are.
    number: u64,
    bits: u32,
    /// Inside of a publish: what is left of it, and its channels so far.
    publish: Option<(usize, usize)>,
}

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// In all, with those of its publishes.
    fields: usize,
    /// Publishes by channel: otherwise a batch of messages to many channels each would be the square of the bound.
    messages: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Which field, and how it is written.
    Key,
    /// A number that is the field.
    Number,
    /// How long this field is.
    Length { field: u64 },
    /// So many bytes of the field.
    Bytes(usize),
}

/// What is no protobuf; nor is a group here, which no message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

impl Counting {
    /// Of a request of this kind.
    pub(super) fn new(kind: Kind, batch_messages: usize) -> Self {
        Self { kind, batch_messages, counted: Counted::default(), next: Next::Key, number: 0, bits: 0, publish: None }
    }

    /// Goes on behind these bytes.
    ///
    /// # Errors
    /// As [`check`], as soon as it is known.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.follow(bytes).map_err(|Malformed| no_message())?;
        let (Counted { messages, fields }, messages_max) = (self.counted, self.batch_messages);
        let too_large = |what| Err(Error::new(ErrorCode::TooLarge, what));
        if self.kind == Kind::Batch && messages > messages_max {
            return too_large(format!("a batch holds at most {messages_max} messages, this one holds {messages}"));
        }
        let fields_max = fields_max(messages_max);
        if fields > fields_max {
            return too_large(format!("a request has at most {fields_max} fields, this one has {fields} or more"));
        }
        Ok(())
    }

    /// There is no more of it.
    ///
    /// # Errors
    /// `invalid_request` when it breaks off.
    pub(super) fn end(&self) -> Result<()> {
        if self.is_between_fields() && self.publish.is_none() { Ok(()) } else { Err(no_message()) }
    }

    fn is_between_fields(&self) -> bool {
        self.next == Next::Key && self.bits == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) -> std::result::Result<(), Malformed> {
        while let Some(first) = bytes.first() {
            let was_inside = self.publish.is_some();
            let taken = match self.next {
                Next::Bytes(left) => {
                    let taken = left.min(bytes.len());
                    self.skip(left - taken);
                    taken
                }
                _ => {
                    self.digit(*first)?;
                    1
                }
            };
            bytes = &bytes[taken..];
            if let Some((left, channels)) = self.publish
                && was_inside
            {
                let left = left.checked_sub(taken).ok_or(Malformed)?;
                self.publish = Some((left, channels));
                if left == 0 {
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    /// One more byte of a number.
    fn digit(&mut self, byte: u8) -> std::result::Result<(), Malformed> {
        if self.bits >= u64::BITS {
            return Err(Malformed);
        }
        self.number |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        if byte & 0x80 != 0 {
            return Ok(());
        }
        let number = std::mem::take(&mut self.number);
        self.bits = 0;
        match self.next {
            Next::Key => self.field(number >> 3, number & 7)?,
            Next::Length { field } => self.length(field, usize::try_from(number).map_err(|_| Malformed)?),
            Next::Number | Next::Bytes(_) => self.next = Next::Key,
        }
        Ok(())
    }

    /// A field begins, written in this way.
    fn field(&mut self, field: u64, wire: u64) -> std::result::Result<(), Malformed> {
        self.counted.fields += 1;
        if let Some((_, channels)) = &mut self.publish {
            *channels += usize::from(field == CHANNELS);
        }
        self.next = match wire {
            0 => Next::Number,
            1 => Next::Bytes(8),
            2 => Next::Length { field },
            5 => Next::Bytes(4),
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn length(&mut self, field: u64, length: usize) {
        if self.publish.is_some() || self.kind.publish() != Some(field) {
            return self.skip(length);
        }
        self.next = Next::Key;
        if length > 0 {
            self.publish = Some((length, 0));
        } else {
            self.counted.messages += 1;
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.next = if bytes > 0 { Next::Bytes(bytes) } else { Next::Key };
    }

    /// A publish ends, and so must its last field.
    fn leave(&mut self) -> std::result::Result<(), Malformed> {
        let Some((_, channels)) = self.publish.take().filter(|_| self.is_between_fields()) else { return Err(Malformed) };
        self.counted.messages += channels.max(1);
        Ok(())
    }
}

fn no_message() -> Error {
    Error::invalid("the request is no message of this method")
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

    /// What is counted, the same however the request is cut.
    fn count(request: &[u8], kind: Kind) -> std::result::Result<Counted, Malformed> {
        let in_pieces = |size: usize| {
            let mut counting = Counting::new(kind, 1000);
            request.chunks(size).try_for_each(|piece| counting.follow(piece))?;
            counting.end().map_err(|_| Malformed)?;
            Ok(counting.counted)
        };
        let whole = in_pieces(request.len().max(1));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(in_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn messages_count_by_channel_and_fields_wherever_they_stand() {
        let one = v1::PublishRequest { channel: "a".into(), ..publish(0) };
        let batch = v1::PublishBatchRequest { messages: vec![one, publish(5), v1::PublishRequest::default()] }.encode_to_vec();
        assert_eq!(count(&batch, Kind::Batch), Ok(Counted { fields: 3 + 5 + 9, messages: 1 + 5 + 1 }));
        assert_eq!(count(&batch, Kind::One), Ok(Counted { fields: 3, messages: 0 }));
        assert_eq!(count(&publish(7).encode_to_vec(), Kind::One), Ok(Counted { fields: 7 + 4, messages: 0 }));
        assert_eq!(count(&[], Kind::Batch), Ok(Counted::default()));
        let of_stream = v1::PublishStreamRequest { seq: 9, publish: Some(publish(7)) }.encode_to_vec();
        assert_eq!(count(&of_stream, Kind::OfStream), Ok(Counted { fields: 2 + 7 + 4, messages: 7 }));
        // What stands twice is decoded into one.
        assert_eq!(count(&of_stream.repeat(2), Kind::OfStream).unwrap().fields, 2 * 13);
    }

    #[test]
    fn what_could_be_decoded_as_more_than_was_counted_is_no_protobuf() {
        for wrong in [&[0x0a][..], &[0x0a, 5, 1], &[0x0b, 0x0a, 0, 0x0c], &[0x80; 11], &[0x09, 1, 2], &[0x0f, 0], &[0x80]] {
            assert_eq!(count(wrong, Kind::Batch), Err(Malformed), "{wrong:?}");
        }
        for wrong in [&[0x0a, 2, 0x0a, 5][..], &[0x0a, 2, 0x0a, 5, 0, 0, 0, 0, 0], &[0x0a, 1, 0x80, 1], &[0x0a, 2, 0x09, 1, 2, 3]] {
            assert_eq!(count(wrong, Kind::Batch), Err(Malformed), "nor is a message of a batch: {wrong:?}");
        }
    }

    #[test]
    fn what_is_past_a_bound_is_told_which() {
        let empty = |count: usize| [0x0a, 0].repeat(count);
        assert!(check(&empty(10), Kind::Batch, 10).is_ok());
        let refused = check(&empty(11), Kind::Batch, 10).unwrap_err();
        assert_eq!((refused.code, refused.message.as_ref()), (ErrorCode::TooLarge, "a batch holds at most 10 messages, this one holds 11"));
        let most = 10 * OF_A_MESSAGE + OF_ANY;
        assert!(check(&empty(most), Kind::One, 10).is_ok());
        assert_eq!(check(&empty(most + 1), Kind::One, 10).unwrap_err().code, ErrorCode::TooLarge);
        assert_eq!(check(&[0x0b], Kind::One, 10).unwrap_err().code, ErrorCode::InvalidRequest);
        // The same told by the length alone: no more bytes, no more fields.
        let [fits, does_not] = [most, most + 1].map(|count| empty(count).len());
        assert!(!could_be_too_many(fits, 10) && could_be_too_many(does_not, 10));
    }

    #[test]
    fn one_of_a_stream_is_refused_before_all_of_it_is_here() {
        let many = v1::PublishStreamRequest { seq: 1, publish: Some(publish(20_000)) }.encode_to_vec();
        let mut counting = Counting::new(Kind::OfStream, 1);
        let come = many.chunks(1000).take_while(|piece| counting.add(piece).is_ok()).count();
        assert!((49..60).contains(&come), "three bytes each: {come} thousand of {}", many.len());
    }
}
