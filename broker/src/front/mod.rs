//! The ways in for subscribers. A front is a folder or file with three duties: it turns a request into a subscribe, it
//! brings an encoder, and it says what its client sends back. Sockets, slow clients, heartbeats and the drain are not
//! its business. Fronts never name one another.

pub mod config;
pub mod cors;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ground;
pub mod guests;
pub mod http_stream;
pub mod long_poll;
mod presence;
mod request;
pub mod sse;
mod stream;
pub mod websocket;

pub use crate::session::Bounds;
pub(crate) use ground::{Ground, OnShard};
pub use request::Request;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::auth::{Action, Pass};
use crate::error::{Error, Result};
use crate::hub::{ATTEND_LIMIT, Attendance, Hub};

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
        response.headers_mut().insert(header::RETRY_AFTER, error.retry_after().into());
    }
    response
}

/// What [`crate::hub::Hub::attend`] says of the channels that a request asks for; keep it until they are joined. What is wrong with
/// the request itself is for its front to say.
pub(crate) async fn attend(hub: &Arc<Hub>, parts: &Parts, pass: &Result<Pass>, bounds: Bounds) -> (Option<Attendance>, Result<()>) {
    if !hub.is_shared() {
        return (None, Ok(()));
    }
    let Ok(request) = Request::parse(parts.uri.query().unwrap_or_default()) else { return (None, Ok(())) };
    // Nobody makes other nodes send what it may not see. It is told so, and counted, when it is asked again to listen.
    let may = |pass: &Pass| request.channels.iter().all(|channel| pass.permit(Action::Subscribe, channel).is_ok());
    if request.channels.len() > bounds.channels || !pass.as_ref().is_ok_and(may) {
        return (None, Ok(()));
    }
    // Boxed, or it would be part of every request.
    match Box::pin(hub.attend(&request.channels, ATTEND_LIMIT)).await {
        Ok(attendance) => (attendance, Ok(())),
        Err(error) => (None, Err(error)),
    }
}
