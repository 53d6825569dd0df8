//! A browser may send anything: no bytes may make the decoder panic, keep more than its bound, or hear something else
//! when they come in other pieces.
//!
//! `scripts/fuzz websocket 60`

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::front::websocket::codec::{Decoder, Inflater, Input, Item, Rules};

const MESSAGE_BYTES_MAX: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says whether messages may be compressed, the second how long a read is.
    let [flags, length, bytes @ ..] = bytes else { return };
    let rules = Rules { message_bytes_max: MESSAGE_BYTES_MAX, has_deflate: flags & 1 == 1 };
    let whole = decode(bytes.len(), rules, bytes);
    assert_eq!(whole, decode(usize::from(*length), rules, bytes));
});

/// Everything heard, as text.
fn decode(read: usize, rules: Rules, bytes: &[u8]) -> Vec<String> {
    let (mut decoder, mut inflater) = (Decoder::new(rules), Inflater::default());
    let mut heard = Vec::new();
    for piece in bytes.chunks(read.max(1)) {
        let mut scratch = piece.to_vec();
        let mut input = Input::new(&mut scratch);
        loop {
            match decoder.next(&mut input, &mut inflater) {
                Ok(None) => break,
                Ok(Some(item)) => {
                    match &item {
                        Item::Text(text) => assert!(text.len() <= MESSAGE_BYTES_MAX),
                        Item::Binary(bytes) => assert!(bytes.len() <= MESSAGE_BYTES_MAX),
                        Item::Ping(bytes) | Item::Pong(bytes) => assert!(bytes.len() <= 125),
                        Item::Close(close) => assert!(close.as_ref().is_none_or(|close| close.reason.len() <= 123)),
                    }
                    heard.push(format!("{item:?}"));
                }
                Err(violation) => heard.push(format!("{violation:?}")),
            }
        }
        assert!(input.is_empty());
    }
    heard
}
