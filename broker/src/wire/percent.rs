//! Percent-encoding of paths and queries, strictly: what is not understood is refused, never guessed.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// Decodes `%41` (RFC 3986, section 2.1).
///
/// # Errors
/// `invalid_request` when two hexadecimal digits do not follow a `%`, or when the result is not UTF-8.
pub fn percent_decode(text: &str) -> Result<Cow<'_, str>> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(broken()) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(broken()) };
        bytes.push(high << 4 | low);
        rest = after;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Error::invalid("percent-encoded text must be UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn broken() -> Error {
    Error::invalid("a `%` must be followed by two hexadecimal digits")
}
