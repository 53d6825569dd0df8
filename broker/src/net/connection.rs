//! One connection: HTTP/1 or HTTP/2, told apart by its first bytes, until it ends or a front takes the socket.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::PIECE_BYTES;
use super::first_bytes::first_bytes;
use super::linger::linger;
use super::outgoing::{Streams, Tracked};
use super::pace::{Over, Pace, Patience};
use super::refusal::{refuse, refuse_at_once, refuse_handshake, refuse_on};
use super::rewound::Rewound;
use super::socket::Socket;
use super::{Answer, Body, Door, Peer};
use crate::auth::ClientName;
use crate::error::{Error, ErrorCode};
use crate::limits::{Crowd, Place, TooMany, Visit, Visitors};
use crate::metrics::{ProtocolError, RefusedConnection};
use crate::shard::{OnConnection, Opening, Pipe, Seat, Shard};
use crate::tls::{self, Entrance};

/// Windows for browsers: large enough for uploads, small enough that one connection cannot hold much memory.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Unsent bytes per HTTP/2 stream; the rest stays in the log.
const STREAM_SEND_BYTES: usize = 64 << 10;
/// How long a silent connection is listened to when the node leaves. Browsers open some ahead of need.
const LAST_WORD: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How HTTP is spoken, and who answers.
#[derive(Clone)]
pub struct Http {
    /// Bounds and timeouts.
    pub config: Arc<super::config::Config>,
    /// Who answers.
    pub door: Arc<dyn Door>,
    /// Connections whose first request is on its way.
    pub newcomers: Arc<Crowd>,
    /// Answers that are not all read yet, in bytes.
    pub unread: Arc<Crowd>,
    /// What connections of the listener begin with, where it speaks TLS.
    pub entrance: Option<Entrance>,
    /// How many connections each address has.
    pub visitors: Arc<Visitors>,
}

/// What a shard does with a new socket of the public listener.
#[must_use]
pub fn on_connection(http: Http) -> OnConnection {
    Arc::new(move |shard, stream, address, mut seat, read| {
        let http = http.clone();
        Box::pin(async move {
            shard.metrics().connection_accepted();
            match http.visitors.enter(address.ip()) {
                Err(TooMany) => {
                    shard.refused(RefusedConnection::Address, "limits.connections_per_address", address);
                    shard.metrics().connection_closed();
                    return if http.entrance.is_some() && read.is_none() { refuse_handshake(stream) } else { refuse(stream) };
                }
                Ok(visit) => seat.keep(visit),
            }
            // Boxed in parts: what carries HTTP is freed when a front takes the socket.
            let taken = drive(http, shard.clone(), stream, address, read).await;
            match taken {
                Some((stream, opening)) => begin(&shard, stream, address, seat, *opening),
                None => shard.metrics().connection_closed(),
            }
        })
    })
}

fn begin(shard: &Shard, stream: Pipe, address: SocketAddr, seat: Seat, opening: Opening) {
    if let Err((mut stream, error)) = shard.start(stream, Some(address), seat, opening) {
        // Found out too late for an ordinary response; the head is not written yet, so this one can be.
        let mut body = Vec::new();
        crate::wire::write_error(&mut body, &error);
        let mut headers = http::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let mut answer = super::raw_head(Version::HTTP_11, error.code.http_status(), &headers);
        answer.extend_from_slice(&body);
        stream.say(&answer);
        shard.metrics().connection_closed();
    }
}

/// Speaks HTTP until the connection ends (`None`) or a front takes the socket.
async fn drive(http: Http, shard: Shard, stream: TcpStream, address: SocketAddr, read: Option<Bytes>) -> Option<(Pipe, Box<Opening>)> {
    let mut place = http.newcomers.enter();
    let began = Instant::now();
    let (stream, certificate, is_http2, began) = match (&http.entrance, read) {
        // Boxed: what a handshake needs is freed behind it.
        (Some(entrance), None) => {
            let (stream, certificate, is_http2, began) = Box::pin(open_with_tls(entrance, &shard, (stream, address), &mut place)).await?;
            (Rewound::new(stream, Bytes::new()), certificate, is_http2, began)
        }
        (_, read) => {
            let (stream, is_http2) = open(&http, &shard, (stream, address), read.unwrap_or_default(), &mut place).await?;
            (stream, None, is_http2, began)
        }
    };
    let (pace, client) = (Pace::new(place, began, http.unread.clone()), Client { address, certificate });
    if is_http2 {
        Box::pin(drive_http2(http, shard, stream, client, pace)).await;
        return None;
    }
    match Box::pin(drive_http1(http, shard, stream, client, pace)).await {
        Ended::Taken(stream, opening) => Some((stream, opening)),
        Ended::Closed(stream) => {
            // Boxed: its buffer would otherwise be part of every connection.
            Box::pin(linger(stream)).await;
            None
        }
        Ended::Cut => None,
    }
}

