//! The HTTP and JSON API under `/v1`, over real sockets.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::node::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A node that lets everyone in, on free ports.
async fn open_node() -> Node {
    start(Config { dev: true, ..Config::default() }).await
}

async fn start(mut config: Config) -> Node {
    (config.http.listen, config.grpc.listen, config.admin.listen) = (LOCAL, Some(LOCAL), LOCAL);
    config.shards = 1;
    Node::start(config).await.unwrap()
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {:?}", self.body))
    }

    fn code(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// One request on a connection of its own.
async fn call(to: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", to.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let socket = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap().into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

async fn get(to: SocketAddr, path: &str) -> Answer {
    call(to, Method::GET, path, &[], "").await
}

async fn publish(to: SocketAddr, body: Value) -> Answer {
    call(to, Method::POST, "/v1/publish", &[], body.to_string()).await
}

#[tokio::test]
async fn what_is_published_is_in_the_history() {
    let node = open_node().await;
    let http = node.addresses().http;
    let described = json!({ "channel": "news", "data": { "a": [1, null] }, "event": "created", "id": "n-1", "headers": { "x": "y" } });
    let first = publish(http, described).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.headers["content-type"], "application/json");
    let first = first.json();
    assert_eq!((&first["channel"], &first["offset"], &first["id"]), (&json!("news"), &json!(1), &json!("n-1")));
    assert_eq!((&first["copies"], &first["duplicate"]), (&json!(1), &json!(false)));

    let raw = "/v1/channels/news/messages?event=raw&ttl=5m";
    assert_eq!(call(http, Method::POST, raw, &[("content-type", "text/plain")], "Grüße\n").await.status, StatusCode::OK);
    publish(http, json!({ "channel": "news", "base64": "/wA=" })).await;

    let page = get(http, "/v1/channels/news/messages").await.json();
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0]["data"], json!({ "a": [1, null] }));
    assert_eq!(messages[0]["headers"], json!({ "x": "y" }));
    assert_eq!((&messages[0]["event"], &messages[0]["cursor"]), (&json!("created"), &first["cursor"]));
    assert_eq!((&messages[1]["data"], &messages[1]["content_type"]), (&json!("Grüße\n"), &json!("text/plain")));
    assert_eq!((&messages[1]["event"], &messages[2]["base64"]), (&json!("raw"), &json!("/wA=")));
    assert!(page["cursor"].is_string() && page.get("gap").is_none());
    node.drain().await;
}

#[tokio::test]
async fn a_history_is_read_page_by_page_in_both_directions() {
    let node = open_node().await;
    let http = node.addresses().http;
    for n in 1..=5 {
        publish(http, json!({ "channel": "pages", "data": n })).await;
    }
    let numbers = |page: &Value| page["messages"].as_array().unwrap().iter().map(|m| m["data"].as_u64().unwrap()).collect::<Vec<_>>();
    let first = get(http, "/v1/channels/pages/messages?limit=2").await.json();
    assert_eq!(numbers(&first), [1, 2]);
    let next = format!("/v1/channels/pages/messages?limit=2&since={}", first["cursor"].as_str().unwrap());
    assert_eq!(numbers(&get(http, &next).await.json()), [3, 4]);
    assert_eq!(numbers(&get(http, "/v1/channels/pages/messages?order=desc&limit=3").await.json()), [5, 4, 3]);
    node.drain().await;
}

#[tokio::test]
async fn a_repeated_id_is_one_message() {
    let node = open_node().await;
    let http = node.addresses().http;
    let once = publish(http, json!({ "channel": "orders", "text": "a", "id": "7" })).await.json();
    let again = call(http, Method::POST, "/v1/channels/orders/messages?id=7", &[], "a").await.json();
    assert_eq!((&again["duplicate"], &again["offset"], &again["cursor"]), (&json!(true), &once["offset"], &once["cursor"]));
    assert_eq!(get(http, "/v1/channels/orders/messages").await.json()["messages"].as_array().unwrap().len(), 1);
    node.drain().await;
}

