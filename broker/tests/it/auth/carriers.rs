//! Every way in asks, whichever way a credential is carried.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use tidings::auth::config::UnixPeer;
use tidings::auth::pattern::Pattern;
use tidings::auth::signed_url::{SignedUrl, Signers};
use tidings::auth::{Action, Book};
use tidings_sdk::{Client, Code, Message};

use super::scene::{COOKIE, chat, closed, denied, get, now, ok, post, start, token, verdict};
use crate::raw::{Raw, request};
use crate::support::{WebSocket, percent};

/// What a caller hears who asks each front for a channel, and the API to publish there and to look back.
async fn everywhere(to: std::net::SocketAddr, channel: &str, headers: &str) -> Vec<(u16, String)> {
    let (name, channel) = (channel, percent(channel));
    let mut heard = Vec::new();
    for path in ["/sse", "/stream"] {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", &format!("{path}?channel={channel}"), to, &format!("Connection: close\r\n{headers}"))).await;
        let mut answer = raw.head().await;
        if answer.status != 200 {
            answer.body = raw.rest().await;
        }
        heard.push(verdict(&answer));
    }
    heard.push(verdict(&get(to, &format!("/poll?channel={channel}"), headers).await));
    let mut socket = WebSocket::open(to, "/ws", headers).await;
    let answer = socket.ask(&json!({ "id": 1, "subscribe": { "channel": name } })).await;
    heard.push(told(&answer));
    heard.push(verdict(&post(to, &format!("/v1/channels/{channel}/messages"), headers, "x").await));
    heard.push(verdict(&get(to, &format!("/v1/channels/{channel}/messages"), headers).await));
    heard
}

