//! UTF-8 that comes in pieces: wrong text is noticed at its first wrong byte, wherever it is cut.

/// A text of which the beginning was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// The begun character.
    begun: [u8; 4],
    len: u8,
}

/// It is no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Looks at the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.len > 0 {
            let [next, rest @ ..] = piece else { return Ok(()) };
            // A begun character that is complete is taken away at once, so there is always room.
            self.begun[usize::from(self.len)] = *next;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        let Err(error) = std::str::from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let begun = &piece[error.valid_up_to()..];
        self.begun[..begun.len()].copy_from_slice(begun);
        self.len = begun.len() as u8;
        Ok(())
    }

    /// Says whether the text may end here.
    pub(super) fn finish(self) -> Result<(), NotUtf8> {
        if self.len == 0 { Ok(()) } else { Err(NotUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes, given one at a time, it takes to see that the text is wrong; `None` when it is not.
    fn wrong_after(bytes: &[u8]) -> Option<usize> {
        let mut text = Utf8::default();
        for (at, byte) in bytes.iter().enumerate() {
            if text.push(&[*byte]).is_err() {
                return Some(at + 1);
            }
        }
        text.finish().err().map(|NotUtf8| bytes.len() + 1)
    }

    #[test]
    fn the_first_impossible_byte_is_the_last_one_read() {
        let cases: [(&[u8], Option<usize>); 16] = [
            (b"", None),
            ("κόσμε€😀\u{10ffff}\u{0}".as_bytes(), None),
            (b"\x80", Some(1)),
            (b"\xff", Some(1)),
            (b"\xc0\x80", Some(1)),
            (b"\xc1\xbf", Some(1)),
            (b"\xe0\x80\x80", Some(2)),
            (b"\xe0\xa0", Some(3)),
            (b"\xed\xa0\x80", Some(2)),
            (b"\xed\xbf\xbf", Some(2)),
            (b"\xf0\x80\x80\x80", Some(2)),
            (b"\xf4\x90\x80\x80", Some(2)),
            (b"\xf5", Some(1)),
            (b"\xf8\x88\x80\x80\x80", Some(1)),
            (b"a\xc3(", Some(3)),
            (b"ok\xe2\x82", Some(5)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(wrong_after(bytes), expected, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_verdict_is_the_same(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..12),
                prop::collection::vec(prop::sample::select(&b"a\x80\xbf\xc3\xe0\xe2\x82\xac\xed\xa0\xf0\x9f\x98\x80\xf4\x90"[..]), 0..12),
            ],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut text = Utf8::default();
            let whole = cuts.windows(2).try_for_each(|cut| text.push(&bytes[cut[0]..cut[1]])).and_then(|()| text.finish());
            prop_assert_eq!(whole.is_ok(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
