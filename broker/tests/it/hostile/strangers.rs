//! Strangers who hold what others need by being slow: beginnings that drip or stand still, on every listener and at every stage. Each is
//! closed when its time is over, and counted.

use std::time::Duration;

use tidings::auth::config::{Key, KeyHash};
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout};

use super::scene::{Door, Scene, impatient, shout};
use crate::support::soon;

/// How every connection of HTTP/2 begins, and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// HEADERS of stream 1 without END_HEADERS, with `:method: GET` of it; a CONTINUATION that promises 16,000 bytes.
const HALF_HEAD: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x82\0\x3e\x80\x09\0\0\0\0\x01";
/// What drips comes so often.
const DRIP: Duration = Duration::from_millis(50);

const HEAD_TOO_SLOW: &str = "tidings_protocol_errors_seen_total{kind=\"header_timeout\"}";
const REFUSED: &str = "tidings_connections_refused_total{reason=\"limit\"}";

/// Somebody who begins like this and then sends this byte again and again, or nothing.
struct Slow {
    door: Door,
    begins: Vec<u8>,
    drips: Option<u8>,
    counted: &'static str,
}

/// Every stage before a request is whole.
fn all() -> Vec<Slow> {
    let mut all = Vec::new();
    let mut add = |door, begins: &[&[u8]], drips, counted| all.push(Slow { door, begins: begins.concat(), drips, counted });
    for door in [Door::Http, Door::Admin] {
        add(door, &[], None, HEAD_TOO_SLOW);
        add(door, &[b"GET /livez HTTP/1.1\r\nHost: localhost"], None, HEAD_TOO_SLOW);
        add(door, &[b"GET / HTTP/1.1\r\nX: "], Some(b'x'), HEAD_TOO_SLOW);
    }
    // A preface that never becomes one, one that nothing follows, and heads without an end.
    add(Door::Http, &[&PREFACE[..20]], None, HEAD_TOO_SLOW);
    add(Door::Http, &[PREFACE], None, HEAD_TOO_SLOW);
    add(Door::Http, &[PREFACE, SETTINGS], None, HEAD_TOO_SLOW);
    add(Door::Http, &[PREFACE, SETTINGS, HALF_HEAD], None, HEAD_TOO_SLOW);
    add(Door::Http, &[PREFACE, SETTINGS, HALF_HEAD], Some(b'x'), HEAD_TOO_SLOW);
    for door in [Door::Grpc, Door::Unix] {
        add(door, &[], None, HEAD_TOO_SLOW);
        add(door, &[&PREFACE[..20]], None, HEAD_TOO_SLOW);
        add(door, &[PREFACE], None, REFUSED);
        add(door, &[PREFACE, SETTINGS], None, REFUSED);
        add(door, &[PREFACE, SETTINGS, HALF_HEAD], None, REFUSED);
        add(door, &[PREFACE, SETTINGS, HALF_HEAD], Some(b'x'), REFUSED);
    }
    all
}

/// Returns when it is closed.
async fn be_slow(scene: &Scene, slow: &Slow) {
    let mut socket = scene.connect(slow.door).await;
    shout(&mut socket, &slow.begins).await;
    let (mut scratch, what) = ([0; 256], format!("{:?}: {:?}", slow.door, String::from_utf8_lossy(&slow.begins)));
    soon(&format!("{what} is never closed"), async {
        loop {
            match timeout(DRIP, socket.read(&mut scratch)).await {
                Ok(Ok(0) | Err(_)) => break,
                // The broker's own frames.
                Ok(Ok(_)) => {}
                Err(_) => shout(&mut socket, slow.drips.as_slice()).await,
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_slow_is_cut_off_on_every_listener_at_every_stage_and_counted() {
    let mut config = impatient();
    config.grpc.first_call_timeout = Duration::from_millis(300);
    // So that who asks without a key may do nothing.
    config.dev = false;
    config.keys.push(Key::new("backend", KeyHash::of(b"the key")));
    let node = Scene::with(config).await;
    let all = all();
    let began = Instant::now();
    futures_util::future::join_all(all.iter().map(|slow| be_slow(&node, slow))).await;
    // The longest are ten seconds: of the admin listener, and of a preface over gRPC.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for series in [HEAD_TOO_SLOW, REFUSED] {
        let due = all.iter().filter(|slow| slow.counted == series).count() as u64;
        node.until(series, |count| count >= due).await;
        assert_eq!(node.metric(series).await, due, "{series}: each once");
    }
    node.until("tidings_connections", |open| open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_send_nothing_do_not_keep_a_strangers_connection() {
    let mut config = impatient();
    config.grpc.first_call_timeout = Duration::from_millis(300);
    config.dev = false;
    config.keys.push(Key::new("backend", KeyHash::of(b"the key")));
    let node = Scene::with(config).await;
    let to = node.node.addresses().grpc.unwrap();
    let socket = tokio::net::TcpStream::connect(to).await.unwrap();
    let (executor, io) = (hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(socket));
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let ended = tokio::spawn(connection);
    let mut calls = tokio::task::JoinSet::new();
    for (number, method) in ["Publish", "PublishStream", "Subscribe", "History"].into_iter().cycle().take(40).enumerate() {
        let silent =
            http_body_util::StreamBody::new(futures_util::stream::pending::<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>());
        let request = http::Request::post(format!("http://{to}/tidings.v1.Broker/{method}")).header("te", "trailers");
        let request = request.header("content-type", "application/grpc").body(silent).unwrap();
        let mut sender = sender.clone();
        calls.spawn(async move { (number, sender.send_request(request).await.map(|answer| answer.headers().clone())) });
    }
    // Each is answered at once, without a byte of its message.
    while let Some(call) = soon("an answer", calls.join_next()).await {
        let (number, answer) = call.unwrap();
        let status = tonic::Status::from_header_map(&answer.unwrap()).unwrap();
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{number}: {status:?}");
    }
    let _ = soon("the connection is closed", ended).await.unwrap();
    drop(sender);
    node.until(REFUSED, |count| count == 1).await;
    node.until("tidings_connections", |open| open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_rests_between_two_questions_is_no_fault() {
    let node = Scene::with(impatient()).await;
    let mut operator = node.connect(Door::Admin).await;
    shout(&mut operator, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut heard = Vec::new();
    // Ten seconds after the answer.
    soon("the end", operator.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(node.metric(HEAD_TOO_SLOW).await, 0);
}
