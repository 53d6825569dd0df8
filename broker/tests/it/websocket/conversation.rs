//! Subscribing and unsubscribing in the middle of everything, and how it all ends.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Commit, Framed, Http2, Scene, WebSocket, handshake, masked, metric, sibling, soon};

const CHANNEL: &str = "talk";

async fn next(socket: &mut WebSocket) -> Value {
    soon("an object", socket.object()).await.expect("the connection goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribing_and_unsubscribing_back_to_back_in_a_storm_gives_exactly_what_was_asked_for() {
    for commit in [Commit::AtOnce, Commit::Late] {
        let scene = Scene::open(commit).await;
        let storm = async {
            for number in 1..=40 {
                scene.publish_numbers(CHANNEL, number * 10 - 9..=number * 10).await;
            }
        };
        let listen = async {
            let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
            let mut cursor = "earliest".to_owned();
            let (mut heard, mut id) = (Vec::new(), 0);
            while heard.last() != Some(&400) {
                // Both in one write, and again while the answers are still on their way.
                let subscribe = |id: u64, since: &str| json!({ "id": id, "subscribe": { "channel": CHANNEL, "since": since } });
                let unsubscribe = |id: u64| json!({ "id": id, "unsubscribe": { "channel": CHANNEL } });
                let requests = [subscribe(id + 1, &cursor), unsubscribe(id + 2), subscribe(id + 3, &cursor)];
                let bytes: Vec<u8> = requests.iter().flat_map(|request| masked(0x81, request.to_string().as_bytes())).collect();
                socket.send(&bytes).await;
                assert_eq!(next(&mut socket).await["id"], id + 1);
                assert_eq!(
                    next(&mut socket).await,
                    json!({ "id": id + 2, "unsubscribed": { "channel": CHANNEL } }),
                    "and nothing before it"
                );
                assert_eq!(next(&mut socket).await["subscribed"]["channel"], CHANNEL);
                for _ in 0..7 {
                    if heard.last() == Some(&400) {
                        break;
                    }
                    note(&next(&mut socket).await, &mut heard, &mut cursor);
                }
                socket.say(&unsubscribe(id + 4)).await;
                loop {
                    let object = next(&mut socket).await;
                    if object["id"] == id + 4 {
                        break;
                    }
                    note(&object, &mut heard, &mut cursor);
                }
                id += 4;
            }
            assert_eq!(heard, (1..=400).collect::<Vec<u64>>());
            // Nothing of it comes after that, though it is published.
            scene.publish(CHANNEL, "unheard").await;
            assert_eq!(socket.ask(&json!({ "id": 0, "ping": {} })).await, json!({ "id": 0, "pong": {} }));
        };
        tokio::join!(listen, storm);
    }
}

fn note(object: &Value, heard: &mut Vec<u64>, cursor: &mut String) {
    if object.get("heartbeat").is_some() {
        return;
    }
    let message = &object["message"];
    heard.push(message["offset"].as_u64().unwrap_or_else(|| panic!("a message was due: {object}")));
    *cursor = message["cursor"].as_str().unwrap().to_owned();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_joins_a_slot_from_further_back_gives_the_others_nothing_twice() {
    let scene = Scene::open(Commit::AtOnce).await;
    let late = sibling(CHANNEL, "late");
    for number in 1..=20 {
        scene.publish(CHANNEL, &format!("talk {number}")).await;
        scene.publish(&late, &format!("late {number}")).await;
    }
    let mut socket = WebSocket::open(scene.http(), &format!("/ws?channel={CHANNEL}&last=2"), "").await;
    assert_eq!(next(&mut socket).await["subscribed"]["offset"], 20);
    for number in 19..=20 {
        assert_eq!(next(&mut socket).await["message"]["data"], format!("talk {number}"));
    }
    scene.publish(CHANNEL, "talk 21").await;
    assert_eq!(next(&mut socket).await["message"]["data"], "talk 21");
    socket.say(&json!({ "id": 1, "subscribe": { "channel": late, "since": "earliest" } })).await;
    let subscribed = next(&mut socket).await;
    assert_eq!((&subscribed["id"], &subscribed["subscribed"]["recovered"]), (&json!(1), &json!(false)));
    for number in 1..=20 {
        assert_eq!(next(&mut socket).await["message"]["data"], format!("late {number}"));
    }
    for number in 22..=23 {
        scene.publish(CHANNEL, &format!("talk {number}")).await;
        scene.publish(&late, &format!("late {number}")).await;
        assert_eq!(next(&mut socket).await["message"]["data"], format!("talk {number}"));
        assert_eq!(next(&mut socket).await["message"]["data"], format!("late {number}"));
    }
    // Without the first, the second goes on alone; and the first may come back.
    socket.say(&json!({ "id": 2, "unsubscribe": { "channel": CHANNEL } })).await;
    assert_eq!(next(&mut socket).await["unsubscribed"]["channel"], CHANNEL);
    scene.publish(CHANNEL, "talk 24").await;
    scene.publish(&late, "late 24").await;
    assert_eq!(next(&mut socket).await["message"]["data"], "late 24");
    socket.say(&json!({ "id": 3, "subscribe": { "channel": CHANNEL, "last": 1 } })).await;
    assert_eq!(next(&mut socket).await["id"], 3);
    assert_eq!(next(&mut socket).await["message"]["data"], "talk 24");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_hold_for_the_whole_stay() {
    let scene = Scene::with(Commit::AtOnce, |config| (config.limits.subscribe_channels, config.limits.subscribe_slots) = (3, 2)).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    for (channel, outcome) in [("a{1}", "subscribed"), ("b{2}", "subscribed"), ("c{3}", "error"), ("c{2}", "subscribed"), ("d{2}", "error")]
    {
        let answer = socket.ask(&json!({ "id": 1, "subscribe": { "channel": channel } })).await;
        assert!(answer.get(outcome).is_some(), "{channel}: {answer}");
    }
    assert!(socket.ask(&json!({ "id": 2, "unsubscribe": { "channel": "b{2}" } })).await.get("unsubscribed").is_some());
    assert!(socket.ask(&json!({ "id": 3, "subscribe": { "channel": "d{2}" } })).await.get("subscribed").is_some());
    assert_eq!(scene.metric("tidings_subscriptions", &[]).await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_without_waiting_for_the_handshake_is_heard() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut socket = TcpStream::connect(scene.http()).await.unwrap();
    let requests: Vec<u8> = (0..500_u64).flat_map(|id| masked(0x81, json!({ "id": id, "ping": {} }).to_string().as_bytes())).collect();
    socket.write_all(&[handshake("/ws", "").as_bytes(), &requests].concat()).await.unwrap();
    let mut socket = WebSocket::answered(socket).await;
    for id in 0..500 {
        assert_eq!(next(&mut socket).await, json!({ "id": id, "pong": {} }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_is_answered_with_its_own_code() {
    let scene = Scene::open(Commit::AtOnce).await;
    for (payload, answer) in
        [(&b""[..], None), (b"\x03\xe8", Some((1000, String::new()))), (b"\x0f\xa0own words", Some((4000, "own words".to_owned())))]
    {
        let mut socket = WebSocket::open(scene.http(), "/ws?channel=talk", "").await;
        assert_eq!(next(&mut socket).await["subscribed"]["channel"], CHANNEL);
        socket.send(&[masked(0x81, b"{\"id\":1,\"ping\":{}}"), masked(0x88, payload), b"and what not".to_vec()].concat()).await;
        assert_eq!(next(&mut socket).await["id"], 1);
        assert_eq!(soon("the close", socket.frame()).await, Framed::Close(answer));
        assert_eq!(soon("the end", socket.frame()).await, Framed::End);
    }
    while scene.metric("tidings_sessions", &["websocket"]).await > 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.metric("tidings_sessions_closed_total", &["websocket", "client_gone"]).await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_a_moment_for_the_clients_last_word_and_no_longer() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        (config.drain.grace, config.drain.waves) = (Duration::from_secs(20), 1);
    })
    .await;
    let mut polite = WebSocket::open(scene.http(), "/ws?channel=talk", "").await;
    let mut silent = WebSocket::open(scene.http(), "/ws?channel=talk", "").await;
    assert!(next(&mut polite).await.get("subscribed").is_some() && next(&mut silent).await.get("subscribed").is_some());
    let began = tokio::time::Instant::now();
    let leaving = tokio::spawn(scene.node.drain());
    for socket in [&mut polite, &mut silent] {
        let close = next(socket).await;
        assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!("draining"), &json!(true)));
        assert!(close["close"]["retry_after_ms"].as_u64().is_some());
        assert_eq!(soon("the close frame", socket.frame()).await, Framed::Close(Some((1001, "draining".to_owned()))));
    }
    polite.send(&masked(0x88, b"\x03\xe9")).await;
    assert_eq!(soon("the end", polite.frame()).await, Framed::End);
    assert_eq!(soon("the end", silent.frame()).await, Framed::End);
    soon("the node to leave", leaving).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "the grace was not needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_connect_is_told_over_http() {
    let scene = Scene::with(Commit::AtOnce, |config| config.cors.origins = vec!["https://app.example".to_owned()]).await;
    let refused = async |headers: &str| {
        let mut socket = TcpStream::connect(scene.http()).await.unwrap();
        socket.write_all(handshake("/ws", headers).as_bytes()).await.unwrap();
        let mut answer = crate::support::Http1::reading(socket);
        answer.status().await
    };
    assert_eq!(refused("Origin: https://foreign.example\r\n").await, 403);
    assert_eq!(refused("Origin: null\r\n").await, 403);
    assert_eq!(refused("Content-Length: 2\r\n").await, 400);
    let own = format!("Origin: http://{}\r\n", scene.http());
    for headers in ["Origin: https://app.example\r\n", "Origin: http://localhost\r\n"] {
        assert_eq!(refused(headers).await, 101, "{headers}");
    }
    assert_eq!(refused(&own).await, 403, "the handshake says `Host: localhost`");
    let over_http2 = Http2::get(scene.http(), "/ws?channel=talk", &[]).await;
    assert_eq!(over_http2.status, 426);
    assert!(!over_http2.headers.contains_key("upgrade"), "HTTP/2 knows no such header");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_long_messages_are_compressed_and_only_for_those_who_asked() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut plain = WebSocket::open(scene.http(), "/ws?channel=talk", "").await;
    let mut packed =
        WebSocket::open(scene.http(), "/ws?channel=talk", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n").await;
    assert!(!plain.head.contains("permessage-deflate"));
    assert!(packed.head.contains("permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"), "{}", packed.head);
    assert!(next(&mut plain).await.get("subscribed").is_some() && next(&mut packed).await.get("subscribed").is_some());
    for text in ["short".to_owned(), "long and longer ".repeat(200), "grüße 🌊 ".repeat(3000)] {
        scene.publish(CHANNEL, &text).await;
        for (socket, expects) in [(&mut plain, false), (&mut packed, text.len() > 1000)] {
            let Framed::Text { text: came, is_compressed } = soon("the message", socket.frame()).await else { panic!("no text") };
            assert_eq!(is_compressed, expects);
            assert_eq!(serde_json::from_str::<Value>(&came).unwrap()["message"]["data"], text);
        }
    }
    // And what the client compresses is understood: "{\"id\":1,\"ping\":{}}" as a stored block of RFC 1951.
    let request = b"{\"id\":1,\"ping\":{}}";
    let length = (request.len() as u16).to_le_bytes();
    let block = [&[0][..], &length, &length.map(|byte| !byte), request, &[0]].concat();
    packed.send(&masked(0xc1, &block)).await;
    assert_eq!(next(&mut packed).await, json!({ "id": 1, "pong": {} }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_tells_newcomers_over_the_connection() {
    let scene = Scene::with(Commit::AtOnce, |config| (config.drain.grace, config.drain.waves) = (Duration::from_secs(20), 1)).await;
    let (http, admin) = (scene.http(), scene.node.addresses().admin);
    // A connection that is open already and asks in the moment when the node leaves.
    let socket = TcpStream::connect(http).await.unwrap();
    let mut stream = TcpStream::connect(http).await.unwrap();
    while metric(admin, "tidings_connections", &[]).await < 2.0 {
        tokio::task::yield_now().await;
    }
    let mut polite = WebSocket::open(http, "/ws", "").await;
    let leaving = tokio::spawn(scene.node.drain());
    assert_eq!(next(&mut polite).await["close"]["code"], "draining");
    // Both at once: what has not said a word is closed after a second.
    let (mut socket, status) = tokio::join!(WebSocket::open_on(socket, "/ws?channel=talk", ""), async move {
        stream.write_all(b"GET /stream?channel=talk HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        crate::support::Http1::reading(stream).status().await
    });
    assert_eq!(next(&mut socket).await["close"]["code"], "draining", "and nothing was subscribed to");
    assert_eq!(status, 503, "every front tells them");
    drop((socket, polite));
    soon("the node to leave", leaving).await.unwrap();
}
