//! The ways in for subscribers. A front is a folder or file with three duties: it turns a request into a subscribe, it
//! brings an encoder, and it says what its client sends back. Sockets, slow clients, heartbeats and the drain are not
//! its business. Fronts never name one another.

pub mod config;
pub mod cors;
mod ground;
pub mod guests;
pub mod http_stream;
pub mod long_poll;
mod request;
pub mod sse;
mod stream;
pub mod websocket;

pub use crate::session::Bounds;
pub(crate) use ground::{Ground, OnShard};
pub use request::Request;

use bytes::Bytes;
use http::header::{self, HeaderValue};

use crate::error::Error;

/// The plain answer to a request that a front refuses.
pub(crate) fn error_response(error: &Error) -> http::Response<Bytes> {
    let mut text = Vec::with_capacity(128);
    crate::wire::write_error(&mut text, error);
    text.push(b'\n');
    let mut response = http::Response::new(Bytes::from(text));
    *response.status_mut() = error.code.http_status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if error.code.http_status() == http::StatusCode::UNAUTHORIZED {
        // Required with every 401 (RFC 9110, section 11.6.1).
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    } else if error.code.may_retry() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}
