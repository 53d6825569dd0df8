//! The routes of the public listener and of the service for other servers: path → front, API or demo page.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::api::http::{HttpApi, handle, is_api_path};
use crate::error::{Error, ErrorCode};
use crate::front::cors::Cors;
use crate::front::http_stream::HttpStream;
use crate::front::long_poll::LongPoll;
use crate::front::sse::Sse;
use crate::front::websocket::WebSocket;
use crate::front::{Ground, OnShard, attend, error_response};
use crate::host;
use crate::limits::{ClientAddress, Visitors};
use crate::metrics::RefusedConnection;
use crate::net::{Answer, Door, Peer};
use crate::shard::{Opening, Shard};

/// Who answers what.
pub(super) struct Table {
    pub(super) sse: Sse,
    pub(super) http_stream: HttpStream,
    pub(super) long_poll: LongPoll,
    pub(super) websocket: WebSocket,
    pub(super) api: Arc<HttpApi>,
    pub(super) cors: Cors,
    /// Who comes from where.
    pub(super) visitors: Arc<Visitors>,
    pub(super) serves_demo: bool,
    /// Whether only requests to an address or to `localhost` are answered.
    pub(super) only_local: bool,
}

/// The table of now, shared by all who answer from it.
#[derive(Clone)]
pub(super) struct Routes(Arc<ArcSwap<Table>>);

const FRONT_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const ALL_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");

impl Routes {
    pub(super) fn new(table: Table) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// What the next request is answered from. One that is being answered goes on with what it began with.
    pub(super) fn now(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// Another table from now on.
    pub(super) fn exchange(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Routes")
    }
}

impl Door for Routes {
    fn answer(&self, shard: &Shard, peer: Peer, mut request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer>>> {
        let routes = self.now();
        let origin = routes.visitors.origin(peer.address.ip(), request.headers());
        // It takes memory of its own.
        if routes.api.gate.is_rated() {
            request.extensions_mut().insert(ClientAddress(origin));
        }
        if origin == peer.address.ip() {
            let ground = OnShard { shard: shard.clone(), peer };
            return Box::pin(async move { routes.respond(&ground, request).await });
        }
        // A proxy asks for somebody: what that one has open is what counts, not the proxy's connection.
        let ground = OnShard { shard: shard.clone(), peer: Peer { address: (origin, 0).into(), ..peer } };
        Box::pin(async move {
            let Ok(visit) = routes.visitors.enter(origin) else {
                ground.shard.refused(RefusedConnection::Address, "limits.connections_per_address", (origin, 0).into());
                let what = "this address has as many streams and calls open as one may have (limits.connections_per_address)";
                return OnShard::whole(routes.refuse(&request, &Error::new(ErrorCode::Overloaded, what)));
            };
            match routes.respond(&ground, request).await {
                Answer::TakeOver(opening) => Answer::TakeOver(Box::new(Opening { visit, ..*opening })),
                Answer::Response(mut response) => {
                    if let Some(visit) = visit {
                        response.extensions_mut().insert(Arc::new(visit));
                    }
                    Answer::Response(response)
                }
            }
        })
    }
}

impl Table {
    /// Answers one request, wherever it came in.
    pub(super) async fn respond<G, B>(&self, ground: &G, request: Request<B>) -> G::Answer
    where
        G: Ground,
        B: http_body::Body<Data = Bytes>,
    {
        if let Err(error) = host::check(&request, self.only_local) {
            return G::whole(self.refuse(&request, &error));
        }
        if let Some(response) = self.cors.preflight(&request) {
            return G::whole(response);
        }
        if is_api_path(request.uri().path()) {
            // Boxed, or it would be part of every stream's request too.
            return G::whole(Box::pin(self.call(request)).await);
        }
        if let Some(response) = self.turn_down(&request) {
            return G::whole(response);
        }
        let (parts, _) = request.into_parts();
        if !is_front(parts.uri.path()) {
            return G::whole(self.page(&Request::from_parts(parts, ())));
        }
        let pass = self.api.gate.admit_request(&parts).await;
        match parts.uri.path() {
            "/sse" => {
                let (_attendance, attended) = attend(ground.hub(), &parts, &pass, self.sse.bounds).await;
                self.sse.answer(ground, &parts, pass, attended)
            }
            "/stream" => {
                let (_attendance, attended) = attend(ground.hub(), &parts, &pass, self.http_stream.bounds).await;
                self.http_stream.answer(ground, &parts, pass, attended)
            }
            "/poll" => G::whole(self.long_poll.answer(ground, &parts, pass).await),
            _ => match self.calls(&parts, pass.as_ref().is_ok_and(|pass| pass.is_by_browser(&parts.headers))) {
                Ok(calls) => {
                    // They stay for a while after that: long enough for the handshake.
                    let (_attendance, attended) = attend(ground.hub(), &parts, &pass, self.sse.bounds).await;
                    self.websocket.answer(ground, &parts, pass.and_then(|pass| attended.map(|()| pass)), calls)
                }
                Err(error) => G::whole(error_response(&error)),
            },
        }
    }

