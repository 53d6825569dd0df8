//! The routes of the public listener: path → front, API or demo page.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::host;
use crate::api::http::{HttpApi, handle, is_api_path};
use crate::error::{Error, ErrorCode};
use crate::front::cors::Cors;
use crate::front::error_response;
use crate::front::http_stream::HttpStream;
use crate::front::long_poll::LongPoll;
use crate::front::sse::Sse;
use crate::front::websocket::WebSocket;
use crate::net::{Answer, Body, Door, Peer};
use crate::shard::Shard;

/// Who answers what.
#[derive(Clone)]
pub(super) struct Routes {
    pub(super) sse: Sse,
    pub(super) http_stream: HttpStream,
    pub(super) long_poll: LongPoll,
    pub(super) websocket: WebSocket,
    pub(super) api: Arc<HttpApi>,
    pub(super) cors: Cors,
    pub(super) serves_demo: bool,
    /// Whether only requests to an address or to `localhost` are answered.
    pub(super) only_local: bool,
}

const FRONT_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const ALL_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");

impl Door for Routes {
    fn answer(&self, shard: &Shard, peer: Peer, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer>>> {
        if let Err(error) = host::check(&request, self.only_local) {
            return ready(self.refuse(&request, &error).into());
        }
        if let Some(response) = self.cors.preflight(&request) {
            return ready(response.into());
        }
        let path = request.uri().path();
        if is_api_path(path) {
            let (api, cors) = (self.api.clone(), self.cors.clone());
            return Box::pin(async move {
                let asked = request.headers().clone();
                let mut response = handle(&api, request).await;
                cors.apply(&asked, response.headers_mut());
                response.map(into_body).into()
            });
        }
        let is_front = matches!(path, "/sse" | "/stream" | "/poll" | "/ws");
        match *request.method() {
            Method::OPTIONS if is_front => return ready(self.no_content(&request, FRONT_METHODS).into()),
            // Asks what the server can at all, wherever (RFC 9110, section 9.3.7).
            Method::OPTIONS if path == "*" => return ready(self.no_content(&request, ALL_METHODS).into()),
            Method::GET | Method::HEAD => {}
            _ if is_front => {
                let refused = self.refuse(&request, &Error::new(ErrorCode::MethodNotAllowed, "this path takes GET, HEAD and OPTIONS"));
                return ready(with_allow(refused, FRONT_METHODS).into());
            }
            _ => {}
        }
        match path {
            "/sse" => {
                let (parts, _) = request.into_parts();
                ready(self.sse.answer(shard, peer, &parts))
            }
            "/stream" => {
                let (parts, _) = request.into_parts();
                ready(self.http_stream.answer(shard, peer, &parts))
            }
            "/poll" => {
                let (front, shard) = (self.long_poll.clone(), shard.clone());
                Box::pin(async move {
                    let (parts, _) = request.into_parts();
                    front.answer(&shard, &parts).await.into()
                })
            }
            "/ws" => {
                let (parts, _) = request.into_parts();
                ready(match self.calls(&parts) {
                    Ok(calls) => self.websocket.answer(peer, &parts, calls),
                    Err(error) => error_response(&error).into(),
                })
            }
            _ => ready(self.page(&request).into()),
        }
    }
}

impl Routes {
    fn page(&self, request: &Request<Incoming>) -> Response<Body> {
        if self.serves_demo
            && let Some(page) = demo(request)
        {
            return page;
        }
        self.refuse(request, &Error::new(ErrorCode::NotFound, "there is nothing at this path; see /ws, /sse, /stream, /poll and /v1/"))
    }

    /// The error, readable for pages of other origins that may read at all.
    fn refuse(&self, request: &Request<Incoming>, error: &Error) -> Response<Body> {
        let mut response = error_response(error);
        self.cors.apply(request.headers(), response.headers_mut());
        response
    }

    fn no_content(&self, request: &Request<Incoming>, methods: HeaderValue) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.cors.apply(request.headers(), response.headers_mut());
        with_allow(response, methods)
    }
}

#[cfg(feature = "daemon")]
fn demo(request: &Request<Incoming>) -> Option<Response<Body>> {
    let page = crate::demo::page(request.uri().path())?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = error_response(&Error::new(ErrorCode::MethodNotAllowed, "this path takes GET and HEAD"));
        return Some(with_allow(refused, HeaderValue::from_static("GET, HEAD")));
    }
    let mut response = Response::new(Body::full(page.body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    for (name, value) in crate::demo::HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(not(feature = "daemon"))]
fn demo(_request: &Request<Incoming>) -> Option<Response<Body>> {
    None
}

fn ready(answer: Answer) -> Pin<Box<dyn Future<Output = Answer>>> {
    Box::pin(std::future::ready(answer))
}

fn with_allow(mut response: Response<Body>, methods: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

/// The API answers in one piece.
fn into_body(full: http_body_util::Full<bytes::Bytes>) -> Body {
    if full.is_end_stream() {
        return Body::Empty;
    }
    use futures_util::FutureExt as _;
    // One piece is there at once, so this never waits.
    full.collect().now_or_never().and_then(Result::ok).map_or(Body::Empty, |body| Body::full(body.to_bytes()))
}
