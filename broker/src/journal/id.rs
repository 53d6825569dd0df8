//! The name of a session, which its client may choose and keep.

use std::fmt;

/// Longest name, in bytes.
const BYTES_MAX: usize = 32;
/// Random ones: 16 characters of 6 bits each are more than anybody hits twice.
const FRESH_BYTES: usize = 16;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a client's story is found by, on every node it was on: 1–32 letters, digits, `-` or `_`. A client that sends it back
/// keeps it, so it stays the same over reconnects. It is a name, no secret, and allows nothing: two clients may bear the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Filled up with zeros.
    bytes: [u8; BYTES_MAX],
}

impl SessionId {
    /// A name made of chance.
    #[must_use]
    pub fn fresh(chance: u128) -> Self {
        let mut bytes = [0; BYTES_MAX];
        for (at, byte) in bytes[..FRESH_BYTES].iter_mut().enumerate() {
            *byte = ALPHABET[(chance >> (6 * at)) as usize % ALPHABET.len()];
        }
        Self { bytes }
    }

    /// Reads what a client sent; `None` when it is no name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_fine = (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| ALPHABET.contains(&byte));
        is_fine.then(|| {
            let mut bytes = [0; BYTES_MAX];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            Self { bytes }
        })
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(BYTES_MAX);
        std::str::from_utf8(&self.bytes[..end]).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_again_and_nothing_else_is_read() {
        for text in ["a", "Train-7_b", &"x".repeat(32), "0123456789abcdef0123456789abcdef"] {
            assert_eq!(SessionId::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", "a\n", "<b>", "ä", "a\0", &"x".repeat(33), "\"", "a=b"] {
            assert_eq!(SessionId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn fresh_ones_are_names_and_differ() {
        let ids: std::collections::HashSet<SessionId> = (0..1000).map(|_| SessionId::fresh(rand::random())).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.as_str().len() == 16 && SessionId::parse(id.as_str()) == Some(*id)));
    }
}