    async fn call<B: http_body::Body<Data = Bytes>>(&self, request: Request<B>) -> Response<Bytes> {
        let asked = request.headers().clone();
        let mut response = handle(&self.api, request).await;
        self.cors.apply(&asked, response.headers_mut());
        let (parts, body) = response.into_parts();
        // One piece that is there at once, and cannot fail.
        Response::from_parts(parts, body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default())
    }

    /// What methods that a front does not take are answered with.
    fn turn_down<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let path = request.uri().path();
        let is_front = is_front(path);
        match *request.method() {
            Method::OPTIONS if is_front => Some(self.no_content(request, FRONT_METHODS)),
            // Asks what the server can at all, wherever (RFC 9110, section 9.3.7).
            Method::OPTIONS if path == "*" => Some(self.no_content(request, ALL_METHODS)),
            Method::GET | Method::HEAD => None,
            _ if is_front => {
                let refused = self.refuse(request, &Error::new(ErrorCode::MethodNotAllowed, "this path takes GET, HEAD and OPTIONS"));
                Some(with_allow(refused, FRONT_METHODS))
            }
            _ => None,
        }
    }

    fn page(&self, request: &Request<()>) -> Response<Bytes> {
        if self.serves_demo
            && let Some(page) = demo(request)
        {
            return page;
        }
        self.refuse(request, &Error::new(ErrorCode::NotFound, "there is nothing at this path; see /ws, /sse, /stream, /poll and /v1/"))
    }

    /// The error, readable for pages of other origins that may read at all.
    pub(super) fn refuse<B>(&self, request: &Request<B>, error: &Error) -> Response<Bytes> {
        let mut response = error_response(error);
        self.cors.apply(request.headers(), response.headers_mut());
        response
    }

    fn no_content<B>(&self, request: &Request<B>, methods: HeaderValue) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.cors.apply(request.headers(), response.headers_mut());
        with_allow(response, methods)
    }
}

/// Whether clients listen here.
fn is_front(path: &str) -> bool {
    matches!(path, "/sse" | "/stream" | "/poll" | "/ws")
}

#[cfg(feature = "daemon")]
fn demo(request: &Request<()>) -> Option<Response<Bytes>> {
    let page = crate::demo::page(request.uri().path())?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = error_response(&Error::new(ErrorCode::MethodNotAllowed, "this path takes GET and HEAD"));
        return Some(with_allow(refused, HeaderValue::from_static("GET, HEAD")));
    }
    let mut response = Response::new(Bytes::from(page.body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    for (name, value) in crate::demo::HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(not(feature = "daemon"))]
fn demo(_request: &Request<()>) -> Option<Response<Bytes>> {
    None
}

fn with_allow(mut response: Response<Bytes>, methods: HeaderValue) -> Response<Bytes> {
    response.headers_mut().insert(header::ALLOW, methods);
    response
}
