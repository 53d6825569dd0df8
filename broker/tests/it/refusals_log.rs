//! What the log of a real daemon says of connections and requests that are too many, and of what is open: whose it was and at which
//! limit, and no secret.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use tidings::auth::config::KeyHash;
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::raw::{Raw, ask, request};
use crate::support::{Daemon, Http1};

const SECRET: &str = "the secret of these tests, long enough for HS256";
const KEY: &str = "a-key-that-no-line-may-hold";
const OPEN: &str = "namespaces.default={allow: {subscribe: anyone, publish: anyone, history: anyone}, unlisted: true}";

fn file() -> String {
    format!(
        "tokens: {{keys: [{{algorithm: HS256, secret: '{SECRET}'}}]}}
keys: [{{name: wild, sha256: {}}}]
",
        KeyHash::of(KEY.as_bytes())
    )
}

/// A token that may listen everywhere, of `ann` or of nobody.
fn token(user: Option<&str>) -> String {
    let secret = Some(Secret::new(SECRET));
    let key = TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None };
    let mut claims = json!({ "exp": 4_102_444_800_u64, "channels": [{ "match": "*", "can": ["subscribe"] }] });
    if let Some(user) = user {
        claims["sub"] = user.into();
    }
    sign(&SigningKey::of_secret(&key).unwrap(), &claims).unwrap()
}

async fn daemon(keys: &[&str]) -> Daemon {
    let keys: Vec<&str> = ["dev=false", OPEN].iter().chain(keys).copied().collect();
    Daemon::start_from(&file(), &keys).await
}

fn says(line: &Value, reason: &str, limit: &str, whose: &str) {
    assert_eq!([&line["reason"], &line["limit"], &line["whose"]], [reason, limit, whose], "{line}");
    assert_eq!((&line["level"], line["unsaid"].is_u64()), (&json!("info"), true), "{line}");
}

