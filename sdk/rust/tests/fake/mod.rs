//! A broker that keeps what it is sent in a list, knows ids for ever, and misbehaves on demand. What it tells its listeners
//! is written down before.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tidings_proto::v1;
use tidings_proto::v1::broker_server::{Broker, BrokerServer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How it treats its callers.
#[derive(Clone, Copy)]
pub(crate) enum Mood {
    Good,
    /// Does what it is asked and then says it is not there, so many times.
    LoseAnswers(u32),
    /// Ends each stream after so many acks, and loses the acks of some it has kept.
    BreakStreamsAfter(usize),
    /// Keeps messages and says nothing.
    NeverAck,
}

/// What a listener gets, after which its stream ends.
pub(crate) type Script = Vec<Line>;

/// One moment of it.
pub(crate) enum Line {
    Say(Box<v1::SubscribeReply>),
    Fail(Status),
    /// Nothing more, for ever.
    Hang,
}

#[derive(Default)]
struct State {
    mood: Option<Mood>,
    calls: usize,
    kept: Vec<String>,
    known: HashMap<(String, Vec<u8>), u64>,
    offsets: HashMap<String, u64>,
    last: Option<(v1::PublishRequest, Option<String>)>,
    scripts: VecDeque<Script>,
    subscribes: Vec<v1::SubscribeRequest>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    count: watch::Sender<usize>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { address, state: Arc::default(), count: watch::Sender::new(0) };
        let service = BrokerServer::new(fake.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                http2.initial_connection_window_size(16 * 1024 * 1024).initial_stream_window_size(256 * 1024);
                tokio::spawn(http2.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service.clone())));
            }
        });
        fake
    }

    /// With what one listener after the other is told.
    pub(crate) async fn telling(scripts: impl IntoIterator<Item = Script>) -> Self {
        let fake = Self::start().await;
        fake.state.lock().unwrap().scripts.extend(scripts);
        fake
    }

    /// What listeners asked for, in their order.
    pub(crate) fn subscribes(&self) -> Vec<v1::SubscribeRequest> {
        self.state.lock().unwrap().subscribes.clone()
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = Some(mood);
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    pub(crate) fn kept(&self) -> Vec<String> {
        self.state.lock().unwrap().kept.clone()
    }

    pub(crate) async fn until_kept(&self, count: usize) {
        self.count.subscribe().wait_for(|kept| *kept >= count).await.unwrap();
    }

    pub(crate) fn last_request(&self) -> v1::PublishRequest {
        self.state.lock().unwrap().last.clone().unwrap().0
    }

    pub(crate) fn last_authorization(&self) -> Option<String> {
        self.state.lock().unwrap().last.clone().unwrap().1
    }

    fn mood(&self) -> Mood {
        self.state.lock().unwrap().mood.unwrap_or(Mood::Good)
    }

    fn keep(&self, channel: &str, request: &v1::PublishRequest) -> v1::PublishOutcome {
        use v1::publish_outcome::Outcome;
        let outcome = if channel.is_empty() {
            Outcome::Error(v1::PublishError { code: "invalid_request".into(), message: "no channel".into(), retry: false })
        } else {
            let mut state = self.state.lock().unwrap();
            let id = if request.id.is_empty() { request.retry_id.to_vec() } else { request.id.clone().into_bytes() };
            let known = state.known.get(&(channel.to_owned(), id.clone())).copied();
            let offset = known.unwrap_or_else(|| {
                state.kept.push(format!("{channel} {}", String::from_utf8_lossy(&request.data)));
                let offset = state.offsets.entry(channel.to_owned()).or_default();
                *offset += 1;
                *offset
            });
            state.known.insert((channel.to_owned(), id), offset);
            self.count.send_replace(state.kept.len());
            Outcome::Result(v1::PublishResult { channel: channel.to_owned(), offset, duplicate: known.is_some(), ..Default::default() })
        };
        v1::PublishOutcome { outcome: Some(outcome) }
    }
}

