//! A small HTTP/1.1 server of its own: health checks must not queue behind the traffic they judge.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Admin, api, page, trend};
use crate::auth::ClientName;
use crate::host;
use crate::limits::{Caller, ClientAddress, Place};
use crate::metrics::{Complaints, Metrics, ProtocolError, RefusedConnection};
use crate::tls::client_name;

/// Connections at once: a few scrapers and health checks. Whoever hangs on to more loses the oldest, so that nobody can
/// keep health checks out.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take; also how long a connection may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept, so that one which never reads cannot hold its place.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// How long an answer in flight may still take after that, or after the stop.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How often the metrics exporter is tidied, scraped or not.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(2);
/// Pause after a failed accept: without descriptors the next one fails at once, and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, which should come last of all: during a drain health checks must still get their 503.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let mut complaints = Complaints::default();
    let mut upkeep = interval(UPKEEP_INTERVAL);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut step = interval(trend::STEP);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = upkeep.tick() => admin.metrics.upkeep(),
            _ = step.tick() => api::step(&admin),
            (socket, from) = accept(&listener, &admin.metrics, &mut complaints) => {
                connections.spawn(connection(socket, from, admin.connections.enter(), admin.clone(), stop.clone()));
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn accept(listener: &TcpListener, metrics: &Metrics, complaints: &mut Complaints) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => return (socket, peer.ip()),
            Err(error) => {
                if metrics.accept_failed("admin", &error, complaints) {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(socket: TcpStream, from: IpAddr, mut place: Place, admin: Admin, stop: CancellationToken) {
    let Some(entrance) = &admin.entrance else { return speak(socket, (from, None), place, admin, stop).await };
    let secured = tokio::select! {
        secured = entrance.pass(socket) => secured,
        () = &mut place => return push_out(&admin.metrics, from),
        () = stop.cancelled() => None,
    };
    if let Some(stream) = secured {
        let client = client_name(stream.get_ref().1);
        speak(stream, (from, client), place, admin, stop).await;
    }
}

/// Counts a connection that makes room for another one, and says so.
fn push_out(metrics: &Metrics, from: IpAddr) {
    metrics.turned_away(RefusedConnection::Limit, "admin_connections", Some(Caller::Address(from)));
}

async fn speak<S>(socket: S, (from, client): (IpAddr, Option<ClientName>), mut place: Place, admin: Admin, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asks = Arc::new(AtomicBool::new(true));
    let socket = Heard { socket, asks: asks.clone() };
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddress(from));
        if let Some(client) = &client {
            request.extensions_mut().insert(client.clone());
        }
        let (admin, asks) = (admin.clone(), asks.clone());
        async move {
            let answer = answer(&admin, request).await;
            asks.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                note(&admin.metrics, &error, asks.load(Ordering::Relaxed));
            }
        }
        () = &mut place => push_out(&admin.metrics, from),
        () = stop_or_age(&stop) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(CLOSE_GRACE, connection).await;
        }
    }
}

/// Counts what a peer did wrong. A broken connection concerns nobody else, and one that only rested is no fault.
fn note(metrics: &Metrics, error: &hyper::Error, asks: bool) {
    if error.is_timeout() && asks {
        metrics.protocol_error(ProtocolError::HeaderTimeout);
    } else if error.is_parse_too_large() {
        metrics.protocol_error(ProtocolError::HeaderTooLarge);
    } else if error.is_parse() {
        metrics.protocol_error(ProtocolError::Malformed);
    }
}

/// A connection of which it is known whether its peer has begun to ask for something: hyper ends one that rests by the same timer as
/// one whose head drips.
struct Heard<S> {
    socket: S,
    /// From the start, and from the first byte behind an answer.
    asks: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.asks.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

async fn stop_or_age(stop: &CancellationToken) {
    let _ = timeout(CONNECTION_AGE_MAX, stop.cancelled()).await;
}

async fn answer(admin: &Admin, request: Request<Incoming>) -> Response<Full<Bytes>> {
    // On loopback nobody is asked for a key, and a browser on this machine must not carry it to a foreign page.
    if admin.only_local
        && let Err(error) = host::check(&request, true)
    {
        return text(error.code.http_status(), "text/plain", format!("{}\n", error.message));
    }
    let path = request.uri().path();
    if api::is_api_path(path) {
        // Boxed, or it would be part of every health check too.
        return Box::pin(api::handle(admin, request)).await;
    }
    let file = page::file(path);
    if file.is_none() && !matches!(path, "/metrics" | "/livez" | "/readyz" | "/cluster") {
        return text(StatusCode::NOT_FOUND, "text/plain", "here are /, /api/, /metrics, /livez, /readyz and /cluster\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET or HEAD\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if let Some(file) = file {
        return page::response(file);
    }
    match path {
        "/metrics" => metrics(admin),
        "/readyz" => ready(admin),
        "/cluster" => match &admin.cluster {
            Some(shown) => text(StatusCode::OK, "application/json", shown()),
            None => text(StatusCode::NOT_FOUND, "text/plain", "this node is alone (cluster.keys)\n"),
        },
        _ if admin.readiness.is_alive() => text(StatusCode::OK, "text/plain", "ok\n"),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "a shard died by a fault of the broker; restart the process\n"),
    }
}

fn metrics(admin: &Admin) -> Response<Full<Bytes>> {
    let mut gauges = (admin.gauges)();
    gauges.ready = admin.readiness.check().is_ok();
    gauges.draining = admin.readiness.is_draining();
    text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", admin.metrics.render(&gauges))
}

fn ready(admin: &Admin) -> Response<Full<Bytes>> {
    // How it stands in its cluster is told with it: a node that is cut off from others is ready all the same, since it serves.
    let cluster = admin.inside.condition().map(|condition| format!(",\"cluster\":\"{condition}\"")).unwrap_or_default();
    match admin.readiness.check() {
        Ok(()) => text(StatusCode::OK, "application/json", format!("{{\"ready\":true{cluster}}}\n")),
        Err(reason) => {
            let (code, sentence) = (reason.as_str(), reason.sentence());
            let body = format!("{{\"ready\":false,\"reason\":\"{code}\",\"message\":\"{sentence}\"{cluster}}}\n");
            text(StatusCode::SERVICE_UNAVAILABLE, "application/json", body)
        }
    }
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
