//! Publishing and history over a connection: allowed as over HTTP, answered in order and within bounds.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::grant::Who;
use tidings::hub::namespace;

use tokio::io::AsyncWriteExt as _;

use crate::support::{Commit, Framed, Listener, Scene, Since, Way, WebSocket, masked, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_that_were_sent_at_once_keep_their_order_whenever_they_commit() {
    for commit in [Commit::AtOnce, Commit::Late] {
        let scene = Scene::open(commit).await;
        let mut listener = Listener::open(Way::SseHttp1, &scene, &["out"], Since::Live).await;
        let mut socket = WebSocket::open(scene.http(), "/ws?channel=out", "").await;
        let publish = |id: u64| json!({ "id": id, "publish": { "channel": "out", "text": id.to_string() } }).to_string();
        // Many more than may be under way.
        let requests: Vec<u8> = (1..=200).flat_map(|id| masked(0x81, publish(id).as_bytes())).collect();
        socket.send(&requests).await;
        let (mut published, mut heard) = (Vec::new(), Vec::new());
        while published.len() + heard.len() < 400 {
            let object = soon("an answer", socket.object()).await.unwrap();
            if object.get("published").is_some() {
                assert_eq!(object["published"]["offset"], object["id"], "each got its place in the order of the requests");
                published.push(object["id"].as_u64().unwrap());
            } else if object.get("message").is_some() {
                heard.push(object["message"]["offset"].as_u64().unwrap());
            }
        }
        assert_eq!(heard, (1..=200).collect::<Vec<_>>());
        published.sort_unstable();
        assert_eq!(published, heard);
        assert_eq!(listener.texts(200).await, (1..=200).map(|id| id.to_string()).collect::<Vec<_>>());
        assert_eq!(scene.metric("tidings_publishes_answered_total", &["websocket", "kept"]).await, 200.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_count_and_the_one_that_has_waited_longest_gives_way() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        (config.commit_delay, config.limits.incoming_bytes) = (Some(Duration::from_secs(1 << 20)), 1 << 20);
    })
    .await;
    // Until the first one whose commit does not come.
    while tokio::time::timeout(Duration::from_secs(2), scene.publish("out", "x")).await.is_ok() {}
    let publish = |id: u64| json!({ "id": id, "publish": { "channel": "out", "text": "x".repeat(50_000) } });
    let held = async || scene.metric("tidings_bound_used", &["\"incoming_bytes\""]).await;
    let mut first = WebSocket::open(scene.http(), "/ws", "").await;
    // Each counts as 64 KiB, as buffers grow.
    for id in 1..=12 {
        first.say(&publish(id)).await;
    }
    soon("all twelve count", async { while held().await < f64::from(12 << 16) {} }).await;
    let mut second = WebSocket::open(scene.http(), "/ws", "").await;
    for id in 1..=6 {
        second.say(&publish(id)).await;
    }
    for id in 1..=2 {
        let told = soon("an answer", first.object()).await.unwrap();
        assert_eq!((&told["id"], &told["error"]["code"]), (&json!(id), &json!("unconfirmed")), "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains("limits.incoming_bytes"), "{told}");
    }
    assert!(held().await <= f64::from(16 << 16), "more than the bound");
    drop((first, second));
    soon("all of it is given back", async { while held().await > 0.0 {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_the_one_http_gives() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    let code = |answer: &Value| answer["error"]["code"].as_str().unwrap().to_owned();
    let several = socket.ask(&json!({ "id": 1, "publish": { "channels": ["a", ""], "data": [1] } })).await;
    assert_eq!(several["published"]["results"][0]["offset"], 1);
    assert_eq!(several["published"]["results"][1]["error"]["code"], "invalid_request");
    for (id, request, expected) in [
        (2, json!({ "id": 2, "publish": { "channel": "a" } }), "invalid_request"),
        (3, json!({ "id": 3, "publish": [] }), "invalid_request"),
        (4, json!({ "id": 4, "publish": { "channel": "a", "text": "x".repeat(70_000) } }), "too_large"),
        (5, json!({ "id": 5, "publish": { "channel": "tidings-probe:a", "text": "x" } }), "permission_denied"),
        (6, json!({ "id": 6, "history": { "channel": "a", "since": "yesterday" } }), "invalid_cursor"),
        (7, json!({ "id": 7, "history": { "channel": "a", "limit": 1001 } }), "invalid_request"),
        (8, json!({ "id": 8, "history": { "channel": "a", "order": "up" } }), "invalid_request"),
        (9, json!({ "id": 9, "history": ["a"] }), "invalid_request"),
    ] {
        let answer = socket.ask(&request).await;
        assert_eq!((&answer["id"], code(&answer)), (&json!(id), expected.to_owned()), "{answer}");
    }
    let page = socket.ask(&json!({ "id": 10, "history": { "channel": "a" } })).await;
    assert_eq!(page["history"]["messages"][0]["data"], json!([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_and_history_need_the_key_that_http_needs_also_where_listening_does_not() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        config.keys = vec![Key::new("backend", KeyHash::of(b"secret"))];
        config.dev = false;
        let mut open = namespace::Config::default();
        open.allow.subscribe = Who::Anyone;
        config.namespaces.insert(namespace::DEFAULT, open);
    })
    .await;
    let requests = [json!({ "id": 1, "publish": { "channel": "a", "text": "x" } }), json!({ "id": 2, "history": { "channel": "a" } })];
    for (headers, is_let_in) in [("", false), ("Authorization: Basic c2VjcmV0\r\n", false), ("Authorization: Bearer secret\r\n", true)] {
        let mut socket = WebSocket::open(scene.http(), "/ws?channel=a", headers).await;
        assert!(socket.object().await.unwrap().get("subscribed").is_some());
        for request in &requests {
            let answer = socket.ask(request).await;
            assert_eq!(answer["error"]["code"] != "unauthenticated", is_let_in, "{answer}");
            if answer.get("published").is_some() {
                assert_eq!(soon("the message", socket.object()).await.unwrap()["message"]["data"], "x");
            }
        }
    }
    assert_eq!(scene.metric("tidings_auth_calls_refused_total", &["missing"]).await, 4.0);
    let mut guess = WebSocket::open(scene.http(), "/ws?channel=a", "Authorization: Bearer wrong\r\n").await;
    assert_eq!(guess.object().await.unwrap()["close"]["code"], "unauthenticated", "a wrong key is not as good as none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_and_does_not_read_is_not_served_on_and_loses_nothing() {
    let scene = Scene::open(Commit::AtOnce).await;
    for _ in 0..30 {
        scene.publish("big", &"x".repeat(60_000)).await;
    }
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    let mut asked: u64 = 0;
    // Each request asks for nearly two megabytes, until the broker takes no more of them.
    let mut requests = Vec::new();
    while asked < 1_000_000 {
        if requests.is_empty() {
            asked += 1;
            requests = masked(0x81, json!({ "id": asked, "history": { "channel": "big" } }).to_string().as_bytes());
        }
        let wrote = tokio::time::timeout(Duration::from_millis(300), async {
            socket.socket.writable().await.unwrap();
            socket.socket.try_write(&requests)
        });
        match wrote.await {
            Ok(Ok(count)) => drop(requests.drain(..count)),
            Ok(Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            Err(_) => break,
        }
    }
    assert!(asked < 1_000_000, "it was never made to wait");
    let whole = asked - u64::from(!requests.is_empty());
    assert!(whole > 16, "more than may be under way");
    for id in 1..=20.min(whole) {
        let answer = soon("a page", socket.object()).await.unwrap();
        assert_eq!(answer["id"], id);
        assert_eq!(answer["history"]["messages"].as_array().unwrap().len(), 30);
    }
    // Others never noticed.
    let mut other = WebSocket::open(scene.http(), "/ws", "").await;
    assert_eq!(other.ask(&json!({ "id": 1, "ping": {} })).await, json!({ "id": 1, "pong": {} }));
}

/// How a stay ends while publishes are under way.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// The client says so.
    Close,
    /// The client says nothing any more, but listens.
    Half,
    /// The client says what it must not.
    Violation,
    /// The node leaves.
    Drain,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_ends_it_what_was_asked_before_is_done_and_answered_first() {
    for ends in [Ends::Close, Ends::Half, Ends::Violation, Ends::Drain] {
        let scene = Scene::with(Commit::Late, |config| config.commit_delay = Some(Duration::from_millis(200))).await;
        let mut listener = Listener::open(Way::Door, &scene, &["last"], Since::Live).await;
        let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
        let publish = |id: u64| json!({ "id": id, "publish": { "channel": "last", "text": id.to_string() } }).to_string();
        let mut said: Vec<u8> = (1..=10).flat_map(|id| masked(0x81, publish(id).as_bytes())).collect();
        said.extend(match ends {
            Ends::Close => masked(0x88, &1000_u16.to_be_bytes()),
            Ends::Violation => masked(0x82, b"bytes"),
            Ends::Drain => masked(0x81, br#"{"id":11,"ping":{}}"#),
            Ends::Half => Vec::new(),
        });
        socket.send(&said).await;
        match ends {
            Ends::Drain => {
                // All ten were heard when this is answered.
                let mut answered = Vec::new();
                loop {
                    let object = soon("the pong", socket.object()).await.unwrap();
                    match object["id"].as_u64() {
                        Some(11) => break,
                        id => answered.extend(id),
                    }
                }
                let leaving = scene.node.embedded();
                tokio::join!(leaving.drain(), answers_and_end(&mut socket, answered, Some("draining"), Some(1001)));
            }
            Ends::Close => answers_and_end(&mut socket, Vec::new(), None, Some(1000)).await,
            Ends::Violation => answers_and_end(&mut socket, Vec::new(), Some("protocol_error"), Some(1003)).await,
            Ends::Half => {
                socket.socket.shutdown().await.unwrap();
                answers_and_end(&mut socket, Vec::new(), None, None).await;
            }
        }
        let texts = listener.texts(10).await;
        assert_eq!(texts, (1..=10).map(|id| id.to_string()).collect::<Vec<_>>(), "{ends:?}");
    }
}

/// Ten answers, then the broker's words if it has some, then the end.
async fn answers_and_end(socket: &mut WebSocket, mut answered: Vec<u64>, word: Option<&str>, code: Option<u16>) {
    while answered.len() < 10 {
        let object = soon("an answer", socket.object()).await.unwrap();
        assert!(object.get("published").is_some(), "{object}");
        answered.push(object["id"].as_u64().unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=10).collect::<Vec<_>>());
    if let Some(word) = word {
        assert_eq!(soon("the words", socket.object()).await.unwrap()["close"]["code"], word);
    }
    if let Some(code) = code {
        let Framed::Close(Some((told, _))) = soon("the close frame", socket.frame()).await else { panic!("a close frame was due") };
        assert_eq!(told, code);
        let _ = socket.socket.write_all(&masked(0x88, &code.to_be_bytes())).await;
    }
    assert_eq!(soon("the end", socket.frame()).await, Framed::End);
}