#[tokio::test]
async fn many_channels_are_answered_one_by_one() {
    let node = open_node().await;
    let answer = publish(node.addresses().http, json!({ "channels": ["a", "", "b"], "text": "x" })).await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = &answer.json()["results"];
    assert_eq!((&results[0]["channel"], &results[0]["offset"]), (&json!("a"), &json!(1)));
    assert_eq!((&results[1]["channel"], &results[1]["error"]["code"]), (&json!(""), &json!("invalid_request")));
    assert_eq!(results[2]["channel"], "b");
    node.drain().await;
}

#[tokio::test]
async fn a_body_as_curl_sends_it_has_no_content_type() {
    let node = open_node().await;
    let http = node.addresses().http;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    call(http, Method::POST, "/v1/channels/curl/messages", &form, "a=b").await;
    call(http, Method::POST, "/v1/publish", &form, r#"{"channel":"curl","data":1}"#).await;
    let page = get(http, "/v1/channels/curl/messages").await.json();
    assert_eq!(page["messages"][0]["data"], "a=b");
    assert!(page["messages"][0].get("content_type").is_none());
    assert_eq!(page["messages"][1]["data"], 1);
    node.drain().await;
}

#[tokio::test]
async fn a_clear_empties_the_history_and_the_list_shows_it() {
    let node = open_node().await;
    let http = node.addresses().http;
    for channel in ["list:b", "list:a", "other"] {
        publish(http, json!({ "channel": channel, "text": "x" })).await;
    }
    let page = get(http, "/v1/channels?prefix=list:&limit=1").await.json();
    assert_eq!(page["channels"][0]["channel"], "list:a");
    assert_eq!(page["channels"][0]["messages"], 1);
    let next = format!("/v1/channels?prefix=list:&after={}", page["next"].as_str().unwrap());
    let rest = get(http, &next).await.json();
    assert_eq!(rest["channels"].as_array().unwrap().iter().map(|c| &c["channel"]).collect::<Vec<_>>(), ["list:b"]);
    assert!(rest.get("next").is_none());

    let cleared = call(http, Method::DELETE, "/v1/channels/list%3Aa/messages", &[], "").await;
    assert!(cleared.status.is_success() && cleared.json()["cursor"].is_string());
    assert_eq!(get(http, "/v1/channels/list:a/messages").await.json()["messages"], json!([]));
    node.drain().await;
}

#[tokio::test]
async fn what_is_wrong_is_answered_with_its_status_and_code() {
    let node = open_node().await;
    let http = node.addresses().http;
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "not_found"),
        (Method::GET, "/v1/channels/%ff/messages", 400, "invalid_request"),
        (Method::GET, "/v1/channels/a/messages?colour=1", 400, "invalid_request"),
        (Method::GET, "/v1/channels/a/messages?limit=0", 400, "invalid_request"),
        (Method::GET, "/v1/channels/a/messages?order=up", 400, "invalid_request"),
        (Method::GET, "/v1/channels/a/messages?since=!", 400, "invalid_cursor"),
        (Method::POST, "/v1/channels/a/messages?event=tidings:x", 400, "invalid_request"),
        (Method::POST, "/v1/channels/a/messages?ttl=never", 400, "invalid_request"),
        (Method::POST, "/v1/channels/tidings-probe:self/messages", 403, "permission_denied"),
        (Method::POST, "/v1/publish", 400, "invalid_request"),
        (Method::GET, "/v1/publish", 405, "method_not_allowed"),
    ] {
        let answer = call(http, method.clone(), path, &[], "").await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{method} {path}");
        assert_eq!(answer.json()["error"]["retry"], false);
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
    let gzip = call(http, Method::POST, "/v1/channels/a/messages", &[("content-encoding", "gzip")], "x").await;
    assert_eq!(gzip.code(), (400, "invalid_request".to_owned()));
    node.drain().await;
}

