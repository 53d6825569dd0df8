//! HTTP/2 with prior knowledge (RFC 9113): streams beside one another, cut short, and through the smallest windows.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::event_stream;
use crate::raw::{PATIENCE, ask, request, start};

type Client = SendRequest<Full<Bytes>>;

async fn connect(to: SocketAddr, window: u32) -> Client {
    let socket = TcpStream::connect(to).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(window.max(65_535));
    let (client, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn call(client: &Client, to: SocketAddr, method: Method, target: &str, body: impl Into<Bytes>) -> Response<Incoming> {
    let request = Request::builder().method(method).uri(format!("http://{to}{target}")).body(Full::new(body.into())).unwrap();
    timeout(PATIENCE, client.clone().send_request(request)).await.unwrap().unwrap()
}

/// Reads a stream until it has shown so many events, and gives their data.
async fn events(response: &mut Response<Incoming>, count: usize) -> Vec<String> {
    let mut text = Vec::new();
    loop {
        let known = event_stream::read(std::str::from_utf8(&text).unwrap_or_default());
        if known.events.len() >= count {
            return known.events.into_iter().map(|event| event.data).collect();
        }
        let frame = timeout(PATIENCE, response.frame()).await.unwrap().expect("the stream ended").unwrap();
        text.extend_from_slice(frame.data_ref().unwrap());
    }
}

#[tokio::test]
async fn streams_polls_and_calls_share_a_connection() {
    let node = start().await;
    let to = node.addresses().http;
    let client = connect(to, 65_535).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let response = call(&client, to, Method::GET, "/sse?channel=h2", "").await;
        assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        assert!(!response.headers().contains_key("transfer-encoding") && !response.headers().contains_key("connection"));
        assert!(response.headers().contains_key("date"));
        streams.push(response);
    }
    let cursor = call(&client, to, Method::GET, "/poll?channel=h2", "").await.headers()["tidings-cursor"].clone();
    let poll = format!("/poll?channel=h2&since={}", cursor.to_str().unwrap());
    let (poll, published) =
        tokio::join!(call(&client, to, Method::GET, &poll, ""), call(&client, to, Method::POST, "/v1/channels/h2/messages", "hello"));
    assert_eq!((poll.status().as_u16(), published.status().as_u16()), (200, 200));
    for stream in &mut streams {
        assert_eq!(events(stream, 1).await, ["hello"]);
    }
    assert_eq!(call(&client, to, Method::PUT, "/sse", "").await.headers()["allow"], "GET, HEAD, OPTIONS");
    assert_eq!(call(&client, to, Method::HEAD, "/sse?channel=h2", "").await.status().as_u16(), 200);
    assert_eq!(call(&client, to, Method::GET, "/nothing", "").await.status().as_u16(), 404);
    node.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_reset_leaves_and_the_others_stay() {
    let node = start().await;
    let (to, admin) = (node.addresses().http, node.addresses().admin);
    let client = connect(to, 65_535).await;
    let mut kept = call(&client, to, Method::GET, "/sse?channel=reset", "").await;
    for _ in 0..50 {
        drop(call(&client, to, Method::GET, "/sse?channel=reset", "").await);
    }
    while !ask(admin, request("GET", "/metrics", admin, "")).await.text().contains("tidings_sessions{front=\"sse\"} 1\n") {}
    call(&client, to, Method::POST, "/v1/channels/reset/messages", "hello").await;
    assert_eq!(events(&mut kept, 1).await, ["hello"]);
    drop((kept, client));
    while !ask(admin, request("GET", "/metrics", admin, "")).await.text().contains("tidings_connections 0\n") {}
    node.stop().await;
}

#[tokio::test]
async fn the_smallest_windows_only_make_it_slow() {
    let node = start().await;
    let to = node.addresses().http;
    let narrow = connect(to, 16).await;
    let mut stream = call(&narrow, to, Method::GET, "/sse?channel=narrow", "").await;
    let wide = connect(to, 1 << 20).await;
    let large = "x".repeat(5_000);
    for n in 0..3 {
        assert_eq!(call(&wide, to, Method::POST, "/v1/channels/narrow/messages", format!("{n}{large}")).await.status().as_u16(), 200);
    }
    let expected: Vec<String> = (0..3).map(|n| format!("{n}{large}")).collect();
    assert_eq!(events(&mut stream, 3).await, expected);
    let poll = call(&narrow, to, Method::GET, "/poll?channel=narrow&since=earliest", "").await;
    let body = timeout(PATIENCE, poll.into_body().collect()).await.unwrap().unwrap().to_bytes();
    assert!(body.len() > 15_000);
    node.stop().await;
}

#[tokio::test]
async fn a_foreign_name_is_refused_over_http2_too() {
    let node = start().await;
    let to = node.addresses().http;
    let client = connect(to, 65_535).await;
    let request = Request::get("http://rebound.example/v1/channels").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(client.clone().send_request(request).await.unwrap().status().as_u16(), 403);
    node.stop().await;
}
