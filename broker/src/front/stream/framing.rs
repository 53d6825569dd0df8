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
        let mut bytes = Vec::with_capacity(256);
        piece(&mut bytes);
        // A chunk without bytes would be the end.
        if bytes.is_empty() {
            return;
        }
        out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes what says that nothing follows.
    pub(in crate::front) fn end(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_says_its_length_and_none_is_empty_but_the_last() {
        let mut out = Vec::new();
        Framing::Chunked.write(&mut out, |out| out.extend_from_slice(&[b'x'; 17]));
        Framing::Chunked.write(&mut out, |_| {});
        Framing::Chunked.end(&mut out);
        assert_eq!(out, b"11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
    }

    #[test]
    fn without_chunks_nothing_is_added() {
        let mut out = Vec::new();
        Framing::Plain.write(&mut out, |out| out.extend_from_slice(b"piece"));
        Framing::Plain.end(&mut out);
        assert_eq!(out, b"piece");
    }
}