/// Streams that are open; the last one asked for is refused.
async fn streams(daemon: &Daemon, count: usize, query: &str) -> Vec<Http1> {
    let mut held = Vec::new();
    for number in 0..=count {
        let mut stream = Http1::get(daemon.http, "1.1", &format!("/stream?channel=a{query}"), "", None).await;
        assert_eq!(stream.status().await, if number < count { 200 } else { 503 });
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn a_connection_too_many_is_said_with_its_limit_and_whose_it_was() {
    let mut node = daemon(&["limits.connections=2"]).await;
    let _held = streams(&node, 2, "").await;
    says(&node.logged("connection_refused").await, "limit", "limits.connections", "address 127.0.0.1");

    let mut node = daemon(&["limits.connections_per_address=2"]).await;
    let _held = streams(&node, 2, "").await;
    says(&node.logged("connection_refused").await, "address", "limits.connections_per_address", "address 127.0.0.1");

    let mut node = daemon(&["limits.connections_per_user=1"]).await;
    let token = token(Some("ann"));
    let _held = streams(&node, 1, &format!("&token={token}")).await;
    let line = node.logged("connection_refused").await;
    says(&line, "user", "limits.connections_per_user", "user ann");
    assert!(!line.to_string().contains(&token), "{line}");
}

#[tokio::test]
async fn a_newcomer_that_is_pushed_out_is_said() {
    let mut node = daemon(&["limits.connections_pending=1"]).await;
    let first = TcpStream::connect(node.http).await.unwrap();
    let second = TcpStream::connect(node.http).await.unwrap();
    says(&node.logged("connection_refused").await, "limit", "limits.connections_pending", "address 127.0.0.1");
    drop((first, second));
    let first = TcpStream::connect(node.grpc).await.unwrap();
    let second = TcpStream::connect(node.grpc).await.unwrap();
    // Of the public listener it may come twice: the sockets above may still be there.
    says(&node.logged("connection_refused").await, "limit", "limits.connections_pending", "address 127.0.0.1");
    drop((first, second));
}

#[tokio::test]
async fn the_admin_listener_says_whom_it_turns_away() {
    let mut node = daemon(&[]).await;
    let mut held = Vec::new();
    for _ in 0..65 {
        held.push(TcpStream::connect(node.admin).await.unwrap());
    }
    says(&node.logged("connection_refused").await, "limit", "admin_connections", "address 127.0.0.1");
    drop(held);
    let unknown = request("GET", "/api/overview", node.admin, &format!("Authorization: Bearer {KEY}\r\n"));
    assert_eq!(ask(node.admin, unknown).await.status, 403);
    let line = node.logged("admin_refused").await;
    assert_eq!([&line["path"], &line["whose"]], ["/api/overview", "address 127.0.0.1"], "{line}");
    assert!(line["unsaid"].is_u64() && !line.to_string().contains(KEY), "{line}");
}

#[tokio::test]
async fn a_connection_and_a_rate_over_the_unix_socket_are_of_who_runs_the_caller() {
    let home = tempfile::tempdir().unwrap();
    let (socket, uid) = (home.path().join("grpc.sock"), std::fs::metadata(home.path()).unwrap().uid());
    let mut node = daemon(&["limits.byte_rate=50B", "limits.connections_pending=1", &format!("grpc.unix={}", socket.display())]).await;
    let held = (UnixStream::connect(&socket).await.unwrap(), UnixStream::connect(&socket).await.unwrap());
    says(&node.logged("connection_refused").await, "limit", "limits.connections_pending", &format!("uid {uid}"));
    drop(held);
    let mut client = BrokerClient::new(Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap());
    let publish = |bytes: usize| v1::PublishRequest { channel: "a".into(), data: vec![b'x'; bytes].into(), ..Default::default() };
    client.publish(publish(20_000)).await.unwrap();
    assert_eq!(client.publish(publish(1)).await.unwrap_err().code(), Code::ResourceExhausted);
    exceeds(&node.logged("rate_exceeded").await, "caller_bytes", "limits.byte_rate", &format!("uid {uid}"));
}

/// Lines of rates: which, at which limit, and whose.
fn exceeds(line: &Value, rate: &str, limit: &str, whose: &str) {
    assert_eq!([&line["rate"], &line["limit"], &line["whose"]], [rate, limit, whose], "{line}");
    let text = line.to_string();
    assert!(line["unsaid"].is_u64() && !text.contains(KEY) && !text.contains(SECRET), "{line}");
}

#[tokio::test]
async fn a_rate_that_is_exceeded_over_http_and_grpc_is_said() {
    let much = "x".repeat(20_000);
    let publish = |to, bearer: &str| request("POST", "/v1/channels/a/messages", to, &format!("{bearer}Content-Length: 20000\r\n")) + &much;
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    let mut node = daemon(&["limits.byte_rate=50B"]).await;
    let to = node.http;
    assert_eq!(ask(to, publish(to, &bearer)).await.status, 200);
    assert_eq!(ask(to, publish(to, &bearer)).await.status, 503);
    exceeds(&node.logged("rate_exceeded").await, "caller_bytes", "limits.byte_rate", "key wild");
    let grpc = Endpoint::from_shared(format!("http://{}", node.grpc)).unwrap().connect().await.unwrap();
    let mut publish_request = Request::new(v1::PublishRequest { channel: "a".into(), data: "x".into(), ..Default::default() });
    publish_request.metadata_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    assert_eq!(BrokerClient::new(grpc).publish(publish_request).await.unwrap_err().code(), Code::ResourceExhausted);
    exceeds(&node.logged("rate_exceeded").await, "caller_bytes", "limits.byte_rate", "key wild");
    assert_eq!(ask(to, publish(to, "")).await.status, 200);
    assert_eq!(ask(to, publish(to, "")).await.status, 503);
    exceeds(&node.logged("rate_exceeded").await, "caller_bytes", "limits.byte_rate", "address 127.0.0.1");

    let mut node = daemon(&["limits.subscribe_rate=1"]).await;
    let channels: Vec<String> = (0..20).map(|n| format!("channel=%7Bt%7D{n}")).collect();
    let mut raw = Raw::connect(node.http).await;
    let token = token(None);
    raw.send(request("GET", &format!("/sse?{}&token={token}", channels.join("&")), node.http, "")).await;
    assert_eq!(raw.head().await.status, 503);
    let line = node.logged("rate_exceeded").await;
    exceeds(&line, "caller_subscribes", "limits.subscribe_rate", "address 127.0.0.1");
    assert!(!line.to_string().contains(&token), "{line}");

    let mut node = daemon(&["limits.failure_rate=1"]).await;
    let forged = format!("{}A", token.strip_suffix(token.chars().next_back().unwrap()).unwrap().replace('.', ".e"));
    let forged = request("GET", "/poll?channel=a", node.http, &format!("Authorization: Bearer {forged}\r\n"));
    while ask(node.http, &forged).await.status != 503 {}
    exceeds(&node.logged("rate_exceeded").await, "caller_failures", "limits.failure_rate", "address 127.0.0.1");
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_few_lines_and_a_number() {
    const REFUSED: u64 = 300;
    let mut node = daemon(&["limits.byte_rate=50B", "log.lines_per_second=0"]).await;
    let (to, much) = (node.http, "x".repeat(20_000));
    let mut raw = Raw::connect(to).await;
    for number in 0..=REFUSED {
        raw.send(request("POST", "/v1/channels/a/messages", to, "Content-Length: 20000\r\n") + &much).await;
        assert_eq!(raw.answer().await.status, if number == 0 { 200 } else { 503 });
    }
    node.terminate();
    let (mut lines, mut unsaid, mut seconds) = (0, 0, std::collections::BTreeSet::new());
    while let Some(line) = node.log_line().await {
        if line["event"] == "rate_exceeded" {
            lines += 1;
            unsaid += line["unsaid"].as_u64().unwrap();
            seconds.insert(line["time"].as_str().unwrap()[..19].to_owned());
        }
    }
    // The process counts its seconds from its start, so that two of its own may lie in one of the clock's.
    assert!(lines <= 20 * (seconds.len() as u64 + 1), "{lines} lines in {} seconds", seconds.len());
    assert!(lines + unsaid <= REFUSED && lines > 0, "{lines} said, {unsaid} unsaid");
}

#[tokio::test]
async fn what_is_open_to_anyone_is_said_at_the_start() {
    let past = "namespaces.past={allow: {history: anyone, presence: anyone}}";
    let feed = "namespaces.feed={allow: {subscribe: anyone}}";
    let mut node = Daemon::start_heard(&["dev=false", past, feed]).await;
    let line = node.logged("open").await;
    assert_eq!((&line["why"], &line["level"]), (&json!("namespaces"), &json!("info")));
    let named = ["subscribe", "publish", "history", "presence"].map(|action| line[action].as_str().unwrap_or_default());
    assert_eq!(named, ["feed", "", "past", "past"], "{line}");
    let mut node = Daemon::start_heard(&["dev=false", past]).await;
    assert_eq!(node.logged("open").await["history"], "past", "though nobody may listen or publish");
    let mut node = Daemon::start_from(&file(), &[]).await;
    assert_eq!(node.logged("open").await["why"], "dev_with_keys");
}

#[tokio::test]
async fn where_strangers_may_come_it_is_said_that_one_may_have_all_connections_unless_that_is_decided() {
    let started = async |keys: &[&str]| {
        let mut node = daemon(keys).await;
        loop {
            let line = node.log_line().await.unwrap();
            if ["unbounded", "listening"].iter().any(|event| line["event"] == *event) {
                return line;
            }
        }
    };
    let line = started(&["http.listen=0.0.0.0:0"]).await;
    assert_eq!([&line["event"], &line["limit"], &line["level"]], ["unbounded", "limits.connections_per_address", "info"], "{line}");
    for decided in ["limits.connections_per_address=200", "http.trusted_proxies=[10.0.0.1]", "http.listen=127.0.0.1:0"] {
        let line = started(&["http.listen=0.0.0.0:0", decided]).await;
        assert_eq!(line["event"], "listening", "{decided}: {line}");
    }
}
