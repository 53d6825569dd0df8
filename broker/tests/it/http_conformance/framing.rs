//! Where one message ends and the next begins: lengths, chunks, pipelines, and those who want two readers to disagree.

use crate::raw::{Raw, ask, post, request, start};

/// What a smuggler hides behind a request that two readers may cut differently.
const SMUGGLED: &str = "GET /v1/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

#[tokio::test]
async fn a_request_whose_end_is_in_doubt_is_refused_and_ends_the_connection() {
    let node = start().await;
    let to = node.addresses().http;
    let doubtful = [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: \r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\n folded: 1\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
    ];
    for headers in doubtful {
        let mut raw = Raw::connect(to).await;
        raw.send(format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\n{headers}\r\nhello{SMUGGLED}")).await;
        assert_eq!(raw.head().await.status, 400, "{headers:?}");
        let rest = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(!rest.contains("HTTP/1.1"), "a second answer after {headers:?}: {rest}");
    }
    // HTTP/1.0 has no transfer codings.
    let old = ask(to, "POST /v1/channels/a/messages HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert_eq!(old.status, 400);
    node.stop().await;
}

#[tokio::test]
async fn broken_chunks_end_the_connection_without_a_second_answer() {
    let node = start().await;
    let to = node.addresses().http;
    for body in
        ["0x5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello", "5hello", "fffffffffffffffff\r\nx", "5\r\nhelloXX0\r\n\r\n", "\r\n\r\n", "g\r\n"]
    {
        let mut raw = Raw::connect(to).await;
        raw.send(format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"))
            .await;
        let heard = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{body:?}: {heard}");
        assert!(heard.matches("HTTP/1.1").count() <= 1, "{body:?}: {heard}");
    }
    assert_eq!(ask(to, request("GET", "/v1/channels", to, "")).await.text(), "{\"channels\":[]}");
    node.stop().await;
}

#[tokio::test]
async fn bare_line_ends_hide_nothing() {
    let node = start().await;
    let to = node.addresses().http;
    let chunked = format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n\r\n");
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "5;x=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
    ] {
        let mut raw = Raw::connect(to).await;
        raw.send(format!("{chunked}{body}{SMUGGLED}")).await;
        let heard = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{body:?}: {heard}");
        assert!(heard.matches("HTTP/1.1").count() <= 1, "{body:?}: {heard}");
    }
    // A carriage return alone is no end of a line, and no part of a value either.
    for header in ["X: a\rContent-Length: 5", "X: a\r\rY: b", "X\r: a", "X: \0a"] {
        let mut raw = Raw::connect(to).await;
        raw.send(format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\n{header}\r\n\r\nhello{SMUGGLED}")).await;
        assert_eq!(raw.head().await.status, 400, "{header:?}");
        let rest = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(!rest.contains("HTTP/1.1"), "a second answer after {header:?}: {rest}");
    }
    // A line feed alone ends a line of a head, as RFC 9112, section 2.2 allows: then it does so everywhere in it.
    let mut raw = Raw::connect(to).await;
    raw.send(format!("POST /v1/channels/lf/messages HTTP/1.1\nHost: {to}\nX: a\nContent-Length: 5\n\nhello{SMUGGLED}")).await;
    assert_eq!(raw.answer().await.status, 200);
    assert_eq!(raw.answer().await.status, 404, "what is behind the length is another request, and seen as one");
    node.stop().await;
}

#[tokio::test]
async fn with_both_lengths_the_chunks_count_and_nothing_is_smuggled() {
    let node = start().await;
    let to = node.addresses().http;
    for headers in ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"] {
        let mut raw = Raw::connect(to).await;
        let chunks = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        raw.send(format!("POST /v1/channels/both/messages HTTP/1.1\r\nHost: {to}\r\n{headers}\r\n{chunks}")).await;
        assert_eq!(raw.answer().await.status, 200);
        // Whoever sends both may think otherwise about where the next request begins (RFC 9112, section 6.1).
        assert!(raw.is_closed().await);
    }
    let history = ask(to, request("GET", "/v1/channels/both/messages", to, "")).await;
    assert_eq!(history.text().matches("/v1/smuggled").count(), 2, "both are payload: {}", history.text());
    node.stop().await;
}

#[tokio::test]
async fn the_same_length_twice_is_one_length() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
    raw.send(format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\n{twice}\r\nhello")).await;
    assert_eq!(raw.answer().await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn chunks_with_extensions_and_trailers_are_one_body_even_byte_by_byte() {
    let node = start().await;
    let to = node.addresses().http;
    let head = format!("POST /v1/channels/chunks/messages HTTP/1.1\r\nHost: {to}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let whole = format!("{head}3;name=value\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: x\r\n\r\n");
    let mut raw = Raw::connect(to).await;
    raw.send(&whole).await;
    assert_eq!(raw.answer().await.status, 200);
    for byte in whole.as_bytes() {
        raw.send([*byte]).await;
    }
    assert_eq!(raw.answer().await.status, 200);
    let history = ask(to, request("GET", "/v1/channels/chunks/messages", to, "")).await;
    assert_eq!(history.text().matches("\"data\":\"hello\"").count(), 2, "{}", history.text());
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_or_not_to() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    raw.send(format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")).await;
    assert_eq!(raw.head().await.status, 100);
    raw.send("hello").await;
    assert_eq!(raw.answer().await.status, 200);

    let mut large = Raw::connect(to).await;
    large
        .send(format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n"))
        .await;
    assert_eq!(large.answer().await.status, 413);
    assert!(large.is_closed().await);

    let mut stream = Raw::connect(to).await;
    stream.send(request("GET", "/sse?channel=a", to, "Expect: 100-continue\r\n")).await;
    assert_eq!(stream.head().await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_the_last_may_be_a_stream() {
    let node = start().await;
    let to = node.addresses().http;
    let get = |target: &str| request("GET", target, to, "").into_bytes();
    let mut raw = Raw::connect(to).await;
    let publish = post("/v1/channels/pipe/messages", to, b"one");
    raw.send([get("/v1/channels"), get("/nothing"), publish, get("/poll?channel=pipe"), get("/sse?channel=pipe&since=earliest")].concat())
        .await;
    assert_eq!(raw.answer().await.text(), "{\"channels\":[]}");
    assert_eq!(raw.answer().await.status, 404);
    assert_eq!(raw.answer().await.status, 200);
    assert!(raw.answer().await.text().starts_with("{\"messages\":[],\"cursor\":"));
    assert_eq!(raw.head().await.header("content-type"), Some("text/event-stream"));
    ask(to, post("/v1/channels/pipe/messages", to, b"two")).await;
    let text = raw.chunks_until(|text| text.contains("data: two\n\n")).await;
    assert!(text.contains("data: one\n\n"), "{text}");
    node.stop().await;
}

#[tokio::test]
async fn a_body_nobody_wants_does_not_take_the_answer_away() {
    let node = start().await;
    let to = node.addresses().http;
    let body = vec![b'x'; 700 * 1024];
    for target in ["/nothing", "/sse?channel=a", "/poll?channel=a", "/v1/nothing"] {
        let mut raw = Raw::connect(to).await;
        raw.try_send(post(target, to, &body)).await;
        assert!(matches!(raw.head().await.status, 404 | 405), "{target}");
    }
    // A GET may have a body, and a stream may answer it.
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", "/sse?channel=a", to, "Content-Length: 5\r\n")).await;
    raw.send("hello").await;
    assert_eq!(raw.head().await.status, 200);
    ask(to, post("/v1/channels/a/messages", to, b"message")).await;
    raw.chunks_until(|text| text.contains("data: message\n\n")).await;
    node.stop().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_told_so() {
    let node = start().await;
    let to = node.addresses().http;
    let long = request("GET", "/v1/channels", to, &format!("X: {}\r\n", "x".repeat(20_000)));
    let many = request("GET", "/v1/channels", to, &"X: 1\r\n".repeat(10_000));
    let target = request("GET", &format!("/sse?channel={}", "x".repeat(70_000)), to, "");
    for (head, expected) in [(long, 431), (many, 431), (target, 431)] {
        let mut raw = Raw::connect(to).await;
        raw.try_send(&head).await;
        assert!(matches!(raw.head().await.status, 414 | 431), "{expected}");
    }
    let just = request("GET", "/v1/channels", to, &format!("X: {}\r\n", "x".repeat(15_000)));
    assert_eq!(ask(to, just).await.status, 200);
    node.stop().await;
}
