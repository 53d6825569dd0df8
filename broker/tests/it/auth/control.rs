//! What backends order about clients, obeyed on every way to listen; one node.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::auth::Action;
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::pattern::Pattern;
use tidings::node::Node;
use tidings_proto::v1;
use tidings_proto::v1::broker_client::BrokerClient;
use tidings_proto::v1::subscribe_reply::Reply;
use tidings_sdk::{Client, Clients, Code, Delivery};
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::scene::{denied, get, now, ok, post, start, token, verdict};
use crate::raw::{Raw, request};
use crate::support::{Framed, Http2, Server, WebSocket, draft, host, metric, soon};

const BACKEND: &str = "Authorization: Bearer all-key\r\n";

/// A token of this user with this id, issued a while ago.
fn bearing(user: &str, id: &str) -> String {
    let grants = json!([{ "match": "chat:*", "can": ["subscribe", "publish", "history"] }]);
    token(json!({ "sub": user, "jti": id, "iat": now() - 9, "channels": grants }))
}

/// Gives an order over HTTP as the backend that may.
async fn order(node: &Node, path: &str, body: Value) -> Value {
    let answer = post(node.addresses().http, path, BACKEND, &body.to_string()).await;
    assert_eq!(verdict(&answer), ok(), "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// A client by one of all ways, and what it heard when it was over.
enum Stay {
    Http1(Raw),
    Http2(Http2),
    WebSocket(WebSocket),
    Grpc(Streaming<v1::SubscribeReply>),
    Poll(Raw),
}

/// How a stay ended: the code, and whether the client is to come back.
type End = (String, bool);

impl Stay {
    async fn http1(to: SocketAddr, path: &str) -> Self {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", path, to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        // So that it stands.
        raw.chunk().await.unwrap();
        Self::Http1(raw)
    }

    async fn http2(to: SocketAddr, path: &str) -> Self {
        let mut stream = Http2::get(to, path, &[]).await;
        assert_eq!(stream.status, 200);
        soon("the beginning", stream.read()).await.unwrap();
        Self::Http2(stream)
    }

    async fn websocket(to: SocketAddr, path: &str) -> Self {
        let mut socket = WebSocket::open(to, path, "").await;
        assert!(soon("the subscription", socket.object()).await.unwrap().get("subscribed").is_some());
        Self::WebSocket(socket)
    }

    async fn poll(to: SocketAddr, path: &str) -> Self {
        let head = get(to, path, "").await;
        let cursor = head.header("tidings-cursor").unwrap().to_owned();
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", &format!("{path}&since={cursor}&wait=50"), to, "")).await;
        Self::Poll(raw)
    }

    async fn grpc(node: &Node, token: &str) -> Self {
        let address = format!("http://{}", node.addresses().grpc.unwrap());
        let mut client = BrokerClient::new(Endpoint::from_shared(address).unwrap().connect().await.unwrap());
        let mut request = tonic::Request::new(v1::SubscribeRequest { channels: vec!["chat:a".into()], ..Default::default() });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut replies = client.subscribe(request).await.unwrap().into_inner();
        assert!(matches!(soon("a reply", replies.message()).await.unwrap().unwrap().reply, Some(Reply::Subscribed(_))));
        Self::Grpc(replies)
    }

    /// What it hears last.
    async fn end(self) -> End {
        match self {
            Self::Http1(mut raw) => {
                let mut text = String::new();
                while let Some(chunk) = soon("the end", raw.chunk()).await {
                    text.push_str(std::str::from_utf8(&chunk).unwrap());
                }
                last_close(&text)
            }
            Self::Http2(mut stream) => last_close(&String::from_utf8(soon("the end", stream.rest()).await).unwrap()),
            Self::WebSocket(mut socket) => loop {
                let object = soon("the close", socket.object()).await.expect("it is told why");
                if let Some(close) = object.get("close") {
                    return (close["code"].as_str().unwrap().to_owned(), close["retry"].as_bool().unwrap());
                }
            },
            Self::Grpc(mut replies) => loop {
                match soon("a reply", replies.message()).await.unwrap().expect("it is told why").reply {
                    Some(Reply::Closed(closed)) => return (closed.code, closed.retry),
                    other => assert!(matches!(other, Some(Reply::Heartbeat(_))), "{other:?}"),
                }
            },
            Self::Poll(mut raw) => {
                let answer = soon("the end of the poll", raw.answer()).await;
                if answer.status == 204 {
                    return ("reconnect".to_owned(), answer.header("retry-after").is_some());
                }
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                (answer.code(), body["error"]["retry"].as_bool().unwrap())
            }
        }
    }
}

/// The last close in an event stream or a stream of lines.
fn last_close(text: &str) -> End {
    let at = text.rfind("{\"code\":").unwrap_or_else(|| panic!("no close in {text:?}"));
    let close = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next().unwrap().unwrap();
    (close["code"].as_str().unwrap().to_owned(), close["retry"].as_bool().unwrap())
}

/// One client by each way, all with this token.
async fn everywhere(node: &Node, token: &str) -> Vec<(&'static str, Stay)> {
    let to = node.addresses().http;
    let guest = host(node.embedded(), Server::Http1).await;
    let path = |front: &str| format!("/{front}?channel=chat:a&token={token}");
    vec![
        ("sse", Stay::http1(to, &path("sse")).await),
        ("stream", Stay::http1(to, &path("stream")).await),
        ("sse over HTTP/2", Stay::http2(to, &path("sse")).await),
        ("stream over HTTP/2", Stay::http2(to, &path("stream")).await),
        ("websocket", Stay::websocket(to, &path("ws")).await),
        ("grpc", Stay::grpc(node, token).await),
        ("sse of a guest", Stay::http1(guest, &path("sse")).await),
        ("websocket of a guest", Stay::websocket(guest, &path("ws")).await),
        ("poll", Stay::poll(to, &path("poll")).await),
        ("poll of a guest", Stay::poll(guest, &path("poll")).await),
    ]
}

/// Waits until orders find so many stays: a held poll is held a moment after it was asked.
async fn found(node: &Node, count: usize) {
    soon("they are not all there", async {
        while node.embedded().control().register().count() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_user_is_told_on_every_way_to_listen_and_refused_from_then_on() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let (ann, bob) = (bearing("ann", "t-1"), bearing("bob", "t-2"));
    let mut other = WebSocket::open(to, &format!("/ws?channel=chat:a&token={bob}"), "").await;
    assert!(soon("the subscription", other.object()).await.unwrap().get("subscribed").is_some());
    let stays = everywhere(&node, &ann).await;
    found(&node, stays.len() + 1).await;
    let (count, until) = (stays.len(), now() + 60);
    let done = order(&node, "/v1/revoke", json!({ "user": "ann", "until": until })).await;
    let here = json!([{ "node": "this node", "ended": count, "pending": 0 }]);
    assert_eq!(done, json!({ "ended": count, "reached": here, "missed": [], "until": until }));
    for (way, stay) in stays {
        assert_eq!(stay.end().await, ("revoked".to_owned(), false), "{way}");
    }
    found(&node, 1).await;
    for path in ["/sse", "/stream", "/poll", "/v1/channels/chat:a/messages"] {
        let answer = get(to, &format!("{path}?channel=chat:a"), &format!("Authorization: Bearer {ann}\r\n")).await;
        assert_eq!(verdict(&answer), denied(401, "revoked"), "{path}");
    }
    let refused = other.ask(&json!({ "id": 1, "auth": { "token": ann } })).await;
    assert_eq!(refused["error"]["code"], "revoked");
    let why = json!({ "token": ann, "channel": "chat:a", "action": "subscribe" }).to_string();
    let told: Value = serde_json::from_slice(&post(to, "/v1/explain", BACKEND, &why).await.body).unwrap();
    assert_eq!((&told["allowed"], &told["rule"]), (&json!(false), &json!("revoked")));
    assert_eq!(other.ask(&json!({ "id": 2, "ping": {} })).await, json!({ "id": 2, "pong": {} }), "others go on");
    // Who logs in again is welcome.
    let fresh = token(json!({ "sub": "ann", "iat": now() + 2, "channels": [{ "match": "chat:*", "can": ["subscribe"] }] }));
    assert_eq!(get(to, &format!("/poll?channel=chat:a&token={fresh}"), "").await.status, 200);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_ends_what_began_with_it_and_its_users_other_tokens_go_on() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let stays = everywhere(&node, &bearing("ann", "stolen")).await;
    let mut kept = WebSocket::open(to, &format!("/ws?channel=chat:a&token={}", bearing("ann", "own")), "").await;
    assert!(soon("the subscription", kept.object()).await.unwrap().get("subscribed").is_some());
    found(&node, stays.len() + 1).await;
    let done = order(&node, "/v1/revoke", json!({ "token_id": "stolen" })).await;
    assert_eq!(done["ended"], json!(stays.len()));
    for (way, stay) in stays {
        assert_eq!(stay.end().await.0, "revoked", "{way}");
    }
    assert_eq!(kept.ask(&json!({ "id": 1, "ping": {} })).await, json!({ "id": 1, "pong": {} }));
    assert_eq!(verdict(&get(to, &format!("/poll?channel=chat:a&token={}", bearing("ann", "stolen")), "").await), denied(401, "revoked"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnected_user_is_told_whether_to_come_back() {
    let node = start(|_| {}).await;
    for (reconnect, expected) in [(false, ("disconnected", false)), (true, ("reconnect", true))] {
        let stays = everywhere(&node, &bearing("ann", "t-1")).await;
        found(&node, stays.len()).await;
        let done = order(&node, "/v1/disconnect", json!({ "user": "ann", "reconnect": reconnect })).await;
        assert_eq!(done["ended"], json!(stays.len()));
        for (way, stay) in stays {
            let (code, retry) = stay.end().await;
            assert_eq!((&*code, retry), expected, "{way}");
        }
        found(&node, 0).await;
    }
    let answer = get(node.addresses().http, &format!("/poll?channel=chat:a&token={}", bearing("ann", "t-1")), "").await;
    assert_eq!(answer.status, 200, "it may come back if it wants to");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_source_that_is_not_to_come_back_is_stopped_by_its_own_reconnect() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let path = format!("/sse?channel=chat:a&token={}", bearing("ann", "t-1"));
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", &path, to, "Accept: text/event-stream\r\n")).await;
    raw.head().await;
    raw.chunk().await.unwrap();
    order(&node, "/v1/disconnect", json!({ "token_id": "t-1" })).await;
    let text = soon("the end", raw.chunks_until(|text| text.contains("tidings:close"))).await;
    assert!(text.contains("id: !disconnected\n") && !text.contains("retry: "), "{text}");
    let again = get(to, &path, "Accept: text/event-stream\r\nLast-Event-ID: !disconnected\r\n").await;
    assert_eq!(again.status, 204);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_says_it_in_the_numbers_of_its_protocol() {
    let node = start(|_| {}).await;
    let orders = [
        ("/v1/revoke", json!({ "token_id": "t-1" }), (4403, "revoked")),
        ("/v1/disconnect", json!({ "user": "bob" }), (4410, "disconnected")),
        ("/v1/disconnect", json!({ "user": "eve", "reconnect": true }), (1012, "reconnect")),
    ];
    for ((path, body, (code, word)), (user, id)) in orders.into_iter().zip([("ann", "t-1"), ("bob", "t-2"), ("eve", "t-3")]) {
        let mut socket = WebSocket::open(node.addresses().http, &format!("/ws?token={}", bearing(user, id)), "").await;
        found(&node, 1).await;
        assert_eq!(order(&node, path, body).await["ended"], 1);
        assert_eq!(soon("the close", socket.object()).await.unwrap()["close"]["code"], word);
        assert_eq!(socket.frame().await, Framed::Close(Some((code, word.into()))));
        drop(socket);
        found(&node, 0).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_found_by_its_name_whatever_it_shows() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let anonymous = Stay::http1(to, "/sse?channel=open:a&session=nobody").await;
    let named = Stay::http1(to, &format!("/sse?channel=chat:a&session=known&token={}", bearing("ann", "t-1"))).await;
    let streamed = Stay::http2(to, "/stream?channel=open:a&session=nobody").await;
    for (session, count) in [("nobody", 2), ("known", 1), ("other", 0)] {
        let done = order(&node, "/v1/disconnect", json!({ "session": session })).await;
        assert_eq!((&done["ended"], &done["reached"][0]["pending"]), (&json!(count), &json!(0)), "{session}");
    }
    for stay in [anonymous, named, streamed] {
        assert_eq!(stay.end().await, ("disconnected".to_owned(), false));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_subscription_is_named_and_the_others_go_on() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let guest = host(node.embedded(), Server::Http1).await;
    let token = bearing("ann", "t-1");
    let path = |front: &str| format!("/{front}?channel=chat:a&channel=chat:b&token={token}");
    let mut sse = Raw::connect(to).await;
    sse.send(request("GET", &path("sse"), to, "")).await;
    let mut hosted = Raw::connect(guest).await;
    hosted.send(request("GET", &path("stream"), guest, "")).await;
    for raw in [&mut sse, &mut hosted] {
        raw.head().await;
        raw.chunk().await.unwrap();
    }
    let mut lines = Http2::get(to, &path("stream"), &[]).await;
    soon("the beginning", lines.read()).await.unwrap();
    let mut socket = WebSocket::open(to, &path("ws"), "").await;
    for _ in 0..2 {
        assert!(soon("a subscription", socket.object()).await.unwrap().get("subscribed").is_some());
    }
    let client = Client::connect(&format!("http://{}", node.addresses().grpc.unwrap())).await.unwrap().with_token(&token).unwrap();
    let mut subscription = client.subscribe(["chat:a", "chat:b"]).await.unwrap();
    let Stay::Poll(mut poll) = Stay::poll(to, &path("poll")).await else { unreachable!() };
    found(&node, 6).await;

    let done = order(&node, "/v1/unsubscribe", json!({ "user": "ann", "channel": "chat:b" })).await;
    assert_eq!(done["ended"], 6, "{done}");
    let gone =
        json!({ "channel": "chat:b", "error": { "code": "unsubscribed", "message": "a backend ended this subscription", "retry": false } });
    let polled = soon("the poll's answer", poll.answer()).await;
    let polled: Value = serde_json::from_slice(&polled.body).unwrap();
    assert_eq!((&polled["unsubscribed"], &polled["messages"]), (&json!([gone]), &json!([])));
    assert_eq!(soon("a word", socket.object()).await.unwrap(), json!({ "unsubscribed": gone }));
    let heard = soon("an event", sse.chunks_until(|text| text.contains("unsubscribed"))).await;
    assert!(heard.contains(&format!("event: tidings:unsubscribed\ndata: {gone}\n\n")), "{heard}");
    for channel in ["chat:b", "chat:a"] {
        assert_eq!(post(to, &format!("/v1/channels/{channel}/messages"), BACKEND, "hello").await.status, 200);
    }
    let heard = soon("a message", sse.chunks_until(|text| text.contains("hello"))).await;
    assert!(heard.contains("\"channel\":\"chat:a\"") && !heard.contains("\"channel\":\"chat:b\""), "{heard}");
    assert_eq!(soon("a message", socket.object()).await.unwrap()["message"]["channel"], "chat:a");
    let mut text = String::new();
    while !text.contains("hello") {
        text.push_str(&String::from_utf8(soon("a line", lines.read()).await.unwrap()).unwrap());
    }
    let of_guest = soon("a line", hosted.chunks_until(|text| text.contains("hello"))).await;
    for text in [text, of_guest] {
        assert!(text.contains(&json!({ "unsubscribed": gone }).to_string()), "{text}");
        assert!(!text.contains("\"channel\":\"chat:b\",\"offset\""), "{text}");
    }
    match soon("a delivery", subscription.next()).await.unwrap().unwrap() {
        Delivery::Unsubscribed(left) => assert_eq!(left.channel, "chat:b"),
        other => panic!("{other:?}"),
    }
    match soon("a delivery", subscription.next()).await.unwrap().unwrap() {
        Delivery::Message(message) => assert_eq!(message.channel, "chat:a"),
        other => panic!("{other:?}"),
    }

    // The last one of a stream is the stream.
    let done = order(&node, "/v1/unsubscribe", json!({ "user": "ann", "channel": "chat:*" })).await;
    assert_eq!(done["ended"], 5, "{done}");
    for stay in [Stay::Http1(sse), Stay::Http1(hosted), Stay::Http2(lines)] {
        assert_eq!(stay.end().await, ("unsubscribed".to_owned(), false));
    }
    assert_eq!(soon("a word", socket.object()).await.unwrap()["unsubscribed"]["channel"], "chat:a");
    let again = socket.ask(&json!({ "id": 7, "subscribe": { "channel": "chat:a" } })).await;
    assert!(again.get("subscribed").is_some(), "a WebSocket stays, and it is no ban: {again}");
    assert!(matches!(soon("a delivery", subscription.next()).await, Some(Ok(Delivery::Unsubscribed(_)))));
    let ended = soon("the end", subscription.next()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Some(&Code::Other("unsubscribed".into())));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_found_by_the_token_it_showed_last() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let mut socket = WebSocket::open(to, "/ws", "").await;
    assert!(socket.ask(&json!({ "id": 1, "auth": { "token": bearing("ann", "first") } })).await.get("authenticated").is_some());
    assert!(socket.ask(&json!({ "id": 2, "auth": { "token": bearing("ann", "second") } })).await.get("authenticated").is_some());
    assert_eq!(order(&node, "/v1/revoke", json!({ "token_id": "first" })).await["ended"], 0);
    assert_eq!(order(&node, "/v1/revoke", json!({ "token_id": "second" })).await["ended"], 1);
    assert_eq!(soon("the close", socket.object()).await.unwrap()["close"]["code"], "revoked");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_key_with_the_scope_may_order_and_only_over_its_channels() {
    let limited = Key {
        can: vec![Action::Control],
        channels: vec![Pattern::parse("chat:*").unwrap()],
        ..Key::new("moderator", KeyHash::of(b"moderator-key"))
    };
    let node = start(|config| config.keys.push(limited)).await;
    let to = node.addresses().http;
    let no = denied(403, "permission_denied");
    let leave = |channel: &str| json!({ "user": "ann", "channel": channel }).to_string();
    let (away, revoke) = (json!({ "user": "ann" }).to_string(), json!({ "user": "ann" }).to_string());
    for (who, expected) in [("moderator-key", ok()), ("shop-key", no.clone())] {
        let headers = format!("Authorization: Bearer {who}\r\n");
        for channel in ["chat:a", "chat:*"] {
            assert_eq!(verdict(&post(to, "/v1/unsubscribe", &headers, &leave(channel)).await), expected, "{who} {channel}");
        }
        for (path, body) in
            [("/v1/unsubscribe", &leave("*")), ("/v1/unsubscribe", &leave("open:a")), ("/v1/disconnect", &away), ("/v1/revoke", &revoke)]
        {
            assert_eq!(verdict(&post(to, path, &headers, body).await), no, "{who} {path} {body}");
        }
    }
    let headers = format!("Authorization: Bearer {}\r\n", bearing("ann", "t-1"));
    for (path, body) in [("/v1/unsubscribe", &leave("chat:a")), ("/v1/disconnect", &away), ("/v1/revoke", &revoke)] {
        assert_eq!(verdict(&post(to, path, &headers, body).await), no, "no token may: {path}");
        assert_eq!(verdict(&post(to, path, "", body).await).0, 401, "{path}");
    }
    assert_eq!(get(to, &format!("/poll?channel=chat:a&token={}", bearing("ann", "t-1")), "").await.status, 200, "nothing was done");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_none_is_refused_with_words() {
    let node = start(|config| config.tokens.revocations = 1).await;
    let to = node.addresses().http;
    for (path, body, word) in [
        ("/v1/disconnect", "{}", "exactly one"),
        ("/v1/disconnect", "[\"ann\",null,null,false]", "object"),
        ("/v1/disconnect", r#"{"user":"ann","session":"s"}"#, "exactly one"),
        ("/v1/disconnect", r#"{"user":"ann","channel":"a"}"#, "`channel`"),
        ("/v1/disconnect", r#"{"session":"a b"}"#, "session"),
        ("/v1/unsubscribe", r#"{"user":"ann"}"#, "`channel`"),
        ("/v1/unsubscribe", r#"{"user":"ann","channel":"a*b"}"#, "`channel`"),
        ("/v1/revoke", r#"{"session":"s"}"#, "`session`"),
        ("/v1/revoke", r#"{"user":"ann","until":7}"#, "`until`"),
        ("/v1/revoke", r#"{"token_id":"t","issued_until":7}"#, "`issued_until`"),
    ] {
        let answer = post(to, path, BACKEND, body).await;
        assert_eq!(verdict(&answer), denied(400, "invalid_request"), "{path} {body}");
        assert!(answer.text().contains(word), "{path} {body}: {}", answer.text());
    }
    order(&node, "/v1/revoke", json!({ "token_id": "t-1" })).await;
    let full = post(to, "/v1/revoke", BACKEND, r#"{"token_id":"t-2"}"#).await;
    assert_eq!(verdict(&full), denied(503, "overloaded"));
    let metrics = get(node.addresses().admin, "/metrics", "").await;
    for line in [
        "tidings_bound_used{bound=\"revocations\"} 1",
        "tidings_bound_limit{bound=\"revocations\"} 1",
        "tidings_control_orders_given_total{order=\"revoke\",reach=\"everywhere\"} 1",
        "tidings_control_orders_given_total{order=\"revoke\",reach=\"refused\"} 1",
    ] {
        assert!(metrics.text().contains(line), "{line}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_orders_over_grpc_as_over_http() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let client = Client::connect(&format!("http://{}", node.addresses().grpc.unwrap())).await.unwrap();
    let backend = client.clone().with_key("all-key").unwrap();
    let path = format!("/sse?channel=chat:a&token={}", bearing("ann", "t-1"));
    let stay = Stay::http1(to, &path).await;
    assert_eq!(backend.unsubscribe(Clients::of_user("ann"), "chat:b").await.unwrap().ended, 0);
    let done = backend.disconnect(Clients::of_token("t-1"), true).await.unwrap();
    assert_eq!((done.ended, done.reached.len(), done.missed.len(), done.until), (1, 1, 0, None));
    assert_eq!(stay.end().await, ("reconnect".to_owned(), true));
    let until = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(now() + 60);
    let done = backend.revoke_user("ann").until(until).await.unwrap();
    assert_eq!((done.ended, done.until), (0, Some(until)));
    assert_eq!(verdict(&get(to, &path, "").await), denied(401, "revoked"));
    let revoked = client.clone().with_token(&bearing("ann", "t-1")).unwrap();
    assert_eq!(revoked.publish("chat:a", "x").await.unwrap_err().code(), Some(&Code::Revoked));
    let denied = client.with_key("shop-key").unwrap().disconnect(Clients::of_user("ann"), false).await.unwrap_err();
    assert_eq!(denied.code(), Some(&Code::PermissionDenied));
    node.stop().await;
}

/// A subscription to `chat:a` from its beginning, of which nothing is taken but that it began.
async fn untaken(node: &Node, token: &str) -> Streaming<v1::SubscribeReply> {
    let address = format!("http://{}", node.addresses().grpc.unwrap());
    let endpoint = Endpoint::from_shared(address).unwrap().initial_stream_window_size(4 << 10);
    let since = Some(v1::subscribe_request::Since::Earliest(true));
    let mut request = tonic::Request::new(v1::SubscribeRequest { channels: vec!["chat:a".into()], since, ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut replies = BrokerClient::new(endpoint.connect().await.unwrap()).subscribe(request).await.unwrap().into_inner();
    assert!(matches!(soon("a reply", replies.message()).await.unwrap().unwrap().reply, Some(Reply::Subscribed(_))));
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_a_grpc_stream_is_ended_all_the_same_and_what_it_held_is_freed() {
    let node = start(|config| config.tokens.leeway = Duration::ZERO).await;
    for _ in 0..10 {
        node.broker().publish(draft("chat:a", &"x".repeat(20_000))).await.unwrap();
    }
    let admin = node.addresses().admin;
    let closed = async |reason: &str| metric(admin, "tidings_sessions_closed_total", &["\"grpc\"", reason]).await;
    let until_closed = async |reason: &str| soon(reason, async { while closed(reason).await < 1.0 {} }).await;
    let mut stays = Vec::new();
    for user in ["ann", "bob", "cid"] {
        stays.push(untaken(&node, &bearing(user, user)).await);
    }
    let grants = json!([{ "match": "chat:*", "can": ["subscribe", "history"] }]);
    stays.push(untaken(&node, &token(json!({ "sub": "dan", "exp": now() + 3, "channels": grants }))).await);
    let behind = async || metric(admin, "tidings_sessions_behind", &["\"grpc\""]).await;
    soon("nothing is taken", async { while behind().await < 4.0 {} }).await;
    assert!(metric(admin, "tidings_bound_used", &["\"unread_bytes\""]).await > 0.0);
    // Whoever orders waits for a second, and they have been looked at by then.
    for (path, user, reason) in
        [("disconnect", "ann", "disconnected"), ("unsubscribe", "bob", "unsubscribed"), ("revoke", "cid", "revoked")]
    {
        let body = if path == "unsubscribe" { json!({ "user": user, "channel": "chat:*" }) } else { json!({ "user": user }) };
        let done = order(&node, &format!("/v1/{path}"), body).await;
        assert_eq!(done["ended"], 1, "{path}: {done}");
        until_closed(reason).await;
    }
    until_closed("token_expired").await;
    for mut stay in stays {
        let ended = loop {
            match soon("the end", stay.message()).await {
                Ok(reply) => assert!(matches!(reply.expect("it was not told").reply, Some(Reply::Message(_)))),
                Err(status) => break status,
            }
        };
        assert!(format!("{ended:?}").contains("CANCEL"), "{ended:?}");
    }
    soon("all of it is freed", async { while metric(admin, "tidings_bound_used", &["\"unread_bytes\""]).await > 0.0 {} }).await;
    node.stop().await;
}
