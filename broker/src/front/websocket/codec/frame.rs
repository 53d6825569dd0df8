//! A frame's head, and the mask over a client's payload (RFC 6455, sections 5.2 and 5.3).

use super::close::Violation;

/// A client's longest head: two bytes, eight of length, four of mask.
pub(super) const HEAD_BYTES_MAX: usize = 14;
/// Most bytes in a control frame.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
const OTHER_RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;
/// Seven bits that say: the length stands in the two, or eight, bytes that follow.
pub(super) const LENGTH_IN_2: u8 = 126;
pub(super) const LENGTH_IN_8: u8 = 127;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpCode {
    /// The message before goes on.
    Continuation = 0x0,
    /// A message of UTF-8 begins.
    Text = 0x1,
    /// A message of bytes begins.
    Binary = 0x2,
    /// The sender is done.
    Close = 0x8,
    /// Are you there?
    Ping = 0x9,
    /// Here I am.
    Pong = 0xa,
}

impl OpCode {
    fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is about the connection and not part of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What stands before a client's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Nothing of the message follows after this frame.
    pub(super) is_last: bool,
    /// The message is compressed (RFC 7692, section 6).
    pub(super) is_compressed: bool,
    pub(super) opcode: OpCode,
    pub(super) length: u64,
    pub(super) mask: [u8; 4],
}

/// What decides whether a head is right, besides its own bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// Messages may be compressed.
    pub(super) has_deflate: bool,
    /// A message was begun.
    pub(super) is_in_message: bool,
}

impl Head {
    /// Reads a head and says how many bytes it took; `None` when it goes on after what is there. Each byte is judged as
    /// soon as it is seen, and the first wrong one decides: a client that is wrong must not be waited for.
    pub(super) fn parse(bytes: &[u8], context: Context) -> Result<Option<(Self, usize)>, Violation> {
        let [first, rest @ ..] = bytes else { return Ok(None) };
        let opcode = OpCode::parse(first & 0x0f).ok_or(Violation::ReservedOpCode)?;
        let is_last = first & FIN != 0;
        let is_compressed = first & RSV1 != 0;
        // Compression is told by the first frame of a message, and control frames have none.
        let may_compress = context.has_deflate && matches!(opcode, OpCode::Text | OpCode::Binary);
        if first & OTHER_RESERVED != 0 || (is_compressed && !may_compress) {
            return Err(Violation::ReservedBit);
        }
        if opcode.is_control() && !is_last {
            return Err(Violation::FragmentedControl);
        }
        match (opcode, context.is_in_message) {
            (OpCode::Continuation, false) => return Err(Violation::NothingToContinue),
            (OpCode::Text | OpCode::Binary, true) => return Err(Violation::UnfinishedMessage),
            _ => {}
        }
        let [second, rest @ ..] = rest else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let (length, rest) = match second & !MASKED {
            short if usize::from(short) <= CONTROL_BYTES_MAX => (u64::from(short), rest),
            _ if opcode.is_control() => return Err(Violation::LongControl),
            LENGTH_IN_2 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from(u16::from_be_bytes(*length));
                if length <= CONTROL_BYTES_MAX as u64 {
                    return Err(Violation::BadLength);
                }
                (length, rest)
            }
            _ => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                if length <= u64::from(u16::MAX) || length > i64::MAX as u64 {
                    return Err(Violation::BadLength);
                }
                (length, rest)
            }
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Self { is_last, is_compressed, opcode, length, mask: *mask }, bytes.len() - rest.len())))
    }
}

/// Puts a mask over bytes, or takes it away again; `from` is how much of the payload stands before them.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4], from: u64) {
    let key: [u8; 8] = std::array::from_fn(|at| mask[(from as usize + at) % 4]);
    let word = u64::from_ne_bytes(key);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for each in words {
        *each = (u64::from_ne_bytes(*each) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Context = Context { has_deflate: false, is_in_message: false };
    const DEFLATE: Context = Context { has_deflate: true, is_in_message: false };
    const IN_MESSAGE: Context = Context { has_deflate: true, is_in_message: true };

    #[test]
    fn a_head_is_judged_by_its_first_wrong_byte() {
        let cases: [(&[u8], Violation); 16] = [
            (b"\xc1", Violation::ReservedBit),
            (b"\xa1", Violation::ReservedBit),
            (b"\x91", Violation::ReservedBit),
            (b"\x83", Violation::ReservedOpCode),
            (b"\x87", Violation::ReservedOpCode),
            (b"\x8b", Violation::ReservedOpCode),
            (b"\x8f", Violation::ReservedOpCode),
            (b"\x08", Violation::FragmentedControl),
            (b"\x09", Violation::FragmentedControl),
            (b"\x81\x05", Violation::Unmasked),
            (b"\x89\xfe", Violation::LongControl),
            (b"\x88\xff", Violation::LongControl),
            (b"\x82\xfe\x00\x7d", Violation::BadLength),
            (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", Violation::BadLength),
            (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", Violation::BadLength),
            (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", Violation::BadLength),
        ];
        for (bytes, violation) in cases {
            assert_eq!(Head::parse(bytes, PLAIN), Err(violation), "{bytes:x?}");
            assert_eq!(Head::parse(&bytes[..bytes.len() - 1], PLAIN), Ok(None), "{bytes:x?}");
        }
        for bytes in [b"\xc0", b"\xc8", b"\xc9", b"\xca", b"\xe1", b"\xd1"] {
            assert_eq!(Head::parse(bytes, DEFLATE), Err(Violation::ReservedBit), "{bytes:x?}");
        }
        for (bytes, context, violation) in [
            (b"\x80", PLAIN, Violation::NothingToContinue),
            (b"\x00", DEFLATE, Violation::NothingToContinue),
            (b"\x81", IN_MESSAGE, Violation::UnfinishedMessage),
            (b"\xc2", IN_MESSAGE, Violation::UnfinishedMessage),
            (b"\xc0", IN_MESSAGE, Violation::ReservedBit),
        ] {
            assert_eq!(Head::parse(bytes, context), Err(violation), "{bytes:x?}");
        }
    }

    #[test]
    fn lengths_are_read_in_all_three_forms() {
        for (bytes, length) in [
            (&b"\x82\x80"[..], 0),
            (b"\x82\xfd", 125),
            (b"\x82\xfe\x00\x7e", 126),
            (b"\x82\xfe\xff\xff", 65535),
            (b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00", 65536),
            (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX as u64),
        ] {
            let bytes = [bytes, b"mask", b"payload"].concat();
            let (head, taken) = Head::parse(&bytes, PLAIN).unwrap().unwrap();
            assert_eq!((head.length, head.mask, &bytes[taken..]), (length, *b"mask", &b"payload"[..]));
            assert!((0..taken).all(|short| Head::parse(&bytes[..short], PLAIN) == Ok(None)));
        }
        let (head, _) = Head::parse(b"\xc1\x80mask", DEFLATE).unwrap().unwrap();
        assert!(head.is_compressed && head.is_last && head.opcode == OpCode::Text);
    }

    proptest! {
        #[test]
        fn a_mask_is_the_same_in_pieces(bytes in prop::collection::vec(any::<u8>(), 0..70), mask: [u8; 4], cut: prop::sample::Index) {
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let cut = cut.index(bytes.len() + 1);
            let mut bytes = bytes;
            unmask(&mut bytes[..cut], mask, 0);
            unmask(&mut bytes[cut..], mask, cut as u64);
            prop_assert_eq!(bytes, expected);
        }
    }
}
