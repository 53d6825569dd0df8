//! Server-Sent Events over HTTP/1.1: heads, sockets that are taken over at any moment, and the event-stream format.

use serde_json::Value;
use tidings::node::Node;
use tokio::io::AsyncWriteExt as _;

use crate::event_stream::{self, Event};
use crate::raw::{Answer, Raw, ask, config, post, request, start};

#[tokio::test]
async fn a_stream_has_exactly_these_headers() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", "/sse?channel=a", to, "Accept: text/event-stream\r\n")).await;
    let head = raw.head().await;
    assert_eq!(head.status, 200);
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "tidings-session"))
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    headers.sort_unstable();
    let expected = [
        ("cache-control", "no-cache, no-transform"),
        ("content-type", "text/event-stream"),
        ("transfer-encoding", "chunked"),
        ("x-accel-buffering", "no"),
    ];
    assert_eq!(headers, expected);
    // The first bytes come at once, with a time to reconnect and a position to resume from.
    let first = raw.chunks_until(|text| text.contains("id: ")).await;
    assert!(first.starts_with("retry: "), "{first}");
    node.stop().await;
}

#[tokio::test]
async fn the_socket_is_taken_over_at_any_request_of_a_connection() {
    let node = start().await;
    let to = node.addresses().http;
    for earlier in 0..4 {
        let mut raw = Raw::connect(to).await;
        for n in 0..earlier {
            let before =
                if n % 2 == 0 { request("GET", "/v1/channels", to, "").into_bytes() } else { post("/v1/channels/x/messages", to, b"y") };
            raw.send(before).await;
            assert_eq!(raw.answer().await.status, 200);
        }
        raw.send(request("GET", &format!("/sse?channel=take{earlier}"), to, "")).await;
        assert_eq!(raw.head().await.status, 200);
        ask(to, post(&format!("/v1/channels/take{earlier}/messages"), to, b"hello")).await;
        raw.chunks_until(|text| text.contains("data: hello\n\n")).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_and_what_comes_after_it_is_thrown_away() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    for byte in request("GET", "/sse?channel=slow", to, "").bytes() {
        raw.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.head().await.status, 200);
    let mut noisy = Raw::connect(to).await;
    noisy.send(format!("{}GET /v1/channels HTTP/1.1\r\nHost: x\r\n\r\n\0\u{16}\u{3}", request("GET", "/sse?channel=slow", to, ""))).await;
    assert_eq!(noisy.head().await.status, 200);
    noisy.send(vec![0; 100_000]).await;
    ask(to, post("/v1/channels/slow/messages", to, b"hello")).await;
    raw.chunks_until(|text| text.contains("data: hello\n\n")).await;
    noisy.chunks_until(|text| text.contains("data: hello\n\n")).await;
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_is_let_go() {
    let node = start().await;
    let (to, admin) = (node.addresses().http, node.addresses().admin);
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", "/sse?channel=a", to, "")).await;
    raw.head().await;
    raw.stream.shutdown().await.unwrap();
    raw.rest().await;
    loop {
        let metrics = ask(admin, request("GET", "/metrics", admin, "")).await;
        if metrics.text().contains("tidings_sessions{front=\"sse\"} 0\n") && metrics.text().contains("tidings_connections 0\n") {
            break;
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_over_for_good_is_answered_with_204() {
    let node = start().await;
    let to = node.addresses().http;
    let answer = ask(to, request("GET", "/sse?channel=a", to, "Last-Event-ID: !invalid_request\r\n")).await;
    assert_eq!(answer.status, 204);
    node.stop().await;
}

#[tokio::test]
async fn an_event_source_is_told_by_an_event_and_everyone_else_by_a_status() {
    let node = start().await;
    let to = node.addresses().http;
    for (target, code) in
        [("/sse", "invalid_request"), ("/sse?channel=%00", "invalid_request"), ("/sse?channel=a&since=x", "invalid_cursor")]
    {
        let plain = ask(to, request("GET", target, to, "")).await;
        assert_eq!((plain.status, plain.code().as_str()), (400, code), "{target}");
        let told = ask(to, request("GET", target, to, "Accept: text/event-stream\r\n")).await;
        assert_eq!((told.status, told.header("content-type")), (200, Some("text/event-stream")));
        let known = event_stream::read(told.text());
        let [Event { event, data, last_event_id }] = &known.events[..] else { panic!("{known:?}") };
        assert_eq!(event, "tidings:close");
        assert_eq!(*last_event_id, format!("!{code}"));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["code"], code, "{data}");
        // It comes back by itself with that id, and is told to stop.
        let again = ask(to, request("GET", target, to, &format!("Last-Event-ID: {last_event_id}\r\n"))).await;
        assert_eq!(again.status, 204);
    }
    node.stop().await;
}

#[tokio::test]
async fn an_event_source_that_comes_at_a_bad_time_comes_back_by_itself() {
    let mut config = config();
    config.limits.channels = 1;
    let node = Node::start(config).await.unwrap();
    let to = node.addresses().http;
    // The self-probe's channel takes a place, or this one does.
    ask(to, post("/v1/channels/first/messages", to, b"x")).await;
    let plain = ask(to, request("GET", "/sse?channel=second", to, "")).await;
    assert_eq!((plain.status, plain.code().as_str(), plain.header("retry-after")), (503, "overloaded", Some("2")));
    let told = ask(to, request("GET", "/sse?channel=second", to, "Accept: text/event-stream\r\n")).await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("text/event-stream")));
    let known = event_stream::read(told.text());
    assert!(known.reconnection_time.is_some_and(|time| time > 0) && known.last_event_id.is_empty(), "{known:?}");
    assert!(known.events[0].event == "tidings:close" && known.events[0].data.contains("\"retry\":true"), "{known:?}");
    node.stop().await;
}

/// Whatever a line of an event stream could be taken for.
fn texts() -> Vec<String> {
    let fixed = [
        "",
        " ",
        "  two spaces",
        "\ttab",
        ":",
        ": comment",
        "data: forged",
        "event: forged\n\n",
        "id: forged",
        "retry: 1",
        "\n",
        "\r",
        "\r\n",
        "\n\n\n",
        "\r\r\n\n",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "a\n",
        "\na",
        "a\n\nb",
        "\u{feff}bom",
        "\u{feff}",
        "nul \0 within",
        "\u{2028}\u{85}\u{b}\u{c}",
        "{\"json\":true}",
        "Grüße 🦀",
        "data",
        "\"",
        "\\n",
        "</script>",
    ];
    let mut texts: Vec<String> = fixed.iter().map(ToString::to_string).collect();
    texts.push("x".repeat(60_000));
    texts.push("a\r\n".repeat(10_000));
    texts.push(":".repeat(1000));
    texts
}

/// A client's `data` knows one kind of line end.
fn normalised(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn publish_request(to: std::net::SocketAddr, channel: &str, text: &str) -> Vec<u8> {
    post(&format!("/v1/channels/{channel}/messages"), to, text.as_bytes())
}

async fn stream(to: std::net::SocketAddr, target: &str, count: usize) -> (Answer, Vec<Event>) {
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", target, to, "")).await;
    let head = raw.head().await;
    let text = raw.chunks_until(|text| event_stream::read(text).events.len() == count).await;
    (head, event_stream::read(&text).events)
}

#[tokio::test]
async fn what_a_client_written_from_the_standard_reads_is_what_was_published() {
    let node = start().await;
    let to = node.addresses().http;
    let mut live = Raw::connect(to).await;
    live.send(request("GET", "/sse?channel=text", to, "")).await;
    live.head().await;
    let mut publisher = Raw::connect(to).await;
    for text in texts() {
        publisher.send(publish_request(to, "text", &text)).await;
        assert_eq!(publisher.answer().await.status, 200, "{text:?}");
    }
    let expected: Vec<String> = texts().iter().map(|text| normalised(text)).collect();
    let (_, replayed) = stream(to, "/sse?channel=text&since=earliest", expected.len()).await;
    let lived = live.chunks_until(|text| event_stream::read(text).events.len() == expected.len()).await;
    for events in [&replayed, &event_stream::read(&lived).events] {
        for (event, expected) in events.iter().zip(&expected) {
            assert_eq!((event.event.as_str(), &event.data), ("message", expected));
        }
    }
    // In the envelope not even line ends change.
    for target in ["/sse?channel=text&since=earliest&envelope=1", "/sse?channel=text&channel=other&since=earliest"] {
        let (_, enveloped) = stream(to, target, expected.len()).await;
        for (event, text) in enveloped.iter().zip(texts()) {
            let message: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!((&message["channel"], &message["data"]), (&Value::from("text"), &Value::from(text)));
        }
    }
    // Each id resumes right behind its message.
    let mut ids = replayed.iter().map(|event| event.last_event_id.as_str()).collect::<Vec<_>>();
    assert!(ids.iter().all(|id| !id.is_empty()));
    ids.dedup();
    assert_eq!(ids.len(), expected.len());
    let middle = expected.len() / 2;
    let resumed = format!("/sse?channel=text&since={}", ids[middle]);
    let (_, rest) = stream(to, &resumed, expected.len() - middle - 1).await;
    assert_eq!(rest.iter().map(|event| &event.data).collect::<Vec<_>>(), expected[middle + 1..].iter().collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_come_as_base64() {
    let node = start().await;
    let to = node.addresses().http;
    for bytes in [&b"\xff\xfe"[..], b"ok \xc3", b"\xed\xa0\x80", b"\r\n\xff"] {
        let head = format!("POST /v1/channels/bytes/messages HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n\r\n", bytes.len());
        assert_eq!(ask(to, [head.as_bytes(), bytes].concat()).await.status, 200);
    }
    let (_, events) = stream(to, "/sse?channel=bytes&since=earliest", 4).await;
    let base64: Vec<Value> = events.iter().map(|event| serde_json::from_str::<Value>(&event.data).unwrap()["base64"].clone()).collect();
    assert_eq!(base64, ["//4=", "b2sgww==", "7aCA", "DQr/"].map(Value::from));
    node.stop().await;
}
