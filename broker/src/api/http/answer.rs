//! Responses: the same headers on all, and the one place where an error becomes a status.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::error::{Error, ErrorCode};
use crate::wire;

/// 200 with this JSON.
pub(super) fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    with_status(StatusCode::OK, body)
}

/// The error's status and its JSON form.
pub(super) fn error(error: &Error) -> Response<Full<Bytes>> {
    let mut response = with_status(error.code.http_status(), wire::error_json(error));
    if error.code.http_status() == StatusCode::UNAUTHORIZED {
        // Required with every 401 (RFC 9110, section 11.6.1).
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    } else if error.code.may_retry() {
        response.headers_mut().insert(header::RETRY_AFTER, error.retry_after().into());
    }
    response
}

/// 405 with the methods that exist (RFC 9110, section 15.5.6).
pub(super) fn wrong_method(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = error(&Error::new(ErrorCode::MethodNotAllowed, format!("this path takes {allow}")));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// 204 with the methods that exist (RFC 9110, section 9.3.7).
pub(super) fn options(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// What HEAD gets: the same head, the length included, and nothing after it (RFC 9110, section 9.3.2).
pub(super) fn without_body(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact()
        && parts.status != StatusCode::NO_CONTENT
    {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Full::default())
}

fn with_status(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Payloads come from anyone; no browser may guess that this is a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