/// Tells by the first bytes which HTTP is spoken. `None` when it came to nothing.
async fn open(
    http: &Http,
    shard: &Shard,
    (mut stream, address): (TcpStream, SocketAddr),
    read: Bytes,
    place: &mut Place,
) -> Option<(Rewound, bool)> {
    tokio::select! {
        biased;
        first = first_bytes(&mut stream, read) => {
            let (read, is_http2) = first?;
            Some((Rewound::new(stream.into(), read), is_http2))
        }
        () = place => {
            count(shard, Over::PushedOut, address);
            refuse_at_once(&stream);
            None
        }
        () = tokio::time::sleep(http.config.header_timeout) => {
            count(shard, Over::HeadTooSlow, address);
            None
        }
        () = leave(shard) => None,
    }
}

/// Shakes hands, which tells too. The head of the first request has its time from then on.
async fn open_with_tls(
    entrance: &Entrance,
    shard: &Shard,
    (stream, address): (TcpStream, SocketAddr),
    place: &mut Place,
) -> Option<(Pipe, Option<ClientName>, bool, Instant)> {
    let secured = tokio::select! {
        biased;
        secured = entrance.pass(stream) => secured?,
        () = place => {
            count(shard, Over::PushedOut, address);
            return None;
        }
        () = leave(shard) => return None,
    };
    let (socket, session) = secured.into_inner();
    let (certificate, is_http2) = (tls::client_name(&session), tls::is_http2(&session));
    Some((Pipe::secured(socket, session), certificate, is_http2, Instant::now()))
}

/// Resolves when the node has been leaving for a moment, so that who just knocked is still told to go elsewhere.
async fn leave(shard: &Shard) {
    shard.drained().await;
    tokio::time::sleep(LAST_WORD).await;
}

/// How a connection that spoke HTTP/1 ended.
enum Ended {
    /// A front has the socket.
    Taken(Pipe, Box<Opening>),
    /// By HTTP's own rules; the peer may still have to read the last answer.
    Closed(Pipe),
    /// The peer is gone, or was given up.
    Cut,
}

async fn drive_http1(http: Http, shard: Shard, stream: Rewound, client: Client, pace: Rc<Pace>) -> Ended {
    let (taken, address): (Rc<RefCell<Option<Box<Opening>>>>, _) = (Rc::default(), client.address);
    let mut patience = Patience::new(pace.clone(), &http.config);
    let socket = Socket::new(stream, pace.clone());
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(http.config.header_bytes).max_buf_size(http.config.header_bytes.max(8192));
    let service = Answering { http, shard: shard.clone(), client, taken: Some(taken.clone()), pace, streams: None };
    let mut connection = builder.serve_connection(TokioIo::new(socket), service);
    let draining = shard.drained();
    let mut draining = pin!(draining);
    let mut is_draining = false;
    let ended = std::future::poll_fn(|context| {
        let mut polled = Pin::new(&mut connection).poll(context);
        // After a first look at what was said: hyper closes a connection without a word that it is told to leave before.
        if polled.is_pending() && taken.borrow().is_none() && !is_draining && draining.as_mut().poll(context).is_ready() {
            is_draining = true;
            Pin::new(&mut connection).graceful_shutdown();
            polled = Pin::new(&mut connection).poll(context);
        }
        // hyper reads a head only after everything before it was flushed, so nothing is lost by taking the socket here.
        if taken.borrow().is_some() {
            return Poll::Ready(Ok(Ok(())));
        }
        // Last, because polling the connection is what changes its pace.
        if polled.is_ready() { polled.map(Ok) } else { patience.poll_over(context).map(Err) }
    })
    .await;
    let mut opening = taken.borrow_mut().take();
    let parts = connection.into_parts();
    let (mut socket, unread) = parts.io.into_inner().into_parts();
    if let Some(opening) = &mut opening {
        // What the client said without waiting for the answer.
        opening.early = if unread.is_empty() { parts.read_buf } else { [parts.read_buf, unread].concat().into() };
    }
    match (opening, ended) {
        (Some(opening), _) => Ended::Taken(socket, opening),
        (None, Ok(Ok(()))) => Ended::Closed(socket),
        (None, Ok(Err(error))) => {
            let said = error.is_parse();
            note(&shard, &error, address);
            if said { Ended::Closed(socket) } else { Ended::Cut }
        }
        (None, Err(over)) => {
            count(&shard, over, address);
            if over == Over::PushedOut {
                refuse_on(&mut socket);
            }
            Ended::Cut
        }
    }
}

