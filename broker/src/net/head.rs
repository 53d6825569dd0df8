//! The head of a response on a socket that was taken over: hyper writes nothing for it, so status line, `Date` and all
//! headers are ours (RFC 9112, section 4; RFC 9110, section 6.6.1).

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode, Version};

/// Writes status line and headers, with `Date`. HTTP/1.0 clients are answered as HTTP/1.1, as RFC 9110 6.2 tells, but
/// framing and persistence are the caller's: it must not send `Transfer-Encoding` to them.
#[must_use]
pub fn raw_head(version: Version, status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    head.extend_from_slice(b"\r\ndate: ");
    write_date(&mut head);
    head.extend_from_slice(b"\r\n");
    if version == Version::HTTP_10 {
        head.extend_from_slice(b"connection: close\r\n");
    }
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

thread_local! {
    /// The second it is, and how it is written: all heads of a storm have the same.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

fn write_date(out: &mut Vec<u8>) {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(known, text)| {
        if *known != second || text.is_empty() {
            (*known, *text) = (second, httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}
