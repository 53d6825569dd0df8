//! One connection: HTTP/1 or HTTP/2, told apart by its first bytes, until it ends or a front takes the socket.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{Answer, Body, Door, Peer};
use crate::metrics::ProtocolError;
use crate::shard::{OnConnection, Opening, Seat, Shard};

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Windows for browsers: large enough for uploads, small enough that one connection cannot hold much memory.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Unsent bytes per HTTP/2 stream; the rest stays in the log.
const STREAM_SEND_BYTES: usize = 64 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How HTTP is spoken, and who answers.
#[derive(Clone)]
pub struct Http {
    /// Bounds and timeouts.
    pub config: Arc<super::config::Config>,
    /// Who answers.
    pub door: Arc<dyn Door>,
}

/// What a shard does with a new socket of the public listener.
#[must_use]
pub fn on_connection(http: Http) -> OnConnection {
    Arc::new(move |shard, stream, seat| {
        let http = http.clone();
        Box::pin(async move {
            shard.metrics().connection_accepted();
            // Boxed in parts: what carries HTTP is freed when a front takes the socket.
            let taken = drive(http, shard.clone(), stream).await;
            match taken {
                Some((stream, opening)) => begin(&shard, stream, seat, *opening),
                None => shard.metrics().connection_closed(),
            }
        })
    })
}

fn begin(shard: &Shard, stream: TcpStream, seat: Seat, opening: Opening) {
    if let Err((stream, error)) = shard.start(stream, seat, opening) {
        // Found out too late for an ordinary response; the head is not written yet, so this one can be.
        let mut body = Vec::new();
        crate::wire::write_error(&mut body, &error);
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        headers.insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(body.len()));
        headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        let mut answer = super::raw_head(Version::HTTP_11, error.code.http_status(), &headers);
        answer.extend_from_slice(&body);
        let _ = stream.try_write(&answer);
        shard.metrics().connection_closed();
    }
}

/// Speaks HTTP until the connection ends (`None`) or a front takes the socket.
async fn drive(http: Http, shard: Shard, stream: TcpStream) -> Option<(TcpStream, Box<Opening>)> {
    let address = stream.peer_addr().ok()?;
    match tokio::time::timeout(http.config.header_timeout, is_http2(&stream)).await {
        Ok(Some(true)) => {
            Box::pin(drive_http2(http, shard, stream, address)).await;
            None
        }
        Ok(Some(false)) => Box::pin(drive_http1(http, shard, stream, address)).await,
        Ok(None) => None,
        Err(_) => {
            shard.protocol_error(ProtocolError::HeaderTimeout);
            None
        }
    }
}

/// Looks at the first bytes without taking them. `None` when the peer left.
async fn is_http2(stream: &TcpStream) -> Option<bool> {
    let mut first = [0; PREFACE.len()];
    let mut seen = 0;
    loop {
        let count = stream.peek(&mut first).await.ok()?;
        if count == 0 {
            return None;
        }
        if !PREFACE.starts_with(&first[..count]) {
            return Some(false);
        }
        if count == PREFACE.len() {
            return Some(true);
        }
        if count == seen {
            // The socket stays readable while we only look; wait for more in steps.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen = count;
    }
}

async fn drive_http1(http: Http, shard: Shard, stream: TcpStream, address: SocketAddr) -> Option<(TcpStream, Box<Opening>)> {
    let taken: Rc<RefCell<Option<Box<Opening>>>> = Rc::default();
    let requests = Rc::new(Cell::new(0u32));
    let service = Answering { http: http.clone(), shard: shard.clone(), address, taken: Some(taken.clone()), requests: requests.clone() };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(http.config.header_timeout)
        .max_header_size(http.config.header_bytes)
        .max_buf_size(http.config.header_bytes.max(8192));
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let draining = shard.drained();
    let mut draining = pin!(draining);
    let mut is_draining = false;
    let ended = std::future::poll_fn(|context| {
        if !is_draining && draining.as_mut().poll(context).is_ready() {
            is_draining = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let polled = Pin::new(&mut connection).poll(context);
        // hyper reads a head only after everything before it was flushed, so nothing is lost by taking the socket here.
        if taken.borrow().is_some() { Poll::Ready(Ok(())) } else { polled }
    })
    .await;
    if let Some(opening) = taken.borrow_mut().take() {
        let parts = connection.into_parts();
        return Some((parts.io.into_inner(), opening));
    }
    if let Err(error) = ended {
        note(&shard, &error, requests.get());
    }
    None
}

async fn drive_http2(http: Http, shard: Shard, stream: TcpStream, address: SocketAddr) {
    let requests = Rc::new(Cell::new(0u32));
    let service = Answering { http: http.clone(), shard: shard.clone(), address, taken: None, requests: requests.clone() };
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(http.config.http2_streams)
        .max_header_list_size(http.config.header_bytes as u32)
        .max_send_buf_size(STREAM_SEND_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut draining = pin!(shard.drained());
    let mut is_draining = false;
    let ended = std::future::poll_fn(|context| {
        if !is_draining && draining.as_mut().poll(context).is_ready() {
            is_draining = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    })
    .await;
    if let Err(error) = ended {
        note(&shard, &error, requests.get());
    }
}

/// Counts what the peer did wrong; an ordinary hang-up is no error.
fn note(shard: &Shard, error: &hyper::Error, requests: u32) {
    let kind = if error.is_timeout() {
        // An idle kept-alive connection ends the same way, and that is nobody's fault.
        if requests > 0 {
            return;
        }
        ProtocolError::HeaderTimeout
    } else if error.is_parse_too_large() {
        ProtocolError::HeaderTooLarge
    } else if error.is_parse() {
        ProtocolError::Malformed
    } else {
        return;
    };
    shard.protocol_error(kind);
    tracing::debug!(%error, "a connection was closed for a protocol error");
}

/// The service of one connection.
struct Answering {
    http: Http,
    shard: Shard,
    address: SocketAddr,
    /// Where a take-over is left for the driver; HTTP/2 has no socket to give.
    taken: Option<Rc<RefCell<Option<Box<Opening>>>>>,
    requests: Rc<Cell<u32>>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.requests.set(self.requests.get().saturating_add(1));
        let may_take_over = self.taken.is_some() && request.body().is_end_stream() && request.version() <= Version::HTTP_11;
        let peer = Peer { address: self.address, may_take_over };
        let answer = self.http.door.answer(&self.shard, peer, request);
        let taken = self.taken.clone();
        Box::pin(async move {
            match answer.await {
                Answer::Response(response) => Ok(response),
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

/// Runs HTTP/2 streams on the shard's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
