//! Who begins a request and does not end it: what it holds here has a bound for all together, and who ends his is served.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tidings::auth::config::{Key, KeyHash};
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::node::Node;
use tidings_proto::v1;
use tidings_proto::v1::publish_ack::Outcome;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::scene::Scene;
use crate::raw::{Raw, ask, config, post, request};
use crate::support::{WebSocket, soon};

const PUBLISH: &str = "/v1/channels/a/messages";

/// One megabyte for everything that is half here.
fn little() -> Config {
    let mut config = config();
    config.limits.incoming_bytes = 1 << 20;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_stand_still_make_room_and_who_goes_on_is_served() {
    let scene = Scene::with(little()).await;
    let to = scene.http();
    let head =
        |length: usize| format!("POST {PUBLISH} HTTP/1.1\r\nHost: {to}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    let mut half = JoinSet::new();
    for _ in 0..40 {
        let mut raw = Raw::connect(to).await;
        raw.send([head(60_000).as_bytes(), &[b'x'; 50_000]].concat()).await;
        half.spawn(async move { (raw.answer().await, raw) });
    }
    // Each counts as what its buffer takes, 64 KiB: sixteen fit, whichever came last.
    for _ in 0..24 {
        let (answer, _) = soon("the oldest go", half.join_next()).await.unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.header("retry-after").is_some()),
            (503, "overloaded", true),
            "{answer:?}"
        );
        assert!(answer.text().contains("limits.incoming_bytes"), "{}", answer.text());
    }
    assert!(scene.metric("tidings_bound_used{bound=\"incoming_bytes\"}").await <= 1 << 20);
    // In two pieces, with all the others still there.
    let mut honest = Raw::connect(to).await;
    honest.send([head(60_000).as_bytes(), &[b'x'; 50_000]].concat()).await;
    honest.send([b'x'; 10_000]).await;
    assert_eq!(honest.answer().await.status, 200);
    drop((half, honest));
    soon("all of it is given back", async { while scene.metric("tidings_bound_used{bound=\"incoming_bytes\"}").await > 0 {} }).await;
    scene.is_unharmed("half requests").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_stand_still_over_websockets_make_room_too() {
    let scene = Scene::with(little()).await;
    let mut half = Vec::new();
    for _ in 0..30 {
        let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
        // A frame of 100,000 bytes, masked with zeroes, without its end.
        let mut begun = b"\x81\xff\0\0\0\0\0\x01\x86\xa0\0\0\0\0".to_vec();
        begun.resize(begun.len() + 60_000, b' ');
        socket.socket.write_all(&begun).await.unwrap();
        half.push(socket);
    }
    for socket in half.iter_mut().take(10) {
        let told = soon("the oldest go", socket.object()).await.unwrap();
        assert_eq!((&told["close"]["code"], &told["close"]["retry"]), (&"overloaded".into(), &true.into()), "{told}");
    }
    // Who says what he has to say in one go is not asked to wait, and one whose rest comes is heard.
    let last = half.last_mut().unwrap();
    last.answers_pings = true;
    last.send(&[b' '; 40_000]).await;
    let told = soon("an answer", last.object()).await.unwrap();
    assert_eq!(told["error"]["code"], "invalid_request", "forty thousand blanks more are no request: {told}");
    drop(half);
    soon("all of it is given back", async { while scene.metric("tidings_bound_used{bound=\"incoming_bytes\"}").await > 0 {} }).await;
    scene.is_unharmed("half messages").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_publish_or_order_nowhere_is_refused_before_the_body_is_read() {
    let mut config = config();
    config.dev = false;
    config.keys.push(Key::new("backend", KeyHash::of(b"the key")));
    config.namespaces.insert(namespace::DEFAULT, namespace::Config::default());
    let node = Node::start(config).await.unwrap();
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    raw.send(request("POST", "/v1/publish", to, "Content-Length: 600000\r\n")).await;
    let answer = soon("an answer without the body", raw.answer()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"));
    for order in ["disconnect", "unsubscribe", "revoke"] {
        let mut raw = Raw::connect(to).await;
        raw.send(request("POST", &format!("/v1/{order}"), to, "Content-Length: 10000\r\n") + "{").await;
        let answer = soon("an answer without the order", raw.answer()).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{order}");
    }
    let body = r#"{"channel":"a","text":"x"}"#;
    let keyed = format!("Authorization: Bearer the key\r\nContent-Length: {}\r\n", body.len());
    assert_eq!(ask(to, request("POST", "/v1/publish", to, &keyed) + body).await.status, 200);
    assert_eq!(ask(to, post(PUBLISH, to, b"x")).await.status, 401);
    node.stop().await;
}

/// A call over a connection of its own, with as much of its body as was sent.
pub(super) struct Call {
    body: mpsc::Sender<Bytes>,
    answer: JoinHandle<Response<Incoming>>,
}

impl Call {
    async fn begin(to: SocketAddr, begun: &[u8]) -> Self {
        Self::of("tidings.v1.Broker/Publish", to, begun).await
    }

    pub(super) async fn of(method: &str, to: SocketAddr, begun: &[u8]) -> Self {
        Self::shown(method, to, begun, "").await
    }

    /// Of a caller who shows this key, if it is any.
    pub(super) async fn shown(method: &str, to: SocketAddr, begun: &[u8], key: &str) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let (body, pieces) = mpsc::channel(1);
        body.send(Bytes::copy_from_slice(begun)).await.unwrap();
        let pieces = ReceiverStream::new(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let mut call = Request::post(format!("http://{to}/{method}")).header("te", "trailers");
        if !key.is_empty() {
            call = call.header("authorization", format!("Bearer {key}"));
        }
        let call = call.header("content-type", "application/grpc").body(Box::pin(StreamBody::new(pieces))).unwrap();
        Self { body, answer: tokio::spawn(async move { sender.send_request(call).await.unwrap() }) }
    }

    pub(super) async fn send(&self, more: &[u8]) {
        self.body.send(Bytes::copy_from_slice(more)).await.unwrap();
    }

    /// What is refused says so among its headers, before any message.
    pub(super) async fn refused(self) -> Status {
        Status::from_header_map(soon("an answer", self.answer).await.unwrap().headers()).unwrap()
    }

    /// Ends it as it is, and is refused.
    async fn unfinished(self) -> Status {
        let Self { body, answer } = self;
        drop(body);
        Status::from_header_map(soon("an answer", answer).await.unwrap().headers()).unwrap()
    }

    /// Sends the rest, and is served.
    async fn end(self, rest: &[u8]) {
        self.send(rest).await;
        drop(self.body);
        let answer = soon("an answer", self.answer).await.unwrap();
        assert!(Status::from_header_map(answer.headers()).is_none(), "{answer:?}");
    }

    /// The acks of a stream that is ended though more may come, and why.
    pub(super) async fn ended(self) -> (Vec<v1::PublishAck>, Status) {
        let answer = soon("a head", self.answer).await.unwrap();
        let answer = soon("the end", answer.into_body().collect()).await.unwrap();
        let why = Status::from_header_map(answer.trailers().unwrap()).unwrap();
        let (mut bytes, mut acks) = (answer.to_bytes(), Vec::new());
        while bytes.has_remaining() {
            let (_, length) = (bytes.get_u8(), bytes.get_u32() as usize);
            acks.push(v1::PublishAck::decode(bytes.split_to(length)).unwrap());
        }
        (acks, why)
    }
}

/// A message as it is sent.
pub(super) fn framed(encoded: &[u8]) -> Vec<u8> {
    [&[0][..], &(encoded.len() as u32).to_be_bytes(), encoded].concat()
}

/// A publish of so many bytes.
pub(super) fn publish_of(bytes: usize) -> Vec<u8> {
    framed(&v1::PublishRequest { channel: "a".into(), data: vec![b'x'; bytes].into(), ..Default::default() }.encode_to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_stand_still_over_grpc_make_room_too() {
    let scene = Scene::with(little()).await;
    let to = scene.node.addresses().grpc.unwrap();
    let publish = publish_of(60_000);
    let (begun, rest) = publish.split_at(50_000);
    let mut half = Vec::new();
    for _ in 0..40 {
        half.push(Call::begin(to, begun).await);
    }
    // Each counts as what its buffer takes, 64 KiB: sixteen fit.
    scene.until("tidings_bound_used{bound=\"incoming_bytes\"}", |used| used == 1 << 20).await;
    soon("the oldest go", async {
        while half.iter().filter(|call| call.answer.is_finished()).count() < 24 {
            yield_now().await;
        }
    })
    .await;
    let (refused, waiting): (Vec<_>, Vec<_>) = half.into_iter().partition(|call| call.answer.is_finished());
    assert_eq!(refused.len(), 24);
    for call in refused {
        let told = call.refused().await;
        assert!(told.code() == Code::ResourceExhausted && told.message().contains("limits.incoming_bytes"), "{told:?}");
    }
    // In two pieces, with all the others still there.
    let honest = Call::begin(to, begun).await;
    honest.end(rest).await;
    drop(waiting);
    scene.until("tidings_bound_used{bound=\"incoming_bytes\"}", |used| used == 0).await;
    scene.is_unharmed("half calls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_who_may_do_nothing_grpc_reads_nothing() {
    let mut config = config();
    config.dev = false;
    config.keys.push(Key::new("backend", KeyHash::of(b"the key")));
    let node = Node::start(config).await.unwrap();
    // The rest never comes, and is not waited for.
    let call = Call::begin(node.addresses().grpc.unwrap(), &publish_of(60_000)[..50_000]).await;
    let told = call.refused().await;
    assert_eq!(told.code(), Code::Unauthenticated, "{told:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_end_is_not_decoded_and_counts_and_what_would_become_much_is_refused() {
    let scene = Scene::start().await;
    let to = scene.node.addresses().grpc.unwrap();
    // A hundred thousand empty messages of two bytes each: 20 MiB once they are decoded.
    let batch = framed(&[0x0a, 0].repeat(100_000));
    let mut whole = Vec::new();
    for _ in 0..10 {
        whole.push(Call::of("tidings.v1.Broker/PublishBatch", to, &batch).await);
    }
    scene.until("tidings_bound_used{bound=\"incoming_bytes\"}", |used| used == 10 * (256 << 10)).await;
    for call in whole {
        assert!(!call.answer.is_finished());
        let told = call.unfinished().await;
        assert_eq!(told.code(), Code::ResourceExhausted, "{told:?}");
        assert!(told.message().contains("this one holds 100000"), "{told:?}");
        assert_eq!(told.metadata().get("tidings-code").unwrap(), "too_large");
    }
    // As many channels of no name in one publish.
    let names = Call::of("tidings.v1.Broker/Publish", to, &framed(&[0x12, 0].repeat(100_000))).await;
    let told = names.unfinished().await;
    assert!(told.code() == Code::ResourceExhausted && told.message().contains("fields"), "{told:?}");
    // A second request where one belongs is refused and not read on.
    let two = Call::begin(to, &publish_of(10).repeat(2)).await;
    let told = two.refused().await;
    assert_eq!(told.code(), Code::InvalidArgument, "{told:?}");
    scene.until("tidings_bound_used{bound=\"incoming_bytes\"}", |used| used == 0).await;
    scene.is_unharmed("calls that do not end").await;
}

/// A publish as one of a stream.
pub(super) fn of_stream(seq: u64, publish: v1::PublishRequest) -> Vec<u8> {
    framed(&v1::PublishStreamRequest { seq, publish: Some(publish) }.encode_to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_publish_stream_that_would_become_much_ends_it_before_it_is_whole_and_large_ones_pass() {
    let mut config = little();
    config.namespaces.insert(namespace::DEFAULT, namespace::Config { payload_bytes: 600_000, ..namespace::Config::default() });
    let scene = Scene::with(config).await;
    let to = scene.node.addresses().grpc.unwrap();
    let publish = |bytes: usize| v1::PublishRequest { channel: "a".into(), data: vec![b'x'; bytes].into(), ..Default::default() };
    let call = Call::of("tidings.v1.Broker/PublishStream", to, &of_stream(1, publish(10))).await;
    // Looked at for its length, and let through for what is in it.
    call.send(&of_stream(2, publish(500_000))).await;
    // A quarter of a million channels of no name: sixteen megabytes once they are decoded. Most of it never comes.
    let many = v1::PublishRequest { channels: vec![String::new(); 250_000], ..Default::default() };
    call.send(&of_stream(3, many)[..200_000]).await;
    let (acks, told) = call.ended().await;
    let published: Vec<u64> = acks.iter().filter(|ack| matches!(ack.outcome, Some(Outcome::Result(_)))).map(|ack| ack.seq).collect();
    assert_eq!((published, acks.len()), (vec![1, 2], 2));
    assert!(told.code() == Code::ResourceExhausted && told.message().contains("fields"), "{told:?}");
    assert_eq!(told.metadata().get("tidings-code").unwrap(), "too_large");
    assert_eq!(scene.metric("tidings_protocol_errors_seen_total{kind=\"body_too_large\"}").await, 1);
    scene.until("tidings_bound_used{bound=\"incoming_bytes\"}", |used| used == 0).await;
    scene.is_unharmed("a message of many fields").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_about_health_is_small() {
    let scene = Scene::start().await;
    let to = scene.node.addresses().grpc.unwrap();
    for method in ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"] {
        let name = tonic_health::pb::HealthCheckRequest { service: "x".repeat(100_000) };
        // The rest is not waited for.
        let told = Call::of(method, to, &framed(&name.encode_to_vec())[..10_000]).await.refused().await;
        assert_eq!(told.code(), Code::OutOfRange, "{told:?}");
    }
    scene.is_unharmed("long questions").await;
}
