//! RFC 9110 and 9112 on the public listener, byte by byte: what a strict client, a proxy or a smuggler would try.

mod cors;
mod framing;
mod http2;
mod requests;
mod streams;
