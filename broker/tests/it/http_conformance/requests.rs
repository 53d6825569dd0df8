//! Methods, targets, hosts, versions, and the end of connections.

use tidings::node::Node;
use tokio::io::AsyncWriteExt as _;

use crate::raw::{Answer, Raw, ask, config, post, request, start};

#[tokio::test]
async fn methods_a_path_does_not_take_are_told_which_it_takes() {
    let node = start().await;
    let to = node.addresses().http;
    let front = "GET, HEAD, OPTIONS";
    for (path, allow) in [
        ("/sse?channel=a", front),
        ("/poll?channel=a", front),
        ("/v1/publish", "POST, OPTIONS"),
        ("/v1/channels", front),
        ("/v1/channels/a/messages", "GET, HEAD, POST, DELETE, OPTIONS"),
    ] {
        for method in ["PUT", "PATCH", "TRACE", "BREW", "get"] {
            let answer = ask(to, request(method, path, to, "")).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
            assert_eq!(answer.code(), "method_not_allowed");
        }
        let options = ask(to, request("OPTIONS", path, to, "")).await;
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)), "{path}");
    }
    assert_eq!(ask(to, request("OPTIONS", "*", to, "")).await.status, 204);
    node.stop().await;
}

#[tokio::test]
async fn unknown_paths_are_not_found_whatever_the_method() {
    let node = start().await;
    let to = node.addresses().http;
    for target in ["/nothing", "/ssex?channel=a", "/sse/", "/v1", "/v1/", "/V1/channels", "/%2e%2e/etc/passwd", "//sse", "/v1/channels/a"] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = ask(to, request(method, target, to, "")).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{method} {target}");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body_and_the_connection_goes_on() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    for target in ["/v1/channels", "/v1/channels/a/messages", "/poll?channel=a", "/nothing", "/sse", "/poll?channel=a&since=broken"] {
        raw.send(request("HEAD", target, to, "")).await;
        let head = raw.head().await;
        let mut get = ask(to, request("GET", target, to, "")).await;
        assert_eq!((head.status, head.header("content-length")), (get.status, get.header("content-length")), "{target}");
        get.headers.retain(|(name, _)| !matches!(name.as_str(), "date" | "etag" | "tidings-cursor" | "tidings-session"));
        for (name, value) in &get.headers {
            assert_eq!(head.header(name), Some(value.as_str()), "{target}");
        }
    }
    // A stream has no length to tell, and HEAD must not open it.
    raw.send(request("HEAD", "/sse?channel=a", to, "")).await;
    assert_eq!(raw.head().await.header("content-type"), Some("text/event-stream"));
    raw.send(request("GET", "/v1/channels", to, "")).await;
    assert_eq!(raw.answer().await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_date() {
    let node = start().await;
    let to = node.addresses().http;
    for target in ["/v1/channels", "/sse?channel=a", "/sse", "/poll?channel=a", "/nothing"] {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", target, to, "")).await;
        let head = raw.head().await;
        let date = httpdate(head.header("date").unwrap_or_else(|| panic!("none on {target}")));
        assert!(date.elapsed().is_ok_and(|age| age.as_secs() < 60), "{target}");
    }
    node.stop().await;
}

/// IMF-fixdate (RFC 9110, section 5.6.7), only as far as this century goes.
fn httpdate(text: &str) -> std::time::SystemTime {
    assert!(text.len() == 29 && text.ends_with(" GMT") && &text[3..5] == ", ", "{text}");
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    let month =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"].iter().position(|m| *m == &text[8..11]);
    let (year, month, day) = (number(12..16), month.unwrap() as u64 + 1, number(5..7));
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(days * 86_400 + number(17..19) * 3600 + number(20..22) * 60 + number(23..25))
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    raw.send("GET /v1/channels HTTP/1.0\r\n\r\n").await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None));
    assert!(raw.is_closed().await);

    let mut stream = Raw::connect(to).await;
    stream.send("GET /sse?channel=old HTTP/1.0\r\n\r\n").await;
    let head = stream.head().await;
    assert_eq!((head.header("transfer-encoding"), head.header("connection"), head.header("content-length")), (None, Some("close"), None));
    ask(to, post("/v1/channels/old/messages", to, b"hello")).await;
    let text = stream.bytes_until(|text| text.contains("data: hello\n\n")).await;
    assert!(text.starts_with("retry: "), "{text}");
    node.stop().await;
}