/// An answer over a WebSocket, as HTTP would give it.
fn told(answer: &Value) -> (u16, String) {
    match answer["error"]["code"].as_str() {
        None => ok(),
        Some(code @ ("unauthenticated" | "token_expired")) => denied(401, code),
        Some(code) => denied(403, code),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_open_by_any_door_unless_something_opens_it() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let (none, no) = (denied(401, "unauthenticated"), denied(403, "permission_denied"));
    let bearer = |text: &str| format!("Authorization: Bearer {text}\r\n");
    // Listening by four fronts, publishing, history.
    let all = |listen: &(u16, String), publish: &(u16, String), history: &(u16, String)| {
        let mut all = vec![listen.clone(); 4];
        all.extend([publish.clone(), history.clone()]);
        all
    };
    for (channel, headers, expected) in [
        ("a", String::new(), all(&none, &none, &none)),
        ("chat:a", String::new(), all(&none, &none, &none)),
        ("elsewhere:a", String::new(), all(&no, &no, &no)),
        ("open:a", String::new(), all(&ok(), &ok(), &none)),
        ("open:a#bob", String::new(), all(&none, &none, &none)),
        ("chat:a", bearer(&chat()), all(&ok(), &ok(), &ok())),
        ("chat:inbox#bob", bearer(&chat()), all(&no, &no, &no)),
        ("chat:inbox#ann", bearer(&chat()), all(&ok(), &no, &ok())),
        ("members:a", bearer(&chat()), all(&ok(), &no, &ok())),
        ("user:ann", bearer(&chat()), all(&ok(), &no, &ok())),
        ("user:anna", bearer(&chat()), all(&no, &no, &no)),
        ("user:bob", bearer(&chat()), all(&no, &no, &no)),
        ("Chat:a", bearer(&chat()), all(&no, &no, &no)),
        ("cha\u{442}:a", bearer(&chat()), all(&no, &no, &no)),
        ("chat:a", bearer("shop-key"), all(&no, &ok(), &no)),
        ("members:a", bearer("shop-key"), all(&no, &no, &no)),
        ("elsewhere:a#b", bearer("all-key"), all(&ok(), &ok(), &ok())),
    ] {
        assert_eq!(everywhere(to, channel, &headers).await, expected, "{channel} with {headers:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_credential_is_refused_also_where_none_is_needed() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let expired = token(json!({ "exp": now() - 60 }));
    let theirs = token(json!({})).replace("eyJ", "eyK");
    for (bad, code) in
        [("guess", "unauthenticated"), ("a.b.c", "unauthenticated"), (&*expired, "token_expired"), (&*theirs, "unauthenticated")]
    {
        let header = format!("Authorization: Bearer {bad}\r\n");
        assert_eq!(verdict(&get(to, "/poll?channel=open:a", &header).await), denied(401, code), "{bad}");
        assert_eq!(verdict(&post(to, "/v1/channels/open:a/messages", &header, "x").await), denied(401, code), "{bad}");
        if bad != "guess" {
            assert_eq!(verdict(&get(to, &format!("/poll?channel=open:a&token={bad}"), "").await), denied(401, code), "{bad}");
            assert_eq!(verdict(&get(to, "/poll?channel=open:a", &format!("Cookie: {COOKIE}={bad}\r\n")).await), denied(401, code), "{bad}");
        }
        let mut socket = WebSocket::open(to, "/ws?channel=open:a", &header).await;
        assert_eq!(socket.object().await.unwrap()["close"]["code"], code, "{bad}");
    }
    for keyed in ["/poll?channel=chat:a&token=all-key", "/poll?channel=open:a&token=all-key"] {
        assert_eq!(verdict(&get(to, keyed, "").await), denied(401, "unauthenticated"), "a key does not stand in an address");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_carried_by_header_query_cookie_or_message() {
    let node = start(|_| {}).await;
    let (to, token) = (node.addresses().http, chat());
    let cookie = format!("Cookie: other=1; {COOKIE}={token}\r\n");
    for (path, headers) in [
        ("/poll?channel=chat:a".to_owned(), format!("Authorization: bearer {token}\r\n")),
        (format!("/poll?channel=chat:a&token={token}"), String::new()),
        (format!("/poll?token={token}&channel=chat:a"), String::new()),
        ("/poll?channel=chat:a".to_owned(), cookie.clone()),
        (format!("/v1/channels/chat:a/messages?limit=1&token={token}"), String::new()),
        ("/v1/channels/chat:a/messages".to_owned(), cookie),
    ] {
        assert_eq!(verdict(&get(to, &path, &headers).await), ok(), "{path} {headers}");
    }
    let mut socket = WebSocket::open(to, "/ws", "").await;
    let subscribe = json!({ "id": 1, "subscribe": { "channel": "chat:a" } });
    assert_eq!(told(&socket.ask(&subscribe).await), denied(401, "unauthenticated"));
    let answer = socket.ask(&json!({ "id": 2, "auth": { "token": token } })).await;
    assert!(answer["authenticated"]["expires"].as_u64().unwrap() > now(), "{answer}");
    assert_eq!(told(&socket.ask(&subscribe).await), ok());
    assert_eq!(told(&socket.ask(&json!({ "id": 3, "auth": { "token": "a.b.c" } })).await), denied(401, "unauthenticated"));
    let published = socket.ask(&json!({ "id": 4, "publish": { "channel": "chat:a", "text": "x" } })).await;
    assert!(published.get("published").is_some() || published.get("message").is_some(), "a bad one changes nothing: {published}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_address_opens_its_channels_and_no_others() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let book = Book::read(&closed().auth()).unwrap();
    let signed = |signers: &Signers, channels: &[&str], expires: u64| {
        let mut url = SignedUrl {
            key: "gate".into(),
            expires: expires.to_string(),
            user: "ann".into(),
            channels: channels.iter().map(ToString::to_string).collect(),
            signature: String::new(),
        };
        url.signature = signers.sign(&url).unwrap();
        let channels: String = channels.iter().map(|channel| format!("channel={}&", percent(channel))).collect();
        format!("{channels}user=ann&expires={expires}&key=gate&signature={}", url.signature)
    };
    let good = signed(book.signers(), &["chat:a", "chat:b"], now() + 60);
    assert_eq!(verdict(&get(to, &format!("/poll?{good}"), "").await), ok());
    let no = denied(401, "unauthenticated");
    for changed in [
        good.replace("chat%3Ab", "chat%3Ac"),
        format!("{good}&channel=chat%3Ac"),
        good.replace("user=ann", "user=bob"),
        good.replace("key=gate", "key=gates"),
        format!("{good}&user=ann"),
        good.replace("channel=chat%3Aa&", ""),
    ] {
        assert_eq!(verdict(&get(to, &format!("/poll?{changed}"), "").await), no, "{changed}");
    }
    let late = signed(book.signers(), &["chat:a"], now() - 1);
    assert_eq!(verdict(&get(to, &format!("/poll?{late}"), "").await), denied(401, "token_expired"));
    let mut socket = WebSocket::open(to, &format!("/ws?{good}"), "").await;
    assert!(socket.object().await.unwrap().get("subscribed").is_some());
    assert!(socket.object().await.unwrap().get("subscribed").is_some());
    // Nor does it open what is its user's, or every token's: it may have gone further than its user.
    for channel in ["chat:c", "chat:inbox#ann", "user:ann", "members:a"] {
        let answer = socket.ask(&json!({ "id": 1, "subscribe": { "channel": channel } })).await;
        assert_eq!(told(&answer), denied(403, "permission_denied"), "{channel}");
    }
    assert_eq!(
        told(&socket.ask(&json!({ "id": 2, "publish": { "channel": "chat:a", "text": "x" } })).await),
        denied(403, "permission_denied")
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_asks_as_http_does_and_knows_unix_users() {
    let home = tempfile::tempdir().unwrap();
    let (unix, uid) = (home.path().join("grpc.sock"), std::fs::metadata(home.path()).unwrap().uid());
    let node = start(|config| {
        config.grpc.unix = Some(unix.clone());
        let channels = vec![Pattern::parse("chat:*").unwrap()];
        config.unix_peers.push(UnixPeer { name: "me".into(), uid, can: vec![Action::Publish], channels });
    })
    .await;
    let tcp = Client::connect(&format!("http://{}", node.addresses().grpc.unwrap())).await.unwrap();
    let local = Client::connect(&format!("unix:{}", unix.display())).await.unwrap();
    let with = |client: &Client, key: &str| client.clone().with_key(key).unwrap();
    for (client, channel, code) in [
        (tcp.clone(), "chat:a", Some(Code::Unauthenticated)),
        (with(&tcp, "guess"), "chat:a", Some(Code::Unauthenticated)),
        (with(&tcp, "shop-key"), "chat:a", None),
        (with(&tcp, "shop-key"), "members:a", Some(Code::PermissionDenied)),
        (with(&tcp, &chat()), "chat:a", None),
        (with(&tcp, &chat()), "chat:inbox#ann", Some(Code::PermissionDenied)),
        (local.clone(), "chat:a", None),
        (local.clone(), "members:a", Some(Code::PermissionDenied)),
        (with(&local, "guess"), "chat:a", Some(Code::Unauthenticated)),
        (with(&local, "all-key"), "members:a", None),
    ] {
        let outcome = client.publish(channel, Message::new("x")).await;
        assert_eq!(outcome.as_ref().err().and_then(|why| why.code()), code.as_ref(), "{channel}: {outcome:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_clearing_are_for_keys_that_say_so() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let bearer = |text: &str| format!("Authorization: Bearer {text}\r\n");
    for (headers, expected) in [
        (String::new(), denied(401, "unauthenticated")),
        (bearer(&chat()), denied(403, "permission_denied")),
        (bearer("shop-key"), denied(403, "permission_denied")),
        (bearer("all-key"), ok()),
    ] {
        assert_eq!(verdict(&get(to, "/v1/channels", &headers).await), expected);
        let clear = request("DELETE", "/v1/channels/chat:a/messages", to, &headers);
        assert_eq!(verdict(&crate::raw::ask(to, clear).await), expected);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_and_no_metric_repeats_a_credential() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    let token = token(json!({ "channels": [{ "match": "hunter2", "can": ["hunter2"] }] }));
    let secret = token.rsplit('.').next().unwrap().to_owned();
    let mut said = String::new();
    for (path, headers) in [
        (format!("/poll?channel=chat:a&token={token}"), String::new()),
        ("/poll?channel=chat:a".to_owned(), format!("Authorization: Bearer {token}x\r\n")),
        ("/poll?channel=chat:a".to_owned(), "Authorization: Bearer hunter2-key\r\n".to_owned()),
        ("/poll?channel=chat:a".to_owned(), format!("Cookie: {COOKIE}={token}\r\n")),
        (format!("/v1/nothing?token={token}"), String::new()),
        (format!("/v1/channels?tokens={token}&token={token}"), "Authorization: Bearer all-key\r\n".to_owned()),
        (format!("/sse?channel=chat:a&token={token}"), "Accept: text/event-stream\r\n".to_owned()),
    ] {
        let answer = get(to, &path, &headers).await;
        said.push_str(answer.text());
        said.push_str(&format!("{:?}", answer.headers));
    }
    let explained = post(to, "/v1/explain", "", &json!({ "token": token, "channel": "a", "action": "publish" }).to_string()).await;
    said.push_str(explained.text());
    said.push_str(post(to, "/v1/explain", "", &format!(r#"{{"token":"{secret}","channel":7}}"#)).await.text());
    said.push_str(get(node.addresses().admin, "/metrics", "").await.text());
    assert!(said.contains("tidings_auth_calls_refused_total{cause=\"claims\"}"));
    assert!(!said.contains(&secret) && !said.contains("hunter2") && !said.contains("all-key"), "{said}");
    node.stop().await;
}