#[tokio::test]
async fn head_and_options_answer_without_a_body() {
    let node = open_node().await;
    let http = node.addresses().http;
    let full = get(http, "/v1/channels").await;
    let head = call(http, Method::HEAD, "/v1/channels", &[], "").await;
    assert_eq!((head.status, &head.headers["content-length"]), (StatusCode::OK, &full.headers["content-length"]));
    let options = call(http, Method::OPTIONS, "/v1/publish", &[], "").await;
    assert_eq!((options.status, &options.headers["allow"]), (StatusCode::NO_CONTENT, &"POST, OPTIONS".parse().unwrap()));
    node.drain().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_and_without_a_length() {
    let mut config = Config { dev: true, ..Config::default() };
    config.namespaces.insert(namespace::DEFAULT, namespace::Config { payload_bytes: 10, ..namespace::Config::default() });
    let node = start(config).await;
    let http = node.addresses().http;
    let path = "/v1/channels/a/messages";
    assert_eq!(call(http, Method::POST, path, &[], "0123456789").await.status, StatusCode::OK);
    assert_eq!(call(http, Method::POST, path, &[], "0123456789a").await.code(), (413, "too_large".to_owned()));
    assert_eq!(publish(http, json!({ "channel": "a", "text": "0123456789a" })).await.code(), (413, "too_large".to_owned()));

    let mut socket = TcpStream::connect(http).await.unwrap();
    let chunked = format!("POST {path} HTTP/1.1\r\nHost: {http}\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n89abcdef\r\n");
    socket.write_all(chunked.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    node.drain().await;
}

#[tokio::test]
async fn a_client_that_sends_everything_first_still_reads_the_refusal() {
    let node = open_node().await;
    let http = node.addresses().http;
    for (path, status) in [("/v1/channels/a/messages", 413), ("/v1/nothing", 404)] {
        let body = vec![b'x'; 900 * 1024];
        // A small buffer, so that the client cannot be done before the broker has read.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(8 * 1024).unwrap();
        let mut socket = socket.connect(http).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {http}\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&body).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..], *format!("HTTP/1.1 {status}").as_bytes());
    }
    node.drain().await;
}

#[tokio::test]
async fn with_keys_every_call_needs_one() {
    let key = Key::new("test", KeyHash::of(b"secret"));
    let node = start(Config { keys: vec![key], ..Config::default() }).await;
    let http = node.addresses().http;
    let calls = [
        (Method::POST, "/v1/publish"),
        (Method::POST, "/v1/channels/a/messages"),
        (Method::GET, "/v1/channels/a/messages"),
        (Method::DELETE, "/v1/channels/a/messages"),
        (Method::GET, "/v1/channels"),
    ];
    for (method, path) in calls {
        for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic c2VjcmV0")]] {
            let answer = call(http, method.clone(), path, headers, r#"{"channel":"a","text":"x"}"#).await;
            assert_eq!(answer.code(), (401, "unauthenticated".to_owned()), "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        let answer = call(http, method.clone(), path, &[("authorization", "bearer secret")], r#"{"channel":"a","text":"x"}"#).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
    }
    node.drain().await;
}

#[tokio::test]
async fn foreign_pages_may_not_publish_through_a_visitors_browser() {
    let mut config = Config { dev: true, ..Config::default() };
    config.cors.origins = vec!["https://app.example".to_owned()];
    let node = start(config).await;
    let http = node.addresses().http;
    let own = format!("http://{http}");
    for (origin, status) in [(own.as_str(), 200), ("https://app.example", 200), ("https://evil.example", 403), ("null", 403)] {
        for (method, path) in [(Method::POST, "/v1/channels/a/messages"), (Method::DELETE, "/v1/channels/a/messages")] {
            let answer = call(http, method.clone(), path, &[("origin", origin)], "x").await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path} from {origin}");
        }
    }
    node.drain().await;
}

#[tokio::test]
async fn the_self_probe_makes_ready_and_stays_out_of_sight() {
    let node = open_node().await;
    let (http, admin) = (node.addresses().http, node.addresses().admin);
    while get(admin, "/readyz").await.status != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    let probes = "tidings_probes_made_total{result=\"passed\"} ";
    let metrics = String::from_utf8(get(admin, "/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.lines().any(|line| line.starts_with(probes) && !line.ends_with(" 0")), "{metrics}");
    assert!(metrics.contains("tidings_ready 1\n"));
    for source in ["grpc", "http", "in_process"] {
        assert!(metrics.contains(&format!("tidings_publishes_answered_total{{source=\"{source}\",outcome=\"kept\"}} 0\n")));
    }
    assert_eq!(get(http, "/v1/channels").await.json()["channels"], json!([]));
    assert_eq!(get(admin, "/livez").await.status, StatusCode::OK);
    assert_eq!(get(admin, "/nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(call(admin, Method::POST, "/metrics", &[], "").await.headers["allow"], "GET, HEAD");
    node.drain().await;
}