#[tonic::async_trait]
impl Broker for Fake {
    async fn publish(&self, request: Request<v1::PublishRequest>) -> Result<Response<v1::PublishResult>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let request = request.into_inner();
        {
            let mut state = self.state.lock().unwrap();
            state.calls += 1;
            state.last = Some((request.clone(), authorization));
        }
        if !request.channels.is_empty() {
            let results = request.channels.iter().map(|channel| self.keep(channel, &request)).collect();
            return Ok(Response::new(v1::PublishResult { results, ..Default::default() }));
        }
        let outcome = self.keep(&request.channel, &request);
        if let Mood::LoseAnswers(left @ 1..) = self.mood() {
            self.set_mood(Mood::LoseAnswers(left - 1));
            return Err(Status::unavailable("gone"));
        }
        match outcome.outcome.unwrap() {
            v1::publish_outcome::Outcome::Result(result) => Ok(Response::new(result)),
            v1::publish_outcome::Outcome::Error(error) => Err(Status::invalid_argument(error.message)),
        }
    }

    async fn publish_batch(&self, request: Request<v1::PublishBatchRequest>) -> Result<Response<v1::PublishBatchResponse>, Status> {
        let outcomes = request.into_inner().messages.iter().map(|message| self.keep(&message.channel, message)).collect();
        Ok(Response::new(v1::PublishBatchResponse { outcomes }))
    }

    async fn disconnect(&self, _: Request<v1::DisconnectRequest>) -> Result<Response<v1::ControlResult>, Status> {
        Err(Status::unimplemented("nobody asks the fake for it"))
    }

    async fn unsubscribe(&self, _: Request<v1::UnsubscribeRequest>) -> Result<Response<v1::ControlResult>, Status> {
        Err(Status::unimplemented("nobody asks the fake for it"))
    }

    async fn revoke(&self, _: Request<v1::RevokeRequest>) -> Result<Response<v1::ControlResult>, Status> {
        Err(Status::unimplemented("nobody asks the fake for it"))
    }

    type PublishStreamStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::PublishAck, Status>> + Send>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        self.state.lock().unwrap().calls += 1;
        let (acks, stream) = mpsc::channel(20_000);
        let fake = self.clone();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            let mut acked = 0;
            while let Ok(Some(v1::PublishStreamRequest { seq, publish: Some(publish) })) = requests.message().await {
                let outcome = match fake.keep(&publish.channel, &publish).outcome.unwrap() {
                    v1::publish_outcome::Outcome::Result(result) => v1::publish_ack::Outcome::Result(result),
                    v1::publish_outcome::Outcome::Error(error) => v1::publish_ack::Outcome::Error(error),
                };
                match fake.mood() {
                    Mood::NeverAck => continue,
                    Mood::BreakStreamsAfter(most) if acked == most => {
                        let _ = acks.send(Err(Status::unavailable("broken"))).await;
                        return;
                    }
                    _ => {}
                }
                acked += 1;
                let _ = acks.send(Ok(v1::PublishAck { seq, outcome: Some(outcome) })).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    type SubscribeStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::SubscribeReply, Status>> + Send>>;

    async fn subscribe(&self, request: Request<v1::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let script = {
            let mut state = self.state.lock().unwrap();
            state.subscribes.push(request.into_inner());
            state.scripts.pop_front()
        };
        let script = script.ok_or_else(|| named(Status::resource_exhausted("nothing is left to tell"), "overloaded"))?;
        let (replies, stream) = mpsc::channel(script.len().max(1));
        tokio::spawn(async move {
            for line in script {
                match line {
                    Line::Say(reply) => drop(replies.send(Ok(*reply)).await),
                    Line::Fail(status) => drop(replies.send(Err(status)).await),
                    Line::Hang => replies.closed().await,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn presence(&self, request: Request<v1::PresenceRequest>) -> Result<Response<v1::PresenceResponse>, Status> {
        let v1::PresenceRequest { channel, after, limit } = request.into_inner();
        // Somebody on a channel of that name, and the one who comes next.
        let users = [channel.clone(), format!("{channel}-2")].map(|user| v1::PresenceUser { user, info: "{}".to_owned(), connections: 1 });
        let users: Vec<_> = users.into_iter().filter(|user| user.user > after).take(limit as usize).collect();
        let next = users.last().filter(|user| user.user == channel).map(|user| user.user.clone()).unwrap_or_default();
        let counts = Some(v1::PresenceCounts { users: 2, anonymous: 1, connections: 3 });
        Ok(Response::new(v1::PresenceResponse { counts, users, next, ..Default::default() }))
    }

    async fn history(&self, _: Request<v1::HistoryRequest>) -> Result<Response<v1::HistoryResponse>, Status> {
        Err(Status::unimplemented("publishing only"))
    }

    async fn channels(&self, _: Request<v1::ChannelsRequest>) -> Result<Response<v1::ChannelsResponse>, Status> {
        Err(Status::unimplemented("publishing only"))
    }

    async fn cluster_info(&self, _: Request<v1::ClusterInfoRequest>) -> Result<Response<v1::ClusterInfoResponse>, Status> {
        Err(Status::unimplemented("publishing only"))
    }

    async fn clear(&self, _: Request<v1::ClearRequest>) -> Result<Response<v1::ClearResponse>, Status> {
        Err(Status::unimplemented("publishing only"))
    }
}

/// A status with a broker's own code.
pub(crate) fn named(status: Status, code: &'static str) -> Status {
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert("tidings-code", tonic::metadata::MetadataValue::from_static(code));
    Status::with_metadata(status.code(), status.message(), metadata)
}
