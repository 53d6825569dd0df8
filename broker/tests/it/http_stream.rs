//! What is HTTP streaming's own: its headers, its padding, its refusals, and the hidden frame's script calls.

use serde_json::{Value, json};
use tidings::message::{Draft, EventName};

use crate::support::{Commit, Http1, Http2, Scene, draft, percent, script_call, soon};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
    Http2,
}

const VERSIONS: [Version; 3] = [Version::Http10, Version::Http11, Version::Http2];

enum Client {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

/// An answer being read, line by line.
struct Stream {
    client: Client,
    unread: Vec<u8>,
}

impl Stream {
    async fn get(version: Version, scene: &Scene, query: &str) -> Self {
        let path = format!("/stream?{query}");
        let client = match version {
            Version::Http2 => Client::Http2(Box::new(Http2::get(scene.http(), &path, &[]).await)),
            Version::Http11 => Client::Http1(Box::new(Http1::get(scene.http(), "1.1", &path, "", None).await)),
            Version::Http10 => Client::Http1(Box::new(Http1::get(scene.http(), "1.0", &path, "", None).await)),
        };
        Self { client, unread: Vec::new() }
    }

    async fn status(&mut self) -> u16 {
        match &mut self.client {
            Client::Http1(answer) => Box::pin(answer.status()).await,
            Client::Http2(answer) => answer.status.as_u16(),
        }
    }

    /// A header of an answer whose status was asked for.
    fn header(&self, name: &str) -> &str {
        let value = match &self.client {
            Client::Http1(answer) => answer.decoder.header(name),
            Client::Http2(answer) => answer.headers.get(name).map(|value| value.to_str().unwrap()),
        };
        value.unwrap_or_else(|| panic!("no {name}"))
    }

    async fn read(&mut self) -> Option<Vec<u8>> {
        match &mut self.client {
            Client::Http1(answer) => Box::pin(answer.read()).await,
            Client::Http2(answer) => answer.read().await,
        }
    }

    /// The next line with its end; `None` when the answer is over.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let Some(more) = soon("a line", self.read()).await else {
                assert!(self.unread.is_empty(), "half a line: {:?}", String::from_utf8_lossy(&self.unread));
                return None;
            };
            self.unread.extend(more);
        }
    }
}

fn page_call(line: &str) -> Value {
    script_call(line).unwrap_or_else(|| panic!("no call: {line}"))
}

#[tokio::test]
async fn a_hidden_frame_is_called_and_nothing_published_can_do_more() {
    let hostile = "</script><img src=x onerror=alert(1)>'\"\\<!--<script>\u{2028}\u{2029}&lt;\r\n${x}`";
    for version in VERSIONS {
        let scene = Scene::open(Commit::AtOnce).await;
        let channel = "room:</script>'&";
        let query = format!("format=html&channel={}", percent(channel));
        let mut stream = Stream::get(version, &scene, &query).await;
        assert_eq!(stream.status().await, 200);
        assert_eq!(stream.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(stream.header("x-content-type-options"), "nosniff");
        assert!(stream.header("content-security-policy").contains("default-src 'none'"));
        let (doctype, padding) = (stream.line().await.unwrap(), stream.line().await.unwrap());
        assert!(doctype.starts_with("<!doctype html>") && doctype.len() + padding.len() > 1024 && padding.trim().is_empty());
        assert!(page_call(&stream.line().await.unwrap())["heartbeat"]["cursor"].is_string());
        let event = Some(EventName::parse("</script>'").unwrap());
        scene.node.broker().publish(Draft { event, ..draft(channel, hostile) }).await.unwrap();
        let line = stream.line().await.unwrap();
        let inside = line.strip_prefix("<script>").unwrap().strip_suffix("</script>\n").unwrap();
        assert!(!inside.contains(['<', '>', '&', '\n', '\r', '\u{2028}', '\u{2029}']), "{inside}");
        assert_eq!(inside.matches('\'').count(), 2, "{inside}");
        let message = page_call(&line);
        assert_eq!((&message["channel"], &message["event"], &message["data"]), (&json!(channel), &json!("</script>'"), &json!(hostile)));

        let mut refused = Stream::get(version, &scene, "format=html").await;
        assert_eq!(refused.status().await, 400);
        assert!(refused.line().await.unwrap().starts_with("<!doctype html>"));
        let close = page_call(&refused.line().await.unwrap());
        assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!("invalid_request"), &json!(false)));
        assert_eq!(refused.line().await, None);
    }
}

#[tokio::test]
async fn a_stream_of_lines_defeats_what_would_hold_it_back() {
    let scene = Scene::open(Commit::AtOnce).await;
    for version in VERSIONS {
        let mut stream = Stream::get(version, &scene, "channel=a&padding=2048").await;
        assert_eq!(stream.status().await, 200);
        assert_eq!(stream.header("content-type"), "application/x-ndjson");
        assert_eq!(stream.header("cache-control"), "no-cache, no-transform");
        assert_eq!(stream.header("x-accel-buffering"), "no");
        let line = stream.line().await.unwrap();
        assert!(line.starts_with(&" ".repeat(2048)), "padding is part of the first line: {line}");
        assert!(serde_json::from_str::<Value>(&line).unwrap()["heartbeat"]["cursor"].is_string());
    }
}

#[tokio::test]
async fn who_cannot_be_served_is_told_why() {
    let scene = Scene::open(Commit::AtOnce).await;
    for version in VERSIONS {
        for (query, code) in [("", "invalid_request"), ("channel=a&format=xml", "invalid_request"), ("channel=a&since=x", "invalid_cursor")]
        {
            let mut refused = Stream::get(version, &scene, query).await;
            assert_eq!(refused.status().await, 400);
            assert_eq!(refused.header("content-type"), "application/json");
            let said: Value = serde_json::from_slice(&refused.read().await.unwrap()).unwrap();
            assert_eq!(said["error"]["code"], code);
        }
    }
}

#[tokio::test]
async fn the_last_line_says_how_long_to_wait() {
    for version in VERSIONS {
        let scene = Scene::with(Commit::AtOnce, |config| config.drain.notice = std::time::Duration::ZERO).await;
        let mut stream = Stream::get(version, &scene, "channel=a").await;
        stream.line().await.unwrap();
        let leaving = tokio::spawn(scene.node.drain());
        let close: Value = serde_json::from_str(&stream.line().await.unwrap()).unwrap();
        assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!("draining"), &json!(true)));
        assert!(close["close"]["retry_after_ms"].is_u64());
        assert_eq!(stream.line().await, None, "{version:?}");
        drop(stream);
        leaving.await.unwrap();
    }
}
