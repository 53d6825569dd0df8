//! Which service a request goes to, and whether its caller may.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tidings_proto::FILE_DESCRIPTOR_SET;
use tidings_proto::v1::broker_server::{self, BrokerServer};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::server::Builder;
use tower_service::Service;

use super::GrpcServices;
use super::calls::{Answered, Calls};
use super::fields::Kind;
use super::health::Readiness;
use super::incoming::{Bounds, Patience, Watched};
use super::outgoing::Streams;
use super::preface::WRONG_PROTOCOL;
use super::publish_stream;
use super::requests::Requests;
use super::serve::Caller;
use super::service::{BrokerService, Carried};
use super::session::{self, Origin};
use super::standing::Standing;
use super::status::{CODE_KEY, of_layer, status};
use super::unread::Unread;
use crate::auth::{Credential, Denied, Look, Pass, Refusal, carrier};
use crate::error::{Error, ErrorCode};
use crate::limits::{self, Crowd, TooMany, Visit};
use crate::metrics::{ProtocolError, RefusedConnection, Source};

/// Calls whose caller speaks when it likes, and for as long as it likes. All others have one message and its end.
const STREAMS: [&str; 2] = [publish_stream::PATH, REFLECTION];
const REFLECTION: &str = "/grpc.reflection.";
/// Of what is half here of all requests the streams of reflection may hold such a part.
const STRANGERS_SHARE: usize = 8;

/// How the paths of all calls that publish begin, streams included.
const PUBLISH: &str = "/tidings.v1.Broker/Publish";
/// Calls that are a publish each. What comes in a stream is charged message by message.
const PUBLISHES: [&str; 2] = ["/tidings.v1.Broker/Publish", "/tidings.v1.Broker/PublishBatch"];

/// The call of a listener, which has a session.
const SUBSCRIBE: &str = "/tidings.v1.Broker/Subscribe";

/// The answer to one request.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The largest request about health or for reflection: both are for everybody, and ask with a name.
const QUESTION_BYTES: usize = 4 << 10;

type Handler = Arc<dyn Fn(Request<Watched<Incoming>>) -> Answer + Send + Sync>;

