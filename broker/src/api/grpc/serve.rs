//! The gRPC listeners: accept, speak HTTP/2, drain.
//!
//! The listeners are the caller's; each connection runs on a thread of [`Carriers`](super::Carriers).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::carriers::Carried;
use super::outgoing::Streams;
use super::route::Routes;
use super::{GrpcServices, preface};
use crate::auth::ClientName;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::limits::{self, Place, TooMany, Visit};
use crate::metrics::{Complaints, Metrics, ProtocolError, RefusedConnection};
use crate::tls::{Entrance, client_name};

/// Longest a caller takes for the first bytes of its connection.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Small unread frames count against half of this window, and a peer that uses it up is cut off as an attacker. Pipelined
/// publishes come near that with hyper's own 1 MiB, and at once with adaptive windows. What fills it counts
/// ([`super::standing`]).
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What one stream may hold unread.
pub(super) const STREAM_WINDOW: u32 = 256 << 10;
/// What one stream may hold unsent. A subscriber that does not read is behind after this much, and pulls.
const SEND_BUFFER: usize = 64 << 10;
/// Most bytes of one request's metadata.
const METADATA_BYTES_MAX: u32 = 16 << 10;
/// How often a silent peer is asked whether it is still there, and how long it has for the answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a connection that was given up may take to end in good form.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Wait after a failed accept. It fails when open files run out, which only time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is known of who is at the other end of a connection before it says anything.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The address from which it comes, over TCP.
    pub address: Option<SocketAddr>,
    /// The user of this machine whose process it is, where the system knows.
    pub user: Option<u32>,
    /// Whom its certificate names, where the listener asked for one.
    pub certificate: Option<ClientName>,
}

/// Where connections come from: a TCP listener, bare or behind TLS, or a Unix socket.
pub trait Accept: Send {
    /// A connection that can be spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// One that must be opened first, on the runtime that is to carry it; `None` when that came to nothing.
    type Opening: Future<Output = Option<(Self::Stream, Caller)>> + Send + 'static;

    /// The next one, and whose it is as far as that is known yet. Dropped half-way, it loses none.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Opening, Option<limits::Caller<'static>>)>> + Send;
}

/// A TCP listener whose connections begin with a TLS handshake.
#[derive(Debug)]
pub struct TlsListener {
    /// Where they come from.
    pub listener: TcpListener,
    /// What they pass.
    pub entrance: Entrance,
}

impl Accept for TlsListener {
    type Stream = TlsStream<TcpStream>;
    type Opening = Pin<Box<dyn Future<Output = Option<(Self::Stream, Caller)>> + Send>>;