async fn drive_http2(http: Http, shard: Shard, stream: Rewound, client: Client, pace: Rc<Pace>) {
    let address = client.address;
    let mut patience = Patience::new(pace.clone(), &http.config);
    let streams = Streams::new(http.config.write_timeout);
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(http.config.http2_streams)
        .max_header_list_size(http.config.header_bytes as u32)
        .max_send_buf_size(STREAM_SEND_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let last_answers = http.config.idle_timeout;
    let service = Answering { http, shard: shard.clone(), client, taken: None, pace, streams: Some(streams) };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut draining = pin!(shard.drained());
    let mut is_draining = false;
    let ended = std::future::poll_fn(|context| {
        if !is_draining && draining.as_mut().poll(context).is_ready() {
            is_draining = true;
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(context);
        if polled.is_ready() { polled.map(Ok) } else { patience.poll_over(context).map(Err) }
    })
    .await;
    let ended = match ended {
        // Answers that were handed over may still wait for the peer's windows; it has as long again to take them.
        Err(Over::Idle) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(last_answers, connection).await.unwrap_or(Ok(()))
        }
        Err(over) => return count(&shard, over, address),
        Ok(ended) => ended,
    };
    if let Err(error) = ended {
        note_http2(&shard, &error, address);
    }
}

fn count(shard: &Shard, over: Over, address: SocketAddr) {
    match over {
        Over::HeadTooSlow => shard.protocol_error(ProtocolError::HeaderTimeout, "its request did not come in time", address),
        Over::PushedOut => shard.refused(RefusedConnection::Limit, "limits.connections_pending", address),
        Over::Unread => shard.refused(RefusedConnection::Unread, "limits.unsent_bytes", address),
        // That is nobody's fault.
        Over::Idle => {}
    }
}

/// Counts what the peer did wrong over HTTP/2; an ordinary hang-up is no error.
fn note_http2(shard: &Shard, error: &hyper::Error, address: SocketAddr) {
    if !std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>()) {
        // The error itself may quote what the peer said as it went.
        shard.protocol_error(ProtocolError::Http2, "its connection broke the rules of HTTP/2", address);
        tracing::debug!(event = "protocol_error", %error, %address, "an HTTP/2 connection was closed for a protocol error");
    }
}

/// The same over HTTP/1.
fn note(shard: &Shard, error: &hyper::Error, address: SocketAddr) {
    let kind = if error.is_parse_too_large() {
        ProtocolError::HeaderTooLarge
    } else if error.is_parse() {
        ProtocolError::Malformed
    } else {
        return;
    };
    shard.protocol_error(kind, &error.to_string(), address);
    tracing::debug!(event = "protocol_error", %error, %address, "a connection was closed for a protocol error");
}

/// Who is at the other end of a connection.
struct Client {
    address: SocketAddr,
    /// Whom its certificate names, where it was asked for one.
    certificate: Option<ClientName>,
}

/// The service of one connection.
struct Answering {
    http: Http,
    shard: Shard,
    client: Client,
    /// Where a take-over is left for the driver; HTTP/2 has no socket to give.
    taken: Option<Rc<RefCell<Option<Box<Opening>>>>>,
    pace: Rc<Pace>,
    /// Where HTTP/2 runs its tasks.
    streams: Option<Streams>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Tracked>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Tracked>, Self::Error>>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(certificate) = &self.client.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let mut in_flight = self.pace.asked();
        let outgoing = self.streams.as_ref().map(|streams| streams.begin(self.pace.clone()));
        let shard = self.shard.clone();
        let may_take_over = self.taken.is_some() && request.body().is_end_stream() && request.version() <= Version::HTTP_11;
        let peer = Peer { address: self.client.address, may_take_over };
        let is_head = request.method() == Method::HEAD;
        let answer = self.http.door.answer(&self.shard, peer, request);
        let taken = self.taken.clone();
        Box::pin(async move {
            match answer.await {
                Answer::Response(response) => {
                    let mut response = if is_head { without_body(response) } else { response };
                    in_flight.keep(response.extensions_mut().remove::<Arc<Visit>>());
                    let bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
                    if bytes > PIECE_BYTES && !in_flight.answered(bytes) {
                        shard.refused(RefusedConnection::Unread, "limits.unsent_bytes", peer.address);
                        response = too_much_to_read();
                    }
                    Ok(response.map(|body| Tracked::new(body, in_flight, outgoing)))
                }
                Answer::TakeOver(opening) => {
                    if let Some(taken) = taken {
                        *taken.borrow_mut() = Some(opening);
                    }
                    // The driver sees it and drops this connection, with this future in it.
                    std::future::pending().await
                }
            }
        })
    }
}

/// Instead of an answer for which the peer has no room before it has read others.
fn too_much_to_read() -> Response<Body> {
    let error = Error::new(ErrorCode::Overloaded, "this connection has too many answers to read; read them before you ask for more");
    let mut text = Vec::new();
    crate::wire::write_error(&mut text, &error);
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = error.code.http_status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::RETRY_AFTER, error.retry_after().into());
    response
}

/// What HEAD gets: the head that GET would get, its length included, and nothing after it (RFC 9110, section 9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Body::Full(Some(bytes)) = response.body() {
        let length = HeaderValue::from(bytes.len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response.map(|_| Body::Empty)
}