/// All services of one listener. Cheap to clone: each connection has one.
#[derive(Clone)]
pub(super) struct Routes {
    services: GrpcServices,
    caller: Caller,
    calls: Arc<Calls>,
    unread: Arc<Unread>,
    requests: Arc<Requests>,
    standing: Arc<Standing>,
    /// For reflection, which is for everybody: strangers push out nobody who publishes.
    strangers: Arc<Crowd>,
    asks: Arc<Standing>,
    streams: Streams,
    by_name: Arc<[(&'static str, Handler)]>,
}

impl Routes {
    /// Builds the services.
    ///
    /// # Errors
    /// When the checked-in descriptors are damaged, which a test rules out.
    pub(super) fn new(services: GrpcServices, drain: &CancellationToken) -> io::Result<Self> {
        let broker = BrokerServer::new(BrokerService { services: services.clone(), drain: drain.clone() })
            .max_decoding_message_size(services.config.message_bytes);
        let health =
            HealthServer::new(Readiness { ready: services.ready.clone(), drain: drain.clone() }).max_decoding_message_size(QUESTION_BYTES);
        let reflection = || {
            Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let v1 = reflection().build_v1().map_err(io::Error::other)?.max_decoding_message_size(QUESTION_BYTES);
        let v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?.max_decoding_message_size(QUESTION_BYTES);
        let by_name = [
            (broker_server::SERVICE_NAME, publish_streams(services.clone(), drain.clone(), handler(broker, told_by_the_table(&services)))),
            (health_server::SERVICE_NAME, handler(health, as_it_is)),
            ("grpc.reflection.v1.ServerReflection", handler(v1, as_it_is)),
            // What older tools ask for; the same answers.
            ("grpc.reflection.v1alpha.ServerReflection", handler(v1alpha, as_it_is)),
        ];
        let unread = Unread::new(services.unread.clone());
        let streams = Streams::new(services.config.write_timeout, services.metrics.clone(), None);
        let (requests, standing) = (Requests::new(services.incoming.clone()), Standing::new(services.incoming.clone()));
        let strangers = Crowd::new(services.incoming.bound() / STRANGERS_SHARE);
        let (caller, calls, asks) = (Caller::default(), Arc::default(), Standing::new(strangers.clone()));
        Ok(Self { services, caller, calls, unread, requests, standing, strangers, asks, streams, by_name: by_name.into() })
    }

    /// For a connection with this caller at the other end; `whose` it is stands in the log.
    pub(super) fn of(self, caller: Caller, whose: Option<limits::Caller<'static>>) -> Self {
        let unread = Unread::new(self.services.unread.clone());
        let streams = Streams::new(self.services.config.write_timeout, self.services.metrics.clone(), whose);
        let (requests, standing) = (Requests::new(self.services.incoming.clone()), Standing::new(self.services.incoming.clone()));
        let asks = Standing::new(self.strangers.clone());
        Self { caller, calls: Arc::default(), unread, requests, standing, asks, streams, ..self }
    }

    /// What runs the calls of this connection.
    pub(super) fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// What this connection was given and has not taken.
    pub(super) fn unread(&self) -> Arc<Unread> {
        self.unread.clone()
    }

    /// Its streams that are not read, and those that may not be, of which nobody here knows.
    pub(super) fn standing(&self) -> [Arc<Standing>; 2] {
        [self.standing.clone(), self.asks.clone()]
    }

    /// The calls of this connection.
    pub(super) fn calls(&self) -> Arc<Calls> {
        self.calls.clone()
    }

    fn answer(&self, request: Request<Incoming>) -> Answer {
        let mut request = self.watched(request);
        if let Some(client) = &self.caller.certificate {
            request.extensions_mut().insert(client.clone());
        }
        if !is_grpc(&request) {
            return ready(unsupported());
        }
        let name = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        let Some((name, handler)) = self.by_name.iter().find(|(known, _)| Some(*known) == name) else {
            return ready(Status::unimplemented("this server has no such service").into_http());
        };
        if *name != broker_server::SERVICE_NAME {
            return handler(request);
        }
        // Let in before a byte of the body is read.
        match self.look_at(request.headers(), Look::First) {
            // Nor is anything read of who may do nothing at all.
            Ok(pass) => match self.let_in(&mut request, pass) {
                Ok(()) => handler(request),
                Err(error) => ready(self.turn_away(&request, &error)),
            },
            Err(refusal) if refusal.cause == Denied::UnknownKid => {
                let (routes, handler) = (self.clone(), handler.clone());
                Box::pin(async move {
                    let gate = &routes.services.gate;
                    let came = gate.learn_keys(routes.from(request.headers())).await;
                    let looked_at = if came { routes.look_at(request.headers(), Look::Again) } else { Err(refusal) };
                    let admitted = looked_at.map_err(|refusal| routes.not_admitted(&request, &refusal));
                    match admitted.and_then(|pass| routes.let_in(&mut request, pass)) {
                        Ok(()) => handler(request).await,
                        Err(error) => Ok(routes.turn_away(&request, &error)),
                    }
                })
            }
            Err(refusal) => ready(self.turn_away(&request, &self.not_admitted(&request, &refusal))),
        }
    }

    /// Counts what is half here of it, and keeps it in its bounds.
    fn watched(&self, request: Request<Incoming>) -> Request<Watched<Incoming>> {
        let (everyone, path) = (self.services.incoming.clone(), request.uri().path());
        let (service, method) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
        let bounds = Bounds {
            bytes: if service == broker_server::SERVICE_NAME { self.services.config.message_bytes } else { QUESTION_BYTES },
            batch_messages: self.services.batch_messages,
            kind: match method {
                "PublishBatch" => Kind::Batch,
                "PublishStream" => Kind::OfStream,
                _ => Kind::One,
            },
        };
        let patience = Patience { within: self.services.body_timeout, metrics: self.services.metrics.clone() };
        let is_stream = STREAMS.iter().any(|stream| path.starts_with(stream));
        let watch = if is_stream { Watched::stream } else { Watched::one };
        request.map(|body| watch(body, everyone, bounds, patience))
    }

    /// Somebody who may do something at all is no newcomer any more, and the request is his.
    fn let_in(&self, request: &mut Request<Watched<Incoming>>, pass: Pass) -> Result<(), Error> {
        let (path, services) = (request.uri().path(), &self.services);
        let refused = |error: &Error| {
            if path.starts_with(PUBLISH) {
                services.publish_refused(&pass, None, error);
            }
        };
        pass.check_anything().inspect_err(refused)?;
        self.calls.make();
        if PUBLISHES.contains(&request.uri().path()) {
            // Nothing is read of who may publish nothing now. When it is here it is charged, message by message.
            pass.check_pace_of_publish(1).inspect_err(|error| {
                services.metrics.published(Source::Grpc, Err(error.code), 0);
                refused(error);
            })?;
        }
        request.extensions_mut().insert(pass);
        if request.uri().path() == SUBSCRIBE {
            let origin = Origin(self.origin(request.headers()));
            request.extensions_mut().insert(origin);
        }
        let (unread, requests, standing) = (self.unread.clone(), self.requests.clone(), self.standing.clone());
        request.extensions_mut().insert(Carried { unread, requests, standing });
        Ok(())
    }

    /// What is shown is not believed, so its bearer is known by where it comes from.
    fn not_admitted<B>(&self, request: &Request<B>, refusal: &Refusal) -> Error {
        let error = self.services.gate.refuse(refusal);
        if request.uri().path().starts_with(PUBLISH) {
            let stranger = self.services.gate.anyone().known_by(self.from(request.headers()));
            self.services.publish_refused(&stranger, None, &error);
        }
        error
    }

    /// Says no. Who wanted to listen is told the name of its session, under which an operator finds why.
    fn turn_away<B>(&self, request: &Request<B>, error: &Error) -> Response<Body> {
        let mut status = status(error);
        if request.uri().path() == SUBSCRIBE {
            let (session, _) = session::asked(request.headers());
            self.services.refused(session, self.origin(request.headers()), error);
            session::tell(session, status.metadata_mut());
        }
        status.into_http()
    }

    /// Where a call comes from: the other end of the connection, or what a trusted proxy says.
    fn origin(&self, headers: &HeaderMap) -> Option<SocketAddr> {
        let peer = self.caller.address?;
        let origin = self.services.visitors.origin(peer.ip(), headers);
        // A proxy tells no port.
        Some(if origin == peer.ip() { peer } else { (origin, 0).into() })
    }

    /// Counts the call for the client on whose behalf a trusted proxy makes it, as the proxy's own connection is not.
    fn visit(&self, headers: &HeaderMap) -> Result<Option<Visit>, Error> {
        let GrpcServices { visitors, metrics, journal, clock, .. } = &self.services;
        let Some(peer) = self.caller.address.map(|peer| peer.ip()).filter(|peer| visitors.is_proxy(*peer)) else { return Ok(None) };
        let origin = visitors.origin(peer, headers);
        visitors.enter(origin).map_err(|TooMany| {
            metrics.turned_away(RefusedConnection::Address, "limits.connections_per_address", Some(limits::Caller::Address(origin)));
            journal.turned_away("limits.connections_per_address", (origin, 0).into(), clock.now().unix_ms);
            let what = "this address has as many streams and calls open as one may have (limits.connections_per_address)";
            Error::new(ErrorCode::Overloaded, what)
        })
    }

    /// Who calls, and from where: the address of the connection, or what a trusted proxy says; over the Unix socket who runs the caller.
    fn look_at(&self, headers: &HeaderMap, look: Look) -> Result<Pass, Refusal> {
        let from = self.from(headers);
        self.look_at_credential(headers, from, look).map(|pass| pass.known_by(from))
    }

    fn from(&self, headers: &HeaderMap) -> Option<limits::Caller<'static>> {
        let address = self.origin(headers).map(|origin| limits::Caller::Address(origin.ip()));
        address.or_else(|| self.caller.user.map(limits::Caller::Process))
    }

    /// By what the caller shows; who shows nothing, by its certificate or by who runs it.
    fn look_at_credential(&self, headers: &HeaderMap, from: Option<limits::Caller<'_>>, look: Look) -> Result<Pass, Refusal> {
        let gate = &self.services.gate;
        match carrier::bearer(headers) {
            Ok(None) => {
                let certified = self.caller.certificate.as_ref().and_then(|client| gate.certified(client));
                Ok(certified.or_else(|| gate.peer(self.caller.user?)).unwrap_or_else(|| gate.anyone()))
            }
            Ok(Some(bearer)) => gate.look_at(&Credential::Bearer(bearer), from, look),
            // Where nothing is asked for, nothing can be wrong with it.
            Err(_) if gate.book().is_open() => Ok(gate.anyone()),
            Err(refusal) => Err(refusal),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Routes {
    type Response = Response<Answered>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answered>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (call, unread, outgoing) = (self.calls.begin(), self.unread.clone(), self.streams.begin());
        if request.uri().path() == SUBSCRIBE {
            request.extensions_mut().insert(outgoing.clone());
        }
        let asks = request.uri().path().starts_with(REFLECTION).then(|| self.asks.begin());
        let (visit, answer) = match self.visit(request.headers()) {
            Ok(visit) => (visit, self.answer(request)),
            Err(error) => (None, ready(status(&error).into_http())),
        };
        Box::pin(async move { answer.await.map(|response| Answered::new(response, (outgoing, unread), (call, visit, asks))) })
    }
}

fn handler<S>(service: S, tell: impl Fn(Response<Body>) -> Response<Body> + Clone + Send + Sync + 'static) -> Handler
where
    S: Service<Request<Watched<Incoming>>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    // Generated services are always ready, so nothing asks them.
    Arc::new(move |request| {
        let (answer, tell) = (service.clone().call(request), tell.clone());
        Box::pin(async move { answer.await.map(tell) })
    })
}

/// Publish streams are answered without the generated service, all else by it.
fn publish_streams(services: GrpcServices, drain: CancellationToken, others: Handler) -> Handler {
    Arc::new(move |request| match request.uri().path() {
        publish_stream::PATH => ready(publish_stream::answer(&services, request, drain.clone())),
        _ => others(request),
    })
}

fn as_it_is(response: Response<Body>) -> Response<Body> {
    response
}

/// What tonic refuses before our code is asked (a request that is too large, or no message at all) gets its row of the
/// error table. Such an answer has its status among the headers and nothing after them.
fn told_by_the_table(services: &GrpcServices) -> impl Fn(Response<Body>) -> Response<Body> + Clone + use<> {
    let (message_bytes, metrics) = (services.config.message_bytes, services.metrics.clone());
    move |response| match Status::from_header_map(response.headers()) {
        Some(below) if !below.metadata().contains_key(CODE_KEY) => {
            if below.code() == tonic::Code::OutOfRange {
                metrics.protocol_error(ProtocolError::BodyTooLarge);
            }
            of_layer(below, message_bytes).into_http()
        }
        _ => response,
    }
}

fn ready(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// For HTTP/2 clients that are none of gRPC (the protocol asks for 415).
fn unsupported() -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(WRONG_PROTOCOL)));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
