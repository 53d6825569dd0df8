//! How the pieces of a stream are put on the connection.

/// Whether the pieces carry a framing of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One chunk each (RFC 9112, section 7.1).
    Chunked,
    /// As they are: HTTP/2 and HTTP/1.0.
    Plain,
}

impl Framing {
    /// Writes one piece.
    pub(in crate::front) fn write(self, out: &mut Vec<u8>, piece: impl FnOnce(&mut Vec<u8>)) {
        if self == Self::Plain {
            return piece(out);
        }
        let start = out.len();
        piece(out);
        let length = out.len() - start;
        // A chunk without bytes would be the end.
        if length == 0 {
            return;
        }
        // The length stands before the piece and is known after it: moving it once is cheaper than a buffer of its own.
        let mut head = [0; HEAD_BYTES_MAX];
        let head = write_head(length, &mut head);
        out.extend_from_slice(head);
        out.copy_within(start..start + length, start + head.len());
        out[start..start + head.len()].copy_from_slice(head);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes what says that nothing follows.
    pub(in crate::front) fn end(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// As many hexadecimal digits as a length may have, and the end of the line.
const HEAD_BYTES_MAX: usize = usize::BITS as usize / 4 + 2;

/// The line before a chunk, into the end of `head`.
fn write_head(length: usize, head: &mut [u8; HEAD_BYTES_MAX]) -> &[u8] {
    let mut at = HEAD_BYTES_MAX - 2;
    head[at..].copy_from_slice(b"\r\n");
    let mut rest = length;
    loop {
        at -= 1;
        head[at] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
        if rest == 0 {
            return &head[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_hexadecimal() {
        for length in [0, 1, 9, 10, 15, 16, 255, 256, 0xfedc_ba98, usize::MAX] {
            assert_eq!(write_head(length, &mut [0; HEAD_BYTES_MAX]), format!("{length:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn a_chunk_says_its_length_and_none_is_empty_but_the_last() {
        let mut out = Vec::new();
        Framing::Chunked.write(&mut out, |out| out.extend_from_slice(&[b'x'; 17]));
        Framing::Chunked.write(&mut out, |_| {});
        Framing::Chunked.end(&mut out);
        assert_eq!(out, b"11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
        let mut out = b"before ".to_vec();
        Framing::Chunked.write(&mut out, |out| out.extend_from_slice(b"piece"));
        assert_eq!(out, b"before 5\r\npiece\r\n");
    }

    #[test]
    fn without_chunks_nothing_is_added() {
        let mut out = Vec::new();
        Framing::Plain.write(&mut out, |out| out.extend_from_slice(b"piece"));
        Framing::Plain.end(&mut out);
        assert_eq!(out, b"piece");
    }
}
