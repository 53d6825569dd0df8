//! The broker inside another program. That its streams keep their promises is held in `every_front.rs`.

use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use serde_json::{Value, json};
use tidings::broker::{Delivery, Subscribe};
use tidings::close::CloseReason;
use tidings::config::Config;
use tidings::error::ErrorCode;
use tidings::hub::namespace;
use tidings::node::Embedded;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{EventStream, Framed, Http1, Server, WebSocket, draft, handshake, host, masked, soon};

#[path = "../../examples/adopt.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod adopt_example;
#[path = "../../examples/axum.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod axum_example;
#[path = "../../examples/embed.rs"]
mod embed_example;

fn start(change: impl FnOnce(&mut Config)) -> Embedded {
    let mut config = Config { dev: true, shards: 2, ..Config::default() };
    config.drain.grace = Duration::from_secs(5);
    change(&mut config);
    Embedded::start(config).unwrap()
}

/// What makes a request a handshake.
const UPGRADE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A request without a body, as a server would hand it in.
fn get(target: &str) -> Request<Empty<Bytes>> {
    Request::get(target).header("host", "localhost").body(Empty::new()).unwrap()
}

/// The sum of a metric over all its series.
fn metric(embedded: &Embedded, name: &str) -> f64 {
    let text = embedded.metrics();
    let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Reads an event stream up to its next event.
async fn event(response: &mut Http1, stream: &mut EventStream) -> String {
    loop {
        let bytes = soon("an event", response.read()).await.expect("the stream goes on");
        if let Some(event) = stream.push(&bytes).pop() {
            return event.data;
        }
    }
}

#[test]
fn the_example_in_process_runs() {
    embed_example::main().unwrap();
}

#[tokio::test]
async fn the_example_with_axum_serves_its_own_route_and_the_brokers() {
    let embedded = start(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let app = axum_example::app(&embedded);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut stream = EventStream::default();
    let mut response = Http1::get(to, "1.1", "/push/sse?channel=chat&last=1", "", None).await;
    assert_eq!(soon("the stream", response.status()).await, 200);
    assert_eq!(response.decoder.header("content-type"), Some("text/event-stream"));
    let say = b"POST /say HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let mut said = TcpStream::connect(to).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut said, say).await.unwrap();
    assert_eq!(event(&mut response, &mut stream).await, "hello");

    let mut socket = WebSocket::open(to, "/push/ws?channel=chat", "").await;
    assert!(soon("the beginning", socket.object()).await.unwrap().get("subscribed").is_some());
    socket.say(&json!({ "id": 1, "publish": { "channel": "chat", "text": "from a page" } })).await;
    assert_eq!(event(&mut response, &mut stream).await, "from a page");
    let mut heard = [soon("its own word", socket.object()).await.unwrap(), soon("the answer", socket.object()).await.unwrap()];
    heard.sort_by_key(|object| object["id"] == 1);
    assert_eq!((&heard[0]["message"]["data"], &heard[1]["published"]["offset"]), (&json!("from a page"), &json!(2)));

    let mut page = Http1::get(to, "1.1", "/push/v1/channels/chat/messages", "Connection: close\r\n", None).await;
    let page: Value = serde_json::from_slice(&soon("the history", page.rest()).await).unwrap();
    assert_eq!(page["messages"][0]["data"], "hello");
    let mut nothing = Http1::get(to, "1.1", "/push/nothing", "Connection: close\r\n", None).await;
    assert_eq!(soon("a refusal", nothing.status()).await, 404);
}

#[tokio::test]
async fn the_example_that_shares_its_port_hands_over_what_is_the_brokers() {
    let embedded = Arc::new(start(|_| {}));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(adopt_example::serve(listener, embedded.clone()));

    let mut ours = Http1::get(to, "1.1", "/", "", None).await;
    assert_eq!(soon("our page", ours.rest()).await, b"ours\n");
    let mut stream = EventStream::default();
    let mut response = Http1::get(to, "1.1", "/sse?channel=chat&last=1", "", None).await;
    assert_eq!(soon("the stream", response.status()).await, 200);
    embedded.broker().publish(draft("chat", "hello")).await.unwrap();
    assert_eq!(event(&mut response, &mut stream).await, "hello");
    let mut socket = WebSocket::open(to, "/ws?channel=chat&last=1", "").await;
    assert!(soon("the beginning", socket.object()).await.unwrap().get("subscribed").is_some());
    assert_eq!(soon("the message", socket.object()).await.unwrap()["message"]["data"], "hello");
    assert_eq!(metric(&embedded, "tidings_connections"), 2.0, "only what was handed over is the broker's");
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, far)
}

#[tokio::test]
async fn a_connection_may_be_handed_over_however_much_was_read_of_it() {
    let embedded = start(|_| {});
    embedded.broker().publish(draft("a", "x")).await.unwrap();
    let request = b"GET /sse?channel=a&last=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for cut in 0..=request.len() {
        let (near, mut far) = pair().await;
        embedded.adopt(near.into_std().unwrap(), request[..cut].to_vec()).unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut far, &request[cut..]).await.unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("data: x") {
            let count = soon("the stream", tokio::io::AsyncReadExt::read_buf(&mut far, &mut seen)).await.unwrap();
            assert!(count > 0, "ended after {cut} bytes were read: {}", String::from_utf8_lossy(&seen));
        }
    }
    // A second request behind the first is not lost either.
    let (near, mut far) = pair().await;
    let two = [&b"GET /poll?channel=a&since=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], request].concat();
    embedded.adopt(near.into_std().unwrap(), two).unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("data: x") {
        assert!(soon("both", tokio::io::AsyncReadExt::read_buf(&mut far, &mut seen)).await.unwrap() > 0);
    }
    assert!(String::from_utf8_lossy(&seen).contains("\"data\":\"x\""));
}

