//! The routes of the public listener: path → front, API or demo page.

use std::future::Future;
use std::pin::Pin;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::api::http::{HttpApi, handle, is_api_path};
use crate::error::{Error, ErrorCode};
use crate::front::cors::Cors;
use crate::front::error_response;
use crate::front::http_stream::HttpStream;
use crate::front::long_poll::LongPoll;
use crate::front::sse::Sse;
use crate::net::{Answer, Body, Door, Peer};
use crate::shard::Shard;

/// Who answers what.
#[derive(Clone)]
pub(super) struct Routes {
    pub(super) sse: Sse,
    pub(super) http_stream: HttpStream,
    pub(super) long_poll: LongPoll,
    pub(super) api: HttpApi,
    pub(super) cors: Cors,
    pub(super) serves_demo: bool,
}

const FRONT_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

impl Door for Routes {
    fn answer(&self, shard: &Shard, peer: Peer, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer>>> {
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
        let is_front = matches!(path, "/sse" | "/stream" | "/poll");
        match *request.method() {
            Method::OPTIONS if is_front => return ready(with_allow(no_content(), FRONT_METHODS).into()),
            Method::GET | Method::HEAD => {}
            _ if is_front => {
                let refused = error_response(&Error::new(ErrorCode::MethodNotAllowed, "this path takes GET, HEAD and OPTIONS"));
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
        error_response(&Error::new(ErrorCode::NotFound, "there is nothing at this path; see /sse, /stream, /poll and /v1/"))
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

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    response
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