#[tokio::test]
async fn an_http_1_0_client_may_keep_the_connection_if_it_says_so() {
    let node = start().await;
    let to = node.addresses().http;
    let mut raw = Raw::connect(to).await;
    for _ in 0..2 {
        raw.send("GET /v1/channels HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = raw.answer().await;
        assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
    }
    node.stop().await;
}

#[tokio::test]
async fn connection_close_is_obeyed_and_told() {
    let node = start().await;
    let to = node.addresses().http;
    for target in ["/v1/channels", "/poll?channel=a", "/nothing"] {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", target, to, "Connection: close\r\n")).await;
        assert_eq!(raw.answer().await.header("connection"), Some("close"), "{target}");
        assert!(raw.is_closed().await, "{target}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_target_may_be_absolute() {
    let node = start().await;
    let to = node.addresses().http;
    assert_eq!(ask(to, request("GET", &format!("http://{to}/v1/channels?limit=1"), to, "")).await.status, 200);
    let mut raw = Raw::connect(to).await;
    raw.send(request("GET", &format!("http://{to}/sse?channel=a"), to, "")).await;
    assert_eq!(raw.head().await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_request_says_exactly_once_for_whom_it_is() {
    let node = start().await;
    let to = node.addresses().http;
    for hosts in ["", "Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n", "Host: a b\r\n", "Host: u@127.0.0.1\r\n", "Host: 127.0.0.1/x\r\n"] {
        for target in ["/v1/channels", "/sse?channel=a", "/nothing"] {
            let answer = ask(to, format!("GET {target} HTTP/1.1\r\n{hosts}\r\n")).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{hosts:?}");
        }
    }
    assert_eq!(ask(to, "GET /v1/channels HTTP/1.1\r\nHost: \r\n\r\n").await.status, 200);
    node.stop().await;
}

async fn asked_for(node: &Node, host: &str) -> Vec<Answer> {
    let to = node.addresses().http;
    let mut answers = Vec::new();
    for line in ["GET /v1/channels", "POST /v1/channels/a/messages", "GET /poll?channel=a", "GET /sse?channel=a", "GET /"] {
        let mut raw = Raw::connect(to).await;
        raw.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 0\r\n\r\n")).await;
        answers.push(raw.head().await);
    }
    answers
}

#[tokio::test]
async fn in_dev_mode_a_name_that_was_pointed_at_this_machine_gets_nothing() {
    let node = start().await;
    let port = node.addresses().http.port();
    for host in [format!("rebound.example:{port}"), "localhost.evil.example".to_owned()] {
        assert!(asked_for(&node, &host).await.iter().all(|answer| answer.status == 403), "{host}");
    }
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert!(asked_for(&node, &host).await.iter().all(|answer| answer.status != 403), "{host}");
    }
    node.stop().await;

    let mut guarded = config();
    guarded.dev = false;
    guarded.namespaces.insert(tidings::hub::namespace::DEFAULT, tidings::hub::namespace::Config::default().open());
    let node = Node::start(guarded).await.unwrap();
    assert!(asked_for(&node, "push.example").await.iter().all(|answer| answer.status != 403));
    node.stop().await;
}

#[tokio::test]
async fn what_is_asked_with_the_last_words_is_answered() {
    let node = start().await;
    let to = node.addresses().http;
    for _ in 0..20 {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/v1/channels", to, "")).await;
        raw.stream.shutdown().await.unwrap();
        assert_eq!(raw.answer().await.status, 200);
        assert!(raw.is_closed().await);

        let mut stream = Raw::connect(to).await;
        stream.send(request("GET", "/sse?channel=a", to, "")).await;
        stream.stream.shutdown().await.unwrap();
        assert_eq!(stream.head().await.status, 200);
    }
    node.stop().await;
}

#[tokio::test]
async fn nothing_a_client_sends_can_write_into_a_head_or_a_stream() {
    let node = start().await;
    let to = node.addresses().http;
    for target in [
        "/sse?channel=a%0d%0aX-Evil:%201",
        "/sse?channel=a%0aevent:%20forged",
        "/poll?channel=a%00",
        "/sse?channel=a&since=x%0d%0aX-Evil:%201",
        "/poll?channel=a&since=%0d%0aX-Evil:%201",
        "/v1/channels/a%0d%0aX-Evil:%201/messages",
        "/v1/channels?prefix=%zz",
    ] {
        let answer = ask(to, request("GET", target, to, "")).await;
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.header("x-evil").is_none());
    }
    for target in ["/v1/channels/a/messages?event=x%0ay", "/v1/channels/a/messages?event=tidings:gap", "/v1/channels/a/messages?id=%0d"] {
        assert_eq!(ask(to, post(target, to, b"x")).await.status, 400, "{target}");
    }
    // What hyper itself will not take.
    for line in
        ["GET /a\rb HTTP/1.1", "GET /a b HTTP/1.1", "GET  /sse HTTP/1.1", "GET /\u{1} HTTP/1.1", "G\u{e9}T / HTTP/1.1", "GET / HTTP/3.0"]
    {
        assert_eq!(ask(to, format!("{line}\r\nHost: {to}\r\n\r\n")).await.status, 400, "{line:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn no_refusal_is_kept_by_a_cache_and_none_is_a_session() {
    let node = start().await;
    let to = node.addresses().http;
    for target in ["/sse", "/sse?channel=a&since=x", "/stream", "/stream?channel=a&last=0", "/poll", "/poll?channel=a&since=x", "/nothing"]
    {
        for method in ["GET", "PUT"] {
            let answer = ask(to, request(method, target, to, "")).await;
            assert!(answer.status >= 400, "{method} {target}: {answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {target}");
        }
    }
    let over = ask(to, request("GET", "/sse?channel=a", to, "Last-Event-ID: !invalid_cursor\r\n")).await;
    assert_eq!((over.status, over.header("cache-control")), (204, Some("no-store")));
    let many: String = (0..65).map(|number| format!("&channel={number}%7Btag%7D")).collect();
    assert_eq!(ask(to, request("GET", &format!("/poll?since=earliest{many}"), to, "")).await.status, 400);
    assert_eq!(crate::support::metric(node.addresses().admin, "tidings_sessions_opened_total", &[]).await, 0.0);
    node.stop().await;
}

#[tokio::test]
async fn the_admin_listener_on_loopback_is_not_read_by_foreign_pages() {
    let mut config = config();
    config.dev = false;
    let node = Node::start(config).await.unwrap();
    let to = node.addresses().admin;
    for path in ["/metrics", "/livez", "/readyz", "/"] {
        let foreign = format!("GET {path} HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n", to.port());
        assert_eq!(ask(to, foreign).await.status, 403, "{path}");
        let local = format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", to.port());
        assert_ne!(ask(to, local).await.status, 403, "{path}");
    }
    node.stop().await;
}
