//! A request of a publish stream, read where it lies. Nearly all are plain: one channel, no headers, nothing unknown. Such a one needs no
//! memory of its own before it is a `Draft`; any other is decoded as the generated type, which also says what is wrong with what is no message.

use super::convert::Words;

/// The fields of `PublishStreamRequest`, with how they are written.
const SEQ: u64 = 1 << 3;
const PUBLISH: u64 = 2 << 3 | 2;
/// And those of `PublishRequest`.
const CHANNEL: u64 = 1 << 3 | 2;
const DATA: u64 = 3 << 3 | 2;
const CONTENT_TYPE: u64 = 4 << 3 | 2;
const EVENT: u64 = 5 << 3 | 2;
const ID: u64 = 6 << 3 | 2;
const RETRY_ID: u64 = 7 << 3 | 2;
const TTL_MS: u64 = 9 << 3;

/// One that is plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub(super) seq: u64,
    pub(super) words: Words<'a>,
}

impl<'a> Plain<'a> {
    /// `None` for any other, right or wrong.
    pub(super) fn read(mut request: &'a [u8]) -> Option<Self> {
        let (mut seq, mut publish) = (0, None);
        while !request.is_empty() {
            match number(&mut request)? {
                SEQ => seq = number(&mut request)?,
                // What stands twice would be decoded into one.
                PUBLISH if publish.is_none() => publish = Some(piece(&mut request)?),
                _ => return None,
            }
        }
        let (mut publish, mut words) = (publish?, Words::default());
        while !publish.is_empty() {
            match number(&mut publish)? {
                CHANNEL => words.channel = text(&mut publish)?,
                DATA => words.data = piece(&mut publish)?,
                CONTENT_TYPE => words.content_type = text(&mut publish)?,
                EVENT => words.event = text(&mut publish)?,
                ID => words.id = text(&mut publish)?,
                RETRY_ID => words.retry_id = piece(&mut publish)?,
                TTL_MS => words.ttl_ms = number(&mut publish)?,
                _ => return None,
            }
        }
        (!words.channel.is_empty()).then_some(Self { seq, words })
    }
}

/// A number of at most nine bytes, which all but the largest are.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(number);
        }
    }
    None
}

fn piece<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(bytes)?).ok()?;
    let (piece, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(piece)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(piece(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use tidings_proto::v1;

    use super::*;

    fn publish() -> v1::PublishRequest {
        v1::PublishRequest {
            channel: "news".into(),
            data: vec![7; 300].into(),
            content_type: "text/plain".into(),
            event: "price".into(),
            id: "mine".into(),
            retry_id: vec![1; 16].into(),
            ttl_ms: 60_000,
            ..Default::default()
        }
    }

    fn encoded(publish: v1::PublishRequest) -> Vec<u8> {
        v1::PublishStreamRequest { seq: 1 << 40, publish: Some(publish) }.encode_to_vec()
    }

    /// Whatever is plain says what the generated type says.
    fn agrees(request: &[u8]) -> bool {
        let Some(plain) = Plain::read(request) else { return false };
        let decoded = v1::PublishStreamRequest::decode(request).expect("what is plain is a message");
        let publish = decoded.publish.expect("it has one");
        assert_eq!((plain.seq, plain.words), (decoded.seq, Words::from(&publish)));
        assert!(publish.channels.is_empty() && publish.headers.is_empty());
        true
    }

    #[test]
    fn a_plain_request_is_read_as_the_generated_type_reads_it() {
        assert!(agrees(&encoded(publish())));
        assert!(agrees(&encoded(v1::PublishRequest { channel: "a".into(), ..Default::default() })));
        assert!(agrees(&v1::PublishStreamRequest { seq: 0, publish: Some(publish()) }.encode_to_vec()));
        // The last one of what stands twice counts.
        let twice = [encoded(publish()), vec![8, 9]].concat();
        assert!(agrees(&twice));
    }

    #[test]
    fn anything_else_is_left_to_the_generated_type() {
        let none = v1::PublishStreamRequest { seq: 1, publish: None }.encode_to_vec();
        let several = v1::PublishRequest { channels: vec!["a".into()], ..publish() };
        let headers = v1::PublishRequest { headers: [("a".to_owned(), "b".to_owned())].into(), ..publish() };
        let nameless = v1::PublishRequest { channel: String::new(), ..publish() };
        let late = v1::PublishRequest { ttl_ms: u64::MAX, ..publish() };
        let twice = encoded(publish()).repeat(2);
        let unknown = [encoded(publish()), vec![0x50, 1]].concat();
        for request in [none, encoded(several), encoded(headers), encoded(nameless), encoded(late), twice, unknown] {
            assert_eq!(Plain::read(&request), None);
        }
        // No text, broken off, written otherwise.
        for wrong in [&[0x12, 3, 0x0a, 1, 0xff][..], &[0x12, 3, 0x0a, 2, b'a'], &[0x12, 5, 0x0a, 1, b'a'], &[0x10, 1], &[0x80; 12], &[0x0b]]
        {
            assert_eq!(Plain::read(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_it_says_nothing_else(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut changed = encoded(publish());
            let (at, cut) = (at.index(changed.len()), cut.index(changed.len()));
            changed[at] = byte;
            agrees(&changed);
            agrees(&changed[..cut]);
            agrees(&noise);
        }
    }
}
