//! What the fronts have in common whose answer never ends: its request, its headers, and the two ways it is written. On a
//! socket that can be had, the shard writes it; else it is a body that HTTP asks for more.

mod body;
mod framing;

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use super::cors::Cors;
use super::ground::Ground;
use super::request::{Request, tell_session};
use crate::auth::Identity;
use crate::error::{Error, ErrorCode, Result};
use crate::journal::SessionId;
use crate::limits::UserPlace;
use crate::net::raw_head;
use crate::session::{Glance, Presence, Starts, Subscription};
use crate::shard::Encoder;

pub(super) use body::{Begun, StreamBody};
pub(super) use framing::Framing;

/// Old proxies hold back the first bytes until there are this many; nobody needs more.
const PADDING_MAX: u64 = 8192;

/// A stream that is about to begin.
pub(crate) struct Stream {
    /// Whose stay it is.
    pub(super) session: SessionId,
    /// Of the response, without what the framing needs.
    pub(super) headers: HeaderMap,
    /// The first bytes, before any news.
    pub(super) greeting: Vec<u8>,
    /// The channels, opened and not yet joined.
    pub(super) subscription: Subscription,
    /// From where.
    pub(super) starts: Starts,
    /// By what orders of backends find its client.
    pub(super) identity: Option<Identity>,
    /// Where its client is seen, and what it is told of others.
    pub(super) presence: Option<Box<Presence>>,
    /// Its place among the connections of its user, if these are bounded.
    pub(super) user: Option<UserPlace>,
    /// How long it may last; none for as long as the client likes.
    pub(super) stay: Option<Duration>,
    /// Whether the client wants to be told how the cluster is.
    pub(super) tells_cluster: bool,
}

/// The head of a stream's response and its greeting, for a socket that we write ourselves.
pub(super) fn head(version: Version, framing: Framing, mut headers: HeaderMap, greeting: &[u8]) -> Vec<u8> {
    if framing == Framing::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut head = raw_head(version, StatusCode::OK, &headers);
    framing.write(&mut head, |out| out.extend_from_slice(greeting));
    head
}

/// Parses the request for a stream.
///
/// # Errors
/// What [`Request::parse`] refuses.
pub(super) fn request(parts: &Parts) -> Result<Request> {
    Request::parse(parts.uri.query().unwrap_or_default())
}

/// Refuses a stream when the node takes nobody in any more.
///
/// # Errors
/// `draining`.
pub(super) fn may_begin(ground: &impl Ground) -> Result<()> {
    if ground.is_draining() {
        return Err(Error::new(ErrorCode::Draining, "this node is leaving; connect to another one"));
    }
    Ok(())
}

/// How many bytes the request wants first that mean nothing.
///
/// # Errors
/// `invalid_request` for a bad `padding`.
pub(super) fn padding(request: &Request) -> Result<usize> {
    Ok(request.number("padding", 0, PADDING_MAX)?.unwrap_or(0) as usize)
}

/// The headers of a stream of this type and session.
pub(super) fn headers(content_type: &'static str, cors: &Cors, request: &HeaderMap, session: SessionId) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    tell_session(session, &mut headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // `no-transform` and the nginx header keep proxies from holding pieces back to compress or to collect them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    cors.apply(request, &mut headers);
    headers
}

/// Begins the stream in the way the ground allows; `encoder` is asked for the framing this takes.
///
/// # Errors
/// What joining the channels refuses.
pub(super) fn answer<G: Ground>(
    ground: &G,
    stream: Stream,
    parts: &Parts,
    glance: Glance<'_>,
    encoder: impl FnOnce(Framing) -> &'static dyn Encoder,
) -> Result<G::Answer> {
    if parts.method == Method::HEAD {
        let mut response = Response::new(Bytes::new());
        *response.headers_mut() = stream.headers;
        return Ok(G::whole(response));
    }
    // On a socket of its own the shard listens a moment later.
    glance.stay();
    ground.begin(stream, parts.version, encoder)
}