#[tokio::test]
async fn a_websocket_may_be_handed_over_however_much_was_read_of_it() {
    let embedded = start(|_| {});
    let shaken = handshake("/ws?channel=a", "Sec-WebSocket-Extensions: permessage-deflate\r\n").into_bytes();
    // The first words right behind the handshake, as a client in a hurry sends them.
    let said = [&shaken[..], &masked(0x81, br#"{"id":1,"publish":{"channel":"a","text":"hurried"}}"#)].concat();
    for cut in 0..=said.len() {
        let (near, mut far) = pair().await;
        embedded.adopt(near.into_std().unwrap(), said[..cut].to_vec()).unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut far, &said[cut..]).await.unwrap();
        let mut socket = WebSocket::answered(far).await;
        let first = soon("the beginning", socket.object()).await.unwrap();
        assert!(first.get("subscribed").is_some(), "{cut} bytes were read: {first}");
        let mut kinds = [false, false];
        while kinds != [true, true] {
            let object = soon("the message and the answer", socket.object()).await.unwrap();
            kinds = [kinds[0] || object.get("message").is_some(), kinds[1] || object["id"] == 1];
        }
    }
    let (near, far) = pair().await;
    embedded.adopt(near.into_std().unwrap(), Vec::new()).unwrap();
    let mut socket = WebSocket::open_on(far, "/ws?channel=a", "").await;
    assert!(soon("the beginning", socket.object()).await.unwrap().get("subscribed").is_some());
    let (close, ()) = tokio::join!(socket.object(), embedded.drain());
    assert_eq!(close.unwrap()["close"]["code"], "draining");
}

#[tokio::test]
async fn a_guest_that_leaves_http_is_a_connection_of_the_broker_and_bounded_as_one() {
    let embedded = start(|config| config.limits.connections = 1);
    for server in [Server::Http1, Server::Wrapped] {
        let to = host(&embedded, server).await;
        let mut socket = WebSocket::open(to, "/ws?channel=a", "").await;
        assert!(soon("the beginning", socket.object()).await.unwrap().get("subscribed").is_some());
        assert_eq!(metric(&embedded, "tidings_connections"), 1.0, "{server:?}");
        let mut refused = Http1::get(to, "1.1", "/ws?channel=a", UPGRADE, None).await;
        assert_eq!(soon("a refusal", refused.status()).await, 503, "{server:?}");
        // Ended by the client, by its own rules: everything is given back.
        socket.send(&masked(0x88, &1000_u16.to_be_bytes())).await;
        assert_eq!(soon("the answer to it", socket.frame()).await, Framed::Close(Some((1000, String::new()))));
        assert_eq!(soon("the end", socket.frame()).await, Framed::End);
        soon("its place", async {
            while metric(&embedded, "tidings_connections") > 0.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_guest_that_stops_reading_falls_behind_and_is_served_on_when_it_reads_again() {
    let embedded = start(|_| {});
    for server in [Server::Http1, Server::Wrapped] {
        let channel = format!("much:{server:?}");
        let mut socket = WebSocket::open(host(&embedded, server).await, &format!("/ws?channel={channel}"), "").await;
        assert!(soon("the beginning", socket.object()).await.unwrap().get("subscribed").is_some());
        let text = "x".repeat(50_000);
        for _ in 0..80 {
            embedded.broker().publish(draft(&channel, &text)).await.unwrap();
        }
        for offset in 1..=80 {
            assert_eq!(soon("a message", socket.object()).await.unwrap()["message"]["offset"], offset, "{server:?}");
        }
    }
}

#[tokio::test]
async fn where_no_connection_can_be_had_a_handshake_is_told_so() {
    let embedded = start(|_| {});
    let mut request = get("/ws?channel=a");
    for header in UPGRADE.lines() {
        let (name, value) = header.split_once(": ").unwrap();
        request.headers_mut().insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let refused = embedded.http_service().answer(request).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("with upgrades"), "{body:?}");
}

#[tokio::test]
async fn a_connection_that_cannot_be_taken_is_told_or_refused() {
    let embedded = start(|config| config.limits.connections = 1);
    let (near, far) = pair().await;
    let long = embedded.adopt(near.into_std().unwrap(), vec![b'x'; 1 << 20]).unwrap_err();
    assert_eq!(long.kind(), std::io::ErrorKind::InvalidInput);
    drop(far);

    let (first, _held) = pair().await;
    embedded.adopt(first.into_std().unwrap(), &b"GET /"[..]).unwrap();
    let (second, mut far) = pair().await;
    embedded.adopt(second.into_std().unwrap(), &b"GET /"[..]).unwrap();
    let mut told = String::new();
    soon("words", tokio::io::AsyncReadExt::read_to_string(&mut far, &mut told)).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("overloaded"), "{told}");
}

#[tokio::test]
async fn two_brokers_in_one_program_know_nothing_of_each_other() {
    let (one, other) = (start(|_| {}), start(|_| {}));
    for text in ["1", "2", "3"] {
        one.broker().publish(draft("same", text)).await.unwrap();
    }
    let theirs = other.broker().publish(draft("same", "theirs")).await.unwrap();
    assert_eq!(theirs.offset, 1);
    let mut listener = other.broker().subscribe(Subscribe::live(["same"]).unwrap()).await.unwrap();
    one.broker().publish(draft("same", "4")).await.unwrap();
    assert!(listener.next().now_or_never().is_none());
    assert_eq!((metric(&one, "tidings_history_messages"), metric(&other, "tidings_history_messages")), (4.0, 1.0));

    // The end of one is not the end of the other, gently or not.
    let to = host(&other, Server::Http1).await;
    let mut response = Http1::get(to, "1.1", "/sse?channel=same", "", None).await;
    assert_eq!(soon("the stream", response.status()).await, 200);
    soon("the drain", one.drain()).await;
    drop(one);
    other.broker().publish(draft("same", "on")).await.unwrap();
    assert_eq!(event(&mut response, &mut EventStream::default()).await, "on");
    assert!(matches!(soon("news", listener.next()).await, Some(Delivery::Messages(_))));
}

#[tokio::test]
async fn a_broker_that_stopped_says_so_to_everyone_who_still_holds_it() {
    let embedded = start(|_| {});
    let (broker, service) = (embedded.broker().clone(), embedded.http_service());
    let mut listener = broker.subscribe(Subscribe::live(["a"]).unwrap()).await.unwrap();
    let mut stream = service.clone().answer(get("/stream?channel=a")).await.into_body();
    assert!(soon("the first bytes", stream.frame()).await.is_some());
    drop(embedded);

    assert!(matches!(soon("the end", listener.next()).await, Some(Delivery::Closed(CloseReason::Stopped))));
    assert!(soon("nothing more", listener.next()).await.is_none());
    let last = soon("the farewell", stream.collect()).await.unwrap().to_bytes();
    assert!(last.starts_with(b"{\"close\":{\"code\":\"stopped\""), "{last:?}");
    assert_eq!(broker.publish(draft("a", "x")).await.unwrap_err().code, ErrorCode::Draining);
    let refused = service.answer(get("/poll?channel=a")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn as_many_listen_as_a_guest_as_there_may_be_connections() {
    let embedded = start(|config| config.limits.connections = 2);
    let service = embedded.http_service();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(service.clone().answer(get("/stream?channel=a")).await);
    }
    for path in ["/stream?channel=a", "/poll?channel=a&since=earliest&wait=5"] {
        let refused = service.clone().answer(get(path)).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let body: Value = serde_json::from_slice(&refused.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(body["error"]["code"], "overloaded");
    }
    drop(held);
    assert_eq!(service.answer(get("/stream?channel=a")).await.status(), StatusCode::OK);
    assert_eq!(metric(&embedded, "tidings_sessions"), 0.0, "who left is counted as gone, and who was refused never came");
    assert_eq!(metric(&embedded, "tidings_subscriptions"), 0.0);
}

#[tokio::test]
async fn head_gets_the_head_alone() {
    let embedded = start(|_| {});
    embedded.broker().publish(draft("a", "x")).await.unwrap();
    for path in ["/sse?channel=a", "/poll?channel=a&since=earliest", "/v1/channels/a/messages", "/nothing"] {
        let (mut head, get) = (get(path), get(path));
        *head.method_mut() = http::Method::HEAD;
        let head = embedded.http_service().answer(head).await;
        let got = embedded.http_service().answer(get).await;
        assert_eq!(head.status(), got.status(), "{path}");
        assert_eq!(head.headers().get("content-type"), got.headers().get("content-type"), "{path}");
        assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
    }
}

/// A held poll that meets a gap while it reads: the window holds two messages, and five come before it gets to read.
#[tokio::test]
async fn what_a_held_poll_missed_before_it_woke_is_declared() {
    let embedded = start(|config| {
        let mut rules = namespace::Config::default();
        rules.history.size = 2;
        config.namespaces.insert("default", rules);
    });
    let first = embedded.broker().publish(draft("a", "0")).await.unwrap();
    let mut poll = Box::pin(embedded.http_service().answer(get(&format!("/poll?channel=a&since={}", first.cursor().as_str()))));
    let mut context = Context::from_waker(Waker::noop());
    assert!(poll.as_mut().poll(&mut context).is_pending(), "it is held");
    for text in ["1", "2", "3", "4", "5"] {
        // One thread, and no wait in between: the poll cannot look before all five are there.
        embedded.broker().publish(draft("a", text)).now_or_never().unwrap().unwrap();
    }
    let answer = soon("the answer", poll).await.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["gap"]["reason"], "window", "{answer}");
    let texts: Vec<&str> = answer["messages"].as_array().unwrap().iter().map(|message| message["data"].as_str().unwrap()).collect();
    assert_eq!(texts, ["4", "5"]);
    assert_eq!(metric(&embedded, "tidings_gaps_declared_total"), 1.0);
}

/// The count that docs/EMBEDDING.md prints, and how far it may be from the truth.
#[test]
fn the_page_tells_how_many_crates_an_embedder_gets() {
    let page = include_str!("../../../docs/EMBEDDING.md");
    let told = page.lines().find_map(|line| line.strip_prefix("It brings ")?.split(' ').next()?.parse::<usize>().ok());
    let told = told.expect("the page has a line `It brings N crates`");
    let arguments = ["tree", "--locked", "--offline", "-p", "tidings", "--no-default-features", "-e", "normal", "--prefix", "none"];
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let tree = std::process::Command::new(env!("CARGO")).args(arguments).args(["--manifest-path", manifest]).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let crates: std::collections::BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    for foreign in ["clap", "tracing-subscriber", "tikv-jemallocator", "tidings-sdk"] {
        assert!(!crates.contains(foreign), "`{foreign}` is the daemon's");
    }
    println!("{} crates", crates.len());
    assert!(crates.len().abs_diff(told) <= 10, "docs/EMBEDDING.md says {told}, it is {}", crates.len());
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn a_payload_that_would_break_a_cluster_is_refused_however_the_configuration_came_to_be() {
    let mut config = Config { shards: 1, ..Config::default() };
    config.cluster.keys = vec![tidings::cluster::config::Secret("the secret of the nodes of these tests".into())];
    let rules = |payload_bytes| tidings::hub::namespace::Config { payload_bytes, ..Default::default() };
    config.namespaces.insert("big", rules((3 << 20) + 1));
    let refused = Embedded::start(config).unwrap_err().to_string();
    assert!(refused.contains("namespaces.big.payload_bytes") && refused.contains("at most 3MiB"), "{refused}");
    let mut alone = Config { shards: 1, ..Config::default() };
    alone.namespaces.insert("big", rules((3 << 20) + 1));
    Embedded::start(alone).unwrap();
}

#[tokio::test]
async fn without_a_key_nobody_publishes_by_the_service_and_the_program_itself_does() {
    let embedded = Embedded::start(Config { shards: 1, ..Config::default() }).unwrap();
    let publish = Request::post("/v1/channels/a/messages").header("host", "localhost").body(http_body_util::Full::from("x")).unwrap();
    assert_eq!(embedded.http_service().answer(publish).await.status(), StatusCode::UNAUTHORIZED);
    embedded.broker().publish(draft("a", "x")).await.unwrap();
}
