//! The frames of WebSocket (RFC 6455, RFC 7692) as values: bytes in, items out, and back. Knows no socket, no session and
//! no clock, so that everything a client may do wrong can be tried out on it.
//!
//! A decoder keeps nothing between two reads but what is unfinished: whole frames are looked at where they lie, in the
//! reader's own buffer. A server's frames are not masked, so one encoded frame serves every client.

mod close;
mod decode;
mod deflate;
mod encode;
mod frame;
mod utf8;

pub use close::{Close, CloseCode, Violation};
pub use decode::{Decoder, Input, Item, Rules};
pub use deflate::{Agreed, Deflater, Inflater, WINDOW_BITS_MAX, WINDOW_BITS_MIN, negotiate};
pub use encode::{Frame, write_close};
pub use frame::{OpCode, unmask};
