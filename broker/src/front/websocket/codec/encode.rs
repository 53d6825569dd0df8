//! A server's frames. None is masked, so the same bytes go to every client (RFC 6455, section 5.1).

use super::close::CloseCode;
use super::frame::{CONTROL_BYTES_MAX, FIN, LENGTH_IN_2, LENGTH_IN_8, OpCode, RSV1};

/// A server's longest head.
const HEAD_BYTES_MAX: usize = 10;
/// What a close frame has left beside its code.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// A frame to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(u8);

impl Frame {
    /// A whole message of text. The payload must be UTF-8.
    pub const TEXT: Self = Self(FIN | OpCode::Text as u8);
    /// A whole message of bytes.
    pub const BINARY: Self = Self(FIN | OpCode::Binary as u8);
    /// The last frame of a message that was begun.
    pub const CONTINUATION: Self = Self(FIN | OpCode::Continuation as u8);
    /// Asks for a pong. At most 125 bytes.
    pub const PING: Self = Self(FIN | OpCode::Ping as u8);
    /// Answers a ping with the ping's own payload.
    pub const PONG: Self = Self(FIN | OpCode::Pong as u8);

    /// The same, with more of the message to come in [`Frame::CONTINUATION`]s. Not for control frames.
    #[must_use]
    pub const fn to_be_continued(self) -> Self {
        Self(self.0 & !FIN)
    }

    /// The same, for a payload that a [`Deflater`](super::Deflater) made. Only for a message's first frame, and only when
    /// compression was agreed upon (RFC 7692, section 6).
    #[must_use]
    pub const fn compressed(self) -> Self {
        Self(self.0 | RSV1)
    }

    /// Appends the frame.
    pub fn write(self, out: &mut Vec<u8>, payload: &[u8]) {
        let (head, length) = self.head(payload.len());
        out.reserve(length + payload.len());
        out.extend_from_slice(&head[..length]);
        out.extend_from_slice(payload);
    }

    /// Appends the frame with a payload that is written in its place, for those who do not know its length yet.
    pub fn write_with(self, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES_MAX]);
        payload(out);
        let (head, length) = self.head(out.len() - start - HEAD_BYTES_MAX);
        // The head ends where the payload begins; what it did not need is closed up.
        out[start + HEAD_BYTES_MAX - length..start + HEAD_BYTES_MAX].copy_from_slice(&head[..length]);
        out.drain(start..start + HEAD_BYTES_MAX - length);
    }

    /// The head of a frame with so much payload, and how many of the bytes it is.
    fn head(self, payload: usize) -> ([u8; HEAD_BYTES_MAX], usize) {
        let mut head = [0; HEAD_BYTES_MAX];
        head[0] = self.0;
        let length = match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short), _) if payload <= CONTROL_BYTES_MAX => {
                head[1] = short;
                2
            }
            (_, Ok(middle)) => {
                head[1] = LENGTH_IN_2;
                head[2..4].copy_from_slice(&middle.to_be_bytes());
                4
            }
            _ => {
                head[1] = LENGTH_IN_8;
                head[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
                10
            }
        };
        (head, length)
    }
}

/// Appends a close frame (RFC 6455, section 5.5.1). `None` says nothing, which answers a close that said nothing. A reason
/// that does not fit is cut between two characters.
pub fn write_close(out: &mut Vec<u8>, close: Option<(CloseCode, &str)>) {
    Frame(FIN | OpCode::Close as u8).write_with(out, |out| {
        let Some((code, reason)) = close else { return };
        out.extend_from_slice(&code.get().to_be_bytes());
        let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        out.extend_from_slice(&reason.as_bytes()[..end]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_come_out_byte_for_byte() {
        let write = |frame: Frame, payload: &[u8]| {
            let (mut known, mut unknown) = (b"before".to_vec(), b"before".to_vec());
            frame.write(&mut known, payload);
            frame.write_with(&mut unknown, |out| out.extend_from_slice(payload));
            assert_eq!(known, unknown);
            known.split_off(6)
        };
        assert_eq!(write(Frame::TEXT, b"Hello"), b"\x81\x05Hello");
        assert_eq!(write(Frame::TEXT.to_be_continued(), b"Hel"), b"\x01\x03Hel");
        assert_eq!(write(Frame::CONTINUATION, b"lo"), b"\x80\x02lo");
        assert_eq!(write(Frame::PING, b"Hello"), b"\x89\x05Hello");
        assert_eq!(write(Frame::PONG, b""), b"\x8a\x00");
        assert_eq!(write(Frame::BINARY, &[7; 125])[..2], *b"\x82\x7d");
        assert_eq!(write(Frame::BINARY, &[7; 126])[..4], *b"\x82\x7e\x00\x7e");
        assert_eq!(write(Frame::BINARY, &[7; 256])[..4], *b"\x82\x7e\x01\x00");
        assert_eq!(write(Frame::BINARY, &[7; 65535])[..4], *b"\x82\x7e\xff\xff");
        assert_eq!(write(Frame::BINARY, &[7; 65536])[..10], *b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
        assert_eq!(write(Frame::TEXT.compressed(), b"\xf2H\xcd\xc9\xc9\x07\x00")[..2], *b"\xc1\x07");
    }

    #[test]
    fn a_close_fits_into_its_frame() {
        let close = |close| {
            let mut out = Vec::new();
            write_close(&mut out, close);
            out
        };
        assert_eq!(close(None), b"\x88\x00");
        assert_eq!(close(Some((CloseCode::GOING_AWAY, "bye"))), b"\x88\x05\x03\xe9bye");
        let long = close(Some((CloseCode::NORMAL, &"ü".repeat(100))));
        assert_eq!(long[..4], *b"\x88\x7c\x03\xe8");
        assert_eq!(std::str::from_utf8(&long[4..]).unwrap(), "ü".repeat(61));
    }
}