    async fn accept(&self) -> io::Result<(Self::Opening, Option<limits::Caller<'static>>)> {
        let (stream, peer) = accept_tcp(&self.listener).await?;
        let entrance = self.entrance.clone();
        let opening: Self::Opening = Box::pin(async move {
            let stream = entrance.pass(TcpStream::from_std(stream).ok()?).await?;
            let certificate = client_name(stream.get_ref().1);
            Some((stream, Caller { address: Some(peer), certificate, ..Caller::default() }))
        });
        Ok((opening, Some(limits::Caller::Address(peer.ip()))))
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Opening = Pin<Box<dyn Future<Output = Option<(TcpStream, Caller)>> + Send>>;

    async fn accept(&self) -> io::Result<(Self::Opening, Option<limits::Caller<'static>>)> {
        let (stream, peer) = accept_tcp(self).await?;
        let caller = Caller { address: Some(peer), ..Caller::default() };
        let opening: Self::Opening = Box::pin(async move { Some((TcpStream::from_std(stream).ok()?, caller)) });
        Ok((opening, Some(limits::Caller::Address(peer.ip()))))
    }
}

/// The next connection, in no runtime's event queue, and where it comes from.
async fn accept_tcp(listener: &TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    // Acks and deliveries are small and must not wait for company.
    stream.set_nodelay(true)?;
    Ok((stream.into_std()?, peer))
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Opening = Pin<Box<dyn Future<Output = Option<(UnixStream, Caller)>> + Send>>;

    async fn accept(&self) -> io::Result<(Self::Opening, Option<limits::Caller<'static>>)> {
        let (stream, _) = Self::accept(self).await?;
        // Where the system cannot say it, the peer is gone already.
        let user = stream.peer_cred().ok().map(|peer| peer.uid());
        let stream = stream.into_std()?;
        let opening: Self::Opening =
            Box::pin(async move { Some((UnixStream::from_std(stream).ok()?, Caller { user, ..Caller::default() })) });
        Ok((opening, user.map(limits::Caller::Process)))
    }
}

/// Serves on one listener until `drain`, and then until every call in flight is finished. Dropping the future cuts what
/// is left.
///
/// # Errors
/// When the services cannot be built.
pub async fn serve<A: Accept>(listener: A, services: GrpcServices, drain: CancellationToken) -> io::Result<()> {
    let places = services.connections.clone();
    let porter = Porter { metrics: services.metrics.clone(), journal: services.journal.clone(), clock: services.clock };
    let (newcomers, visitors) = (services.newcomers.clone(), services.visitors.clone());
    let carriers = services.carriers.clone();
    let (patience, idle) = (services.config.first_call_timeout, services.config.idle_timeout);
    let streams = services.config.streams;
    let routes = Routes::new(services, &drain)?;
    let (mut connections, mut complaints) = (JoinSet::new(), Complaints::default());
    loop {
        tokio::select! {
            biased;
            () = drain.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((opening, whose)) => {
                    let visit = match whose {
                        Some(limits::Caller::Address(address)) => visitors.enter(address),
                        _ => Ok(None),
                    };
                    match (places.clone().try_acquire_owned(), visit) {
                        (Ok(permit), Ok(visit)) => {
                            // Without a living shard the node is about to end.
                            let Some((thread, carried)) = carriers.next() else { continue };
                            let counted = Counted::new(porter.metrics.clone(), carried, permit, visit);
                            let newcomer = Newcomer { place: newcomers.enter(), patience, idle, whose, porter: porter.clone() };
                            connections.spawn_on(connection(opening, newcomer, counted, streams, routes.clone(), drain.clone()), thread);
                        }
                        (_, Err(TooMany)) => porter.turn_away(RefusedConnection::Address, "limits.connections_per_address", whose),
                        (Err(_), _) => porter.turn_away(RefusedConnection::Limit, "grpc_connections", whose),
                    }
                }
                Err(error) => {
                    if porter.metrics.accept_failed("grpc", &error, &mut complaints) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

fn http2_builder(streams: Streams, streams_max: u32) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(METADATA_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// A connection on which nothing was called yet.
struct Newcomer {
    place: Place,
    /// How long that may last, once it speaks HTTP/2.
    patience: Duration,
    /// Whose it is, for the log.
    whose: Option<limits::Caller<'static>>,
    /// How long it may be without a call later.
    idle: Duration,
    porter: Porter,
}

/// Tells of connections that came to nothing: counts them, says so in the log, and keeps them where they are found by their address.
#[derive(Clone)]
struct Porter {
    metrics: Arc<Metrics>,
    journal: Journal,
    clock: Clock,
}

impl Porter {
    fn turn_away(&self, reason: RefusedConnection, limit: &'static str, whose: Option<limits::Caller<'static>>) {
        self.metrics.turned_away(reason, limit, whose);
        if let Some(limits::Caller::Address(address)) = whose {
            self.journal.turned_away(limit, (address, 0).into(), self.clock.now().unix_ms);
        }
    }

    fn protocol_error(&self, kind: ProtocolError, why: &str, whose: Option<limits::Caller<'static>>) {
        self.metrics.protocol_error(kind);
        if let Some(limits::Caller::Address(address)) = whose {
            self.journal.broke_protocol(kind, why, (address, 0).into(), self.clock.now().unix_ms);
        }
    }
}

/// Why it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    /// Others came, and it had waited longest.
    PushedOut,
    /// It called nothing for too long.
    TooSilent,
    /// It has called, and does no more.
    Idle,
}

impl Newcomer {
    /// Resolves when the connection must go: at first soon, and once it has called something when it does no more.
    async fn must_go(self, calls: &Calls) -> GivenUp {
        tokio::select! {
            biased;
            made = timeout(self.patience, calls.made()) => if made.is_err() {
                return GivenUp::TooSilent;
            },
            () = self.place => return GivenUp::PushedOut,
        }
        calls.rest(self.idle).await;
        GivenUp::Idle
    }
}

async fn connection<S, O>(opening: O, mut newcomer: Newcomer, counted: Counted, streams_max: u32, routes: Routes, drain: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: Future<Output = Option<(S, Caller)>> + Send,
{
    // Counted until it ends.
    let _counted = counted;
    let (porter, whose) = (newcomer.porter.clone(), newcomer.whose);
    let begin = async {
        // Bounds its own time.
        let (mut stream, caller) = opening.await?;
        match timeout(PREFACE_TIMEOUT, preface::read(&mut stream)).await {
            Ok(Ok(Some(first))) => Some((stream, caller, first)),
            Ok(_) => None,
            Err(_) => {
                porter.protocol_error(ProtocolError::HeaderTimeout, "it did not begin to speak HTTP/2 in time", whose);
                None
            }
        }
    };
    let begun = tokio::select! {
        () = drain.cancelled() => return,
        () = &mut newcomer.place => return porter.turn_away(RefusedConnection::Limit, "limits.connections_pending", whose),
        begun = begin => begun,
    };
    let Some((stream, caller, first)) = begun else { return };
    let routes = routes.of(caller, whose);
    let http2 = http2_builder(routes.streams(), streams_max);
    let (calls, unread, [standing, asks]) = (routes.calls(), routes.unread(), routes.standing());
    // At which bound it is, when it must make room for others.
    let pushed_out = async || {
        tokio::select! {
            () = unread.pushed_out() => "limits.unsent_bytes",
            () = standing.pushed_out() => "limits.incoming_bytes",
            () = asks.pushed_out() => "limits.incoming_bytes",
        }
    };
    let (reader, writer) = tokio::io::split(stream);
    let whole = tokio::io::join(io::Cursor::new(first).chain(reader), writer);
    let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(whole), routes));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        limit = pushed_out() => return cut(&porter.metrics, limit, whose),
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                limit = pushed_out() => return cut(&porter.metrics, limit, whose),
            }
        }
        why = newcomer.must_go(&calls) => {
            if why == GivenUp::PushedOut {
                return porter.turn_away(RefusedConnection::Limit, "limits.connections_pending", whose);
            }
            if why != GivenUp::Idle {
                porter.turn_away(RefusedConnection::Limit, "grpc.first_call_timeout", whose);
            }
            connection.as_mut().graceful_shutdown();
            let last_word = async {
                sleep(LAST_WORD).await;
                // What was called in the same moment is answered.
                if why == GivenUp::Idle {
                    calls.rest(LAST_WORD).await;
                }
            };
            tokio::select! {
                ended = connection => ended,
                () = last_word => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(event = "connection_lost", %error, "a gRPC connection broke");
        // One that hung up has done nothing wrong.
        if !std::error::Error::source(&error).is_some_and(|cause| cause.is::<io::Error>()) {
            porter.protocol_error(ProtocolError::Http2, "its connection broke the rules of HTTP/2", whose);
        }
    }
}

/// Counts a connection that makes room for others, and says so: it has left unread longest what it was given, and may have sent on.
fn cut(metrics: &Metrics, limit: &'static str, whose: Option<limits::Caller<'static>>) {
    metrics.turned_away(RefusedConnection::Unread, limit, whose);
}

/// A connection's place and its count, both given back when it ends.
struct Counted {
    metrics: Arc<Metrics>,
    _carried: Carried,
    _permit: OwnedSemaphorePermit,
    _visit: Option<Visit>,
}

impl Counted {
    fn new(metrics: Arc<Metrics>, carried: Carried, permit: OwnedSemaphorePermit, visit: Option<Visit>) -> Self {
        metrics.off_shard().connection_accepted();
        Self { metrics, _carried: carried, _permit: permit, _visit: visit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.off_shard().connection_closed();
    }
}
