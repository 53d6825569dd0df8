//! The gRPC surface through stock clients: the generated one, the SDK, and bare bytes.

use std::collections::HashSet;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings::config::Config;
use tidings::node::Node;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tidings_proto::v1::publish_ack::Outcome as Ack;
use tidings_proto::v1::publish_outcome::Outcome;
use tidings_proto::v1::subscribe_reply::Reply;
use tidings_proto::v1::subscribe_request::Since;
use tidings_sdk::{Client, Code as SdkCode, Error, Message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

fn config() -> Config {
    let mut config = Config { dev: true, ..Config::default() };
    config.http.listen.set_port(0);
    config.admin.listen.set_port(0);
    config.grpc.listen = Some("127.0.0.1:0".parse().unwrap());
    config
}

async fn start() -> Node {
    Node::start(config()).await.unwrap()
}

async fn start_with_heartbeats_after(milliseconds: u64) -> Node {
    let mut config = config();
    config.shard.heartbeat_min = Duration::from_millis(milliseconds);
    config.shard.heartbeat_max = Duration::from_millis(milliseconds);
    Node::start(config).await.unwrap()
}

fn address(node: &Node) -> String {
    format!("http://{}", node.addresses().grpc.unwrap())
}

async fn client(node: &Node) -> BrokerClient<Channel> {
    BrokerClient::new(Endpoint::from_shared(address(node)).unwrap().connect().await.unwrap())
}

fn publish(channel: &str, data: &str) -> v1::PublishRequest {
    v1::PublishRequest { channel: channel.into(), data: data.to_owned().into(), ..Default::default() }
}

fn subscribe(channels: &[&str], since: Option<Since>) -> v1::SubscribeRequest {
    v1::SubscribeRequest { channels: channels.iter().map(ToString::to_string).collect(), since, ..Default::default() }
}

/// The next message and the cursor after it.
async fn next_message(replies: &mut Streaming<v1::SubscribeReply>) -> (v1::Message, String) {
    loop {
        let reply = replies.message().await.unwrap().unwrap();
        match reply.reply.unwrap() {
            Reply::Message(message) => return (message, reply.cursor),
            Reply::Subscribed(_) | Reply::Heartbeat(_) | Reply::Cluster(_) | Reply::Presence(_) => {}
            other => panic!("expected a message, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_sdk_publishes_and_a_subscriber_hears_everything_that_was_said() {
    let node = start().await;
    let mut replies = client(&node).await.subscribe(subscribe(&["news"], None)).await.unwrap().into_inner();
    let first = replies.message().await.unwrap().unwrap();
    assert!(matches!(first.reply, Some(Reply::Subscribed(_))) && !first.cursor.is_empty());
    let message = Message::new("{\"a\":1}").content_type("application/json").event("e").id("mine").header("k", "v");
    let published = Client::connect(&address(&node)).await.unwrap().publish("news", message).await.unwrap();
    assert_eq!((published.offset, published.copies, published.duplicate, published.id.as_str()), (1, 1, false, "mine"));
    let (heard, cursor) = next_message(&mut replies).await;
    assert_eq!((heard.channel.as_str(), heard.offset, &heard.data[..]), ("news", 1, &b"{\"a\":1}"[..]));
    assert_eq!((heard.event.as_str(), heard.content_type.as_str(), heard.headers["k"].as_str()), ("e", "application/json", "v"));
    assert_eq!((&heard.cursor, &cursor, heard.id.as_str()), (&published.cursor, &published.cursor, "mine"));
    assert!(heard.time_ms > 1_600_000_000_000);
}

#[tokio::test]
async fn a_repeat_within_its_window_is_a_duplicate() {
    let node = start().await;
    let mut client = client(&node).await;
    for id in [
        v1::PublishRequest { id: "k".into(), ..publish("a", "x") },
        v1::PublishRequest { retry_id: vec![9; 16].into(), ..publish("a", "y") },
    ] {
        let first = client.publish(id.clone()).await.unwrap().into_inner();
        let again = client.publish(id).await.unwrap().into_inner();
        assert!(!first.duplicate && again.duplicate);
        assert_eq!((first.offset, first.cursor), (again.offset, again.cursor));
    }
}

#[tokio::test]
async fn a_refusal_carries_the_code_of_the_error_table() {
    let node = start().await;
    let mut client = client(&node).await;
    let refusals = [
        (publish("", "x"), Code::InvalidArgument, "invalid_request"),
        (v1::PublishRequest { retry_id: vec![1; 15].into(), ..publish("a", "x") }, Code::InvalidArgument, "invalid_request"),
        (v1::PublishRequest { event: "tidings:gap".into(), ..publish("a", "x") }, Code::InvalidArgument, "invalid_request"),
        (v1::PublishRequest { data: vec![0; 100_000].into(), ..publish("a", "") }, Code::ResourceExhausted, "too_large"),
    ];
    for (request, code, name) in refusals {
        let status = client.publish(request).await.unwrap_err();
        assert_eq!((status.code(), status.metadata().get("tidings-code").unwrap().to_str().unwrap()), (code, name), "{status}");
        assert!(!status.message().is_empty());
    }
    let status = client.subscribe(subscribe(&["a"], Some(Since::Cursor("nonsense".into())))).await.unwrap_err();
    assert_eq!(status.metadata().get("tidings-code").unwrap(), "invalid_cursor");
}

fn code_of(status: &tonic::Status) -> (Code, &str) {
    (status.code(), status.metadata().get("tidings-code").map_or("none", |code| code.to_str().unwrap()))
}

#[tokio::test]
async fn a_request_over_the_bound_of_the_wire_is_refused_by_the_table_on_every_kind_of_call() {
    let mut config = config();
    config.grpc.message_bytes = 128 << 10;
    let node = Node::start(config).await.unwrap();
    let mut client = client(&node).await;
    let large = || publish("a", &"x".repeat(200_000));
    let one = client.publish(large()).await.unwrap_err();
    let batch = client.publish_batch(v1::PublishBatchRequest { messages: vec![large()] }).await.unwrap_err();
    let subscribe = client.subscribe(subscribe(&[&"x".repeat(200_000)], None)).await.unwrap_err();
    let requests = [v1::PublishStreamRequest { seq: 1, publish: Some(large()) }];
    let mut acks = client.publish_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let stream = acks.message().await.unwrap_err();
    for status in [one, batch, subscribe, stream] {
        assert_eq!(code_of(&status), (Code::ResourceExhausted, "too_large"), "{status}");
        assert!(status.message().contains("131072 bytes") && status.message().contains("grpc.message_bytes"), "{status}");
    }
    client.publish(publish("a", "x")).await.unwrap();
}

#[tokio::test]
async fn what_is_no_message_or_no_method_is_refused_by_the_table() {
    let node = start().await;
    let call = async |method: &str| {
        let mut client = tonic::client::Grpc::new(Endpoint::from_shared(address(&node)).unwrap().connect().await.unwrap());
        client.ready().await.unwrap();
        // Its first field is a number where a publish has its channel.
        let request = Request::new(v1::PublishAck { seq: 7, outcome: None });
        let codec = tonic_prost::ProstCodec::<v1::PublishAck, v1::PublishResult>::default();
        client.unary(request, format!("/tidings.v1.Broker/{method}").parse().unwrap(), codec).await.unwrap_err()
    };
    assert_eq!(code_of(&call("Publish").await), (Code::InvalidArgument, "invalid_request"));
    assert_eq!(code_of(&call("Nothing").await), (Code::Unimplemented, "method_not_allowed"));
}

#[tokio::test]
async fn a_page_larger_than_there_can_be_is_refused_as_over_http() {
    let node = start().await;
    let mut client = client(&node).await;
    let history = client.history(v1::HistoryRequest { channel: "a".into(), limit: 1_001, ..Default::default() }).await.unwrap_err();
    let channels = client.channels(v1::ChannelsRequest { limit: u32::MAX, ..Default::default() }).await.unwrap_err();
    for status in [history, channels] {
        assert_eq!(code_of(&status), (Code::InvalidArgument, "invalid_request"));
        assert!(status.message().contains("from 1 to 1000"), "{status}");
    }
    client.channels(v1::ChannelsRequest { limit: 1_000, ..Default::default() }).await.unwrap();
}

#[tokio::test]
async fn words_of_a_refusal_name_what_a_grpc_client_can_set() {
    let node = start().await;
    let status = client(&node).await.subscribe(subscribe(&[], None)).await.unwrap_err();
    assert_eq!(
        (code_of(&status), status.message()),
        ((Code::InvalidArgument, "invalid_request"), "name at least one channel in `channels`")
    );
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_one_refusal_stops_nobody() {
    let node = start().await;
    let messages = vec![publish("a", "1"), publish("", "2"), publish("a", "3")];
    let response = client(&node).await.publish_batch(v1::PublishBatchRequest { messages }).await.unwrap().into_inner();
    let [first, second, third] = &response.outcomes[..] else { panic!("{response:?}") };
    assert!(matches!(&first.outcome, Some(Outcome::Result(result)) if result.offset == 1));
    assert!(matches!(&second.outcome, Some(Outcome::Error(error)) if error.code == "invalid_request" && !error.retry));
    assert!(matches!(&third.outcome, Some(Outcome::Result(result)) if result.offset == 2));
}

#[tokio::test]
async fn one_message_reaches_several_channels() {
    let node = start().await;
    let results = Client::connect(&address(&node)).await.unwrap().publish_to(["a", "", "b"], "x").await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().channel, "a");
    assert_eq!(results[1].as_ref().unwrap_err().code, SdkCode::InvalidRequest);
    assert_eq!(results[2].as_ref().unwrap().channel, "b");
}

#[tokio::test]
async fn a_stream_acks_each_message_in_order_and_goes_on_after_an_error() {
    let node = start().await;
    let requests =
        (1..=500).map(|seq| v1::PublishStreamRequest { seq, publish: (seq != 7).then(|| publish(if seq == 9 { "" } else { "a" }, "x")) });
    let mut acks = client(&node).await.publish_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut offset = 0;
    for seq in 1..=500 {
        let ack = acks.message().await.unwrap().unwrap();
        assert_eq!(ack.seq, seq);
        match ack.outcome.unwrap() {
            Ack::Result(result) => {
                offset += 1;
                assert_eq!(result.offset, offset);
            }
            Ack::Error(error) => assert!(matches!((seq, error.code.as_str()), (7 | 9, "invalid_request"))),
        }
    }
    assert_eq!((offset, acks.message().await.unwrap()), (498, None));
}

#[tokio::test]
async fn thousands_of_tiny_publishes_on_each_of_twelve_streams_do_not_kill_the_connection() {
    let node = start().await;
    let client = Client::connect(&address(&node)).await.unwrap();
    let streams = (0..12).map(|n| {
        let stream = client.publish_stream(2_000);
        tokio::spawn(async move {
            let mut last = None;
            for _ in 0..3_000 {
                last = Some(stream.publish(format!("c{n}"), "x").await.unwrap());
            }
            let last = last.unwrap().await.unwrap();
            stream.finish().await.unwrap();
            (last.offset, last.duplicate)
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        assert_eq!(stream.await.unwrap(), (3_000, false), "every message once, none sent twice");
    }
}

#[tokio::test]
async fn a_client_that_leaves_its_acks_unread_is_held_back_and_not_cut_off() {
    let node = start().await;
    let mut client = client(&node).await;
    let requests = (1..=10_000).map(|seq| v1::PublishStreamRequest { seq, publish: Some(publish("a", "x")) });
    let mut acks = client.publish_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    // Others on the same connection go on while nobody reads those acks.
    for _ in 0..50 {
        client.publish(publish("b", "x")).await.unwrap();
    }
    for seq in 1..=10_000 {
        assert_eq!(acks.message().await.unwrap().unwrap().seq, seq);
    }
}

#[tokio::test]
async fn a_subscriber_cut_off_anywhere_resumes_without_loss_or_repeat() {
    let node = start().await;
    let mut client = client(&node).await;
    for n in 0..50 {
        client.publish(publish(["{u}a", "b", "{u}c"][n % 3], &n.to_string())).await.unwrap();
    }
    let mut seen = HashSet::new();
    let mut order: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    let mut since = Since::Earliest(true);
    for cut_after in (1..8).cycle() {
        let request = subscribe(&["{u}a", "b", "{u}c"], Some(since.clone()));
        let mut replies = client.subscribe(request).await.unwrap().into_inner();
        for _ in 0..cut_after.min(50 - seen.len()) {
            let (message, cursor) = next_message(&mut replies).await;
            assert!(seen.insert((message.channel.clone(), message.offset)), "{message:?} came twice");
            let before = order.insert(message.channel.clone(), message.offset).unwrap_or(0);
            assert_eq!(message.offset, before + 1, "of {}", message.channel);
            since = Since::Cursor(cursor);
        }
        if seen.len() == 50 {
            return;
        }
    }
}

#[tokio::test]
async fn a_quiet_subscription_gets_heartbeats_with_a_fresh_cursor() {
    let (silence, node) = (Duration::from_secs(1), start_with_heartbeats_after(1000).await);
    let mut client = client(&node).await;
    let mut replies = client.subscribe(subscribe(&["{u}quiet"], None)).await.unwrap().into_inner();
    let joined = replies.message().await.unwrap().unwrap();
    let said = tokio::time::Instant::now();
    client.publish(publish("{u}busy", "x")).await.unwrap();
    let reply = replies.message().await.unwrap().unwrap();
    // What came first may have been on its way for a moment.
    assert!(said.elapsed() > silence / 2, "{:?}", said.elapsed());
    assert!(matches!(reply.reply, Some(Reply::Heartbeat(_))), "{reply:?}");
    assert_ne!(reply.cursor, joined.cursor, "the slot moved on, and so does the cursor");
}

#[tokio::test]
async fn heartbeat_after_heartbeat_the_cursor_keeps_up_with_its_slot() {
    let node = start_with_heartbeats_after(1000).await;
    let mut client = client(&node).await;
    let mut replies = client.subscribe(subscribe(&["{u}quiet"], None)).await.unwrap().into_inner();
    let mut before = replies.message().await.unwrap().unwrap().cursor;
    for beat in 1..=3 {
        let busy = client.publish(publish("{u}busy", "x")).await.unwrap().into_inner();
        let reply = replies.message().await.unwrap().unwrap();
        assert!(matches!(reply.reply, Some(Reply::Heartbeat(_))), "{reply:?}");
        assert_ne!(reply.cursor, before, "heartbeat {beat} repeats a cursor of which the slot is ahead");
        assert_eq!(reply.cursor, busy.cursor, "heartbeat {beat} stands where the slot stands");
        before = reply.cursor;
    }
    let mut replies = client.subscribe(subscribe(&["{u}quiet"], Some(Since::Cursor(before)))).await.unwrap().into_inner();
    client.publish(publish("{u}quiet", "back")).await.unwrap();
    assert_eq!(next_message(&mut replies).await.0.data, "back");
}

#[tokio::test]
async fn last_gives_the_newest_and_goes_on() {
    let node = start().await;
    let mut client = client(&node).await;
    for n in 0..5 {
        client.publish(publish("a", &n.to_string())).await.unwrap();
    }
    let mut replies = client.subscribe(subscribe(&["a"], Some(Since::Last(2)))).await.unwrap().into_inner();
    client.publish(publish("a", "5")).await.unwrap();
    for offset in 4..=6 {
        assert_eq!(next_message(&mut replies).await.0.offset, offset);
    }
}

#[tokio::test]
async fn history_is_read_page_by_page_and_cleared() {
    let node = start().await;
    let mut client = client(&node).await;
    for n in 1..=5 {
        client.publish(publish("a", &n.to_string())).await.unwrap();
    }
    let mut offsets = Vec::new();
    let mut since = String::new();
    loop {
        let request = v1::HistoryRequest { channel: "a".into(), since, limit: 2, order: 0 };
        let page = client.history(request).await.unwrap().into_inner();
        assert_eq!(page.gap, None);
        if page.messages.is_empty() {
            break;
        }
        offsets.extend(page.messages.iter().map(|message| message.offset));
        since = page.cursor;
    }
    assert_eq!(offsets, [1, 2, 3, 4, 5]);
    let newest = v1::HistoryRequest { channel: "a".into(), limit: 2, order: v1::Order::NewestFirst.into(), ..Default::default() };
    let page = client.history(newest.clone()).await.unwrap().into_inner();
    assert_eq!(page.messages.iter().map(|message| message.offset).collect::<Vec<_>>(), [5, 4]);
    assert!(!client.clear(v1::ClearRequest { channel: "a".into() }).await.unwrap().into_inner().cursor.is_empty());
    assert!(client.history(newest).await.unwrap().into_inner().messages.is_empty());
}

#[tokio::test]
async fn a_page_of_history_fits_into_one_grpc_message() {
    let node = start().await;
    let mut client = client(&node).await;
    for _ in 0..80 {
        client.publish(v1::PublishRequest { data: vec![7; 60_000].into(), ..publish("a", "") }).await.unwrap();
    }
    let (mut since, mut before) = (String::new(), 0);
    loop {
        let page = client.history(v1::HistoryRequest { channel: "a".into(), since, limit: 1000, order: 0 }).await.unwrap().into_inner();
        let Some(last) = page.messages.last() else { break };
        let first = page.messages[0].offset;
        assert!(before == 0 || first == before + 1, "page follows page: {first} after {before}");
        (since, before) = (page.cursor, last.offset);
    }
    assert_eq!(before, 80);
}

#[tokio::test]
async fn channels_are_listed_by_prefix() {
    let node = start().await;
    let mut client = client(&node).await;
    for channel in ["chat:b", "chat:a", "news"] {
        client.publish(publish(channel, "x")).await.unwrap();
    }
    let request = v1::ChannelsRequest { prefix: "chat:".into(), ..Default::default() };
    let page = client.channels(request).await.unwrap().into_inner();
    let listed: Vec<_> = page.channels.iter().map(|info| (info.channel.as_str(), info.offset, info.messages)).collect();
    assert_eq!(listed, [("chat:a", 1, 1), ("chat:b", 1, 1)]);
    assert_eq!(page.next, "");
}

#[tokio::test]
async fn without_its_key_nobody_passes_and_probes_need_none() {
    use tidings::auth::config::{Key, KeyHash};
    let mut config = config();
    config.keys.push(Key::new("backend", KeyHash::of(b"secret")));
    let node = Node::start(config).await.unwrap();
    let status = client(&node).await.publish(publish("a", "x")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.metadata().get("tidings-code").unwrap().to_str().unwrap()),
        (Code::Unauthenticated, "unauthenticated")
    );
    let sdk = Client::connect(&address(&node)).await.unwrap();
    let wrong = sdk.clone().with_key("wrong").unwrap().publish("a", "x").await.unwrap_err();
    assert!(matches!(wrong, Error::Refused(refused) if refused.code == SdkCode::Unauthenticated));
    sdk.with_key("secret").unwrap().publish("a", "x").await.unwrap();
    is_serving(&mut health(&node).await).await;
}

/// Waits until the node says it serves, which it does once its first self-probe has passed.
async fn is_serving(health: &mut tonic_health::pb::health_client::HealthClient<Channel>) {
    let mut watch = health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status != 1 {}
}

async fn health(node: &Node) -> tonic_health::pb::health_client::HealthClient<Channel> {
    tonic_health::pb::health_client::HealthClient::new(Endpoint::from_shared(address(node)).unwrap().connect().await.unwrap())
}

#[tokio::test]
async fn the_health_service_knows_the_server_and_its_service() {
    use tonic_health::pb::HealthCheckRequest;
    let node = start().await;
    let mut health = health(&node).await;
    is_serving(&mut health).await;
    for service in ["", "tidings.v1.Broker"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
}

#[tokio::test]
async fn reflection_describes_the_service() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let node = start().await;
    let mut client = ServerReflectionClient::new(Endpoint::from_shared(address(&node)).unwrap().connect().await.unwrap());
    let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let questions =
        [ask(MessageRequest::ListServices(String::new())), ask(MessageRequest::FileContainingSymbol("tidings.v1.Broker".into()))];
    let mut answers = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.next().await.unwrap().unwrap().message_response else { panic!() };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"tidings.v1.Broker") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let described = answers.next().await.unwrap().unwrap().message_response;
    assert!(matches!(described, Some(MessageResponse::FileDescriptorResponse(file)) if !file.file_descriptor_proto.is_empty()));
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let node = start().await;
    for path in ["/tidings.v1.Broker/Nothing", "/nobody.v9.Knows/This"] {
        let mut grpc = tonic::client::Grpc::new(Endpoint::from_shared(address(&node)).unwrap().connect().await.unwrap());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<v1::ClearRequest, v1::ClearResponse>::default();
        let status = grpc.unary(Request::new(v1::ClearRequest::default()), path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn somebody_at_the_wrong_door_is_told_so() {
    let node = start().await;
    let mut http1 = TcpStream::connect(node.addresses().grpc.unwrap()).await.unwrap();
    http1.write_all(b"GET /sse?channel=a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    http1.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks gRPC"), "{answer}");

    let socket = TokioIo::new(TcpStream::connect(node.addresses().grpc.unwrap()).await.unwrap());
    let (mut http2, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(address(&node)).body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = http2.send_request(request).await.unwrap();
    assert_eq!(response.status(), 415);
    assert!(String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()).contains("speaks gRPC"));
}

#[tokio::test]
async fn garbage_hurts_nobody() {
    let node = start().await;
    for garbage in [&b"\0\0\0\0\0\0\0\0"[..], b"\x16\x03\x01\x02\0\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame", b"P"]
    {
        let mut socket = TcpStream::connect(node.addresses().grpc.unwrap()).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    }
    client(&node).await.publish(publish("a", "x")).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidings.sock");
    let mut config = config();
    config.grpc.unix = Some(path.clone());
    let _node = Node::start(config).await.unwrap();
    let client = Client::connect(&format!("unix:{}", path.display())).await.unwrap();
    assert_eq!(client.publish("a", "x").await.unwrap().offset, 1);
}

#[tokio::test]
async fn a_drain_flushes_acks_ends_streams_and_says_why() {
    let node = start().await;
    let mut client = client(&node).await;
    let mut replies = client.subscribe(subscribe(&["a"], None)).await.unwrap().into_inner();
    assert!(matches!(replies.message().await.unwrap().unwrap().reply, Some(Reply::Subscribed(_))));
    let (requests, stream) = tokio::sync::mpsc::channel(10);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut acks = client.publish_stream(stream).await.unwrap().into_inner();
    for seq in 1..=3 {
        requests.send(v1::PublishStreamRequest { seq, publish: Some(publish("b", "x")) }).await.unwrap();
    }
    assert_eq!(acks.message().await.unwrap().unwrap().seq, 1);
    let draining = tokio::spawn(node.drain());
    assert_eq!(acks.message().await.unwrap().unwrap().seq, 2);
    assert_eq!(acks.message().await.unwrap().unwrap().seq, 3);
    let status = acks.message().await.unwrap_err();
    assert_eq!((status.code(), status.metadata().get("tidings-code").unwrap().to_str().unwrap()), (Code::Unavailable, "draining"));
    let last = replies.message().await.unwrap().unwrap();
    let Some(Reply::Closed(closed)) = last.reply else { panic!("{last:?}") };
    assert!(closed.code == "draining" && closed.retry && closed.retry_after_ms > 0 && !last.cursor.is_empty());
    assert!(replies.message().await.unwrap().is_none());
    tokio::time::timeout(Duration::from_secs(10), draining).await.unwrap().unwrap();
}
