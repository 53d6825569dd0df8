//! A cursor comes back from anywhere: no text may make the parser panic, and one position has one text.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run cursor -- -max_total_time=5`

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use tidings::log::{CURSOR_TEXT_BYTES_MAX, Cursor};

fuzz_target!(|bytes: &[u8]| {
    // As a client might send it, and as it would look inside: else nearly all tries end at the base64.
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(text);
    }
    check(&URL_SAFE_NO_PAD.encode(bytes));
});

fn check(text: &str) {
    if let Ok(cursor) = Cursor::parse(text) {
        assert!(text.len() <= CURSOR_TEXT_BYTES_MAX);
        assert_eq!(cursor.encode(), text);
        assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
    }
}
