//! Names of channels and events in every script, and those that only look alike: each is itself on every way in and out.

use serde_json::{Value, json};

use super::scene::{denied, get, post, start, token, verdict};
use crate::raw::{Raw, request};
use crate::support::{EventStream, Lines, WebSocket, percent, soon};

/// Names that somebody might take for one another, or that a reader might cut, turn round or fold.
const NAMES: [&str; 14] = [
    "open:caf\u{e9}",
    "open:cafe\u{301}",
    "open:\u{44}\u{301}",
    "open:a\u{200d}b",
    "open:a\u{200b}b",
    "open:\u{202e}txt.exe",
    "open:\u{feff}a",
    "open:a\u{2028}event: forged",
    "open:a\u{2029}{}",
    "open:\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "open:\u{ff41}",
    "open:\u{0130}",
    "open:a b+c%20d&e=f",
    "open:\"'<\\/>",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_itself_on_every_way_in_and_out() {
    let node = start(|config| {
        let mut rules = config.namespaces.iter().find(|(name, _)| *name == "open").map(|(_, rules)| rules.clone()).unwrap();
        rules.allow.history = tidings::auth::grant::Who::Anyone;
        config.namespaces.insert("open", rules);
    })
    .await;
    let to = node.addresses().http;
    let mut socket = WebSocket::open(to, "/ws", "").await;
    for (nth, name) in NAMES.iter().enumerate() {
        // Each hears its own message and none of the others', which were published before it.
        let mut events = Raw::connect(to).await;
        events.send(request("GET", &format!("/sse?envelope=1&channel={}", percent(name)), to, "")).await;
        assert_eq!(events.head().await.status, 200, "{name:?}");
        let mut lines = Raw::connect(to).await;
        lines.send(request("GET", &format!("/stream?channel={}", percent(name)), to, "")).await;
        assert_eq!(lines.head().await.status, 200);
        let told = socket.ask(&json!({ "id": nth, "subscribe": { "channel": name } })).await;
        assert_eq!(told["subscribed"]["channel"], **name);
        let text = format!("{nth} \u{2028}\u{85} {name}");
        let event = format!("e {name}");
        let body = json!({ "channel": name, "text": text, "event": event }).to_string();
        assert_eq!(post(to, "/v1/publish", "", &body).await.status, 200, "{name:?}");

        let is_it = |message: &Value| message["channel"] == **name && message["data"] == *text && message["event"] == *event;
        let mut stream = EventStream::default();
        let seen = events.chunks_until(|seen| seen.contains("data: {")).await;
        let heard = stream.push(seen.as_bytes());
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(heard[0].kind == event && is_it(&serde_json::from_str(&heard[0].data).unwrap()), "{heard:?}");
        let seen = lines.chunks_until(|seen| seen.contains("\"offset\"")).await;
        let mut reader = Lines::default();
        let heard: Vec<Value> = seen.bytes().filter_map(|byte| reader.push(byte)).filter(|object| object.get("offset").is_some()).collect();
        assert!(heard.len() == 1 && is_it(&heard[0]), "{heard:?}");
        let told = soon("the message", socket.object()).await.unwrap();
        assert!(is_it(&told["message"]), "{told}");
        for path in [format!("/v1/channels/{}/messages", percent(name)), format!("/poll?since=earliest&channel={}", percent(name))] {
            let answer: Value = serde_json::from_slice(&get(to, &path, "").await.body).unwrap();
            let messages = answer["messages"].as_array().unwrap();
            assert!(messages.len() == 1 && is_it(&messages[0]), "{path}: {answer}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_text_or_no_name_is_refused_and_never_guessed() {
    let node = start(|_| {}).await;
    let to = node.addresses().http;
    for bad in [
        "open:%C0%AF",       // an overlong `/`
        "open:%E0%80%AF",    // another
        "open:%ED%A0%80",    // half a surrogate pair
        "open:%F5%80%80%80", // beyond Unicode
        "open:%C3",          // half a character
        "open:%C2%85",       // a line end of Unicode that is a control character
        "open:a%00b",
        "open:a%1Bb",
        "open:a%7Fb",
        "open:%u0061",
        "open:%",
        "",
    ] {
        for path in [format!("/poll?channel={bad}"), format!("/sse?channel={bad}"), format!("/v1/channels/{bad}/messages")] {
            let answer = get(to, &path, "").await;
            assert_eq!(answer.status, 400, "{path}");
        }
    }
    // A name has 255 bytes, not characters.
    let long = |bytes: usize| format!("open:{}", "x".repeat(bytes - 5));
    assert_eq!(get(to, &format!("/poll?channel={}", long(255)), "").await.status, 200);
    for name in [long(256), format!("open:{}", "\u{e9}".repeat(126))] {
        assert_eq!(get(to, &format!("/poll?channel={}", percent(&name)), "").await.status, 400);
    }
    // Line ends cannot be brought into an event's name by any way that takes one.
    let mut socket = WebSocket::open(to, "/ws", "").await;
    for event in ["a\nb", "a\rdata: x", "\u{85}", "a\u{0}", "tidings:close", ""] {
        let body = json!({ "channel": "open:a", "text": "x", "event": event });
        assert_eq!(post(to, "/v1/publish", "", &body.to_string()).await.status, 400, "{event:?}");
        let path = format!("/v1/channels/open:a/messages?event={}", percent(event));
        assert_eq!(post(to, &path, "", "x").await.status, 400, "{event:?}");
        let told = socket.ask(&json!({ "id": 1, "publish": body })).await;
        assert_eq!(told["error"]["code"], "invalid_request", "{event:?}: {told}");
    }
    // A user whose name holds what separates names is nobody else.
    let sneaky = token(json!({ "sub": "ann#bob" }));
    for channel in ["chat:x#bob", "user:bob", "user:ann"] {
        let header = format!("Authorization: Bearer {sneaky}\r\n");
        assert_eq!(
            verdict(&get(to, &format!("/poll?channel={}", percent(channel)), &header).await),
            denied(403, "permission_denied"),
            "{channel}"
        );
    }
    node.stop().await;
}
