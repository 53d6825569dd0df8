//! A closed node whose namespace `room` has presence, and those who come and go there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tidings::config::Config;
use tidings::hub::namespace;

use crate::support::{Commit, EventStream, Http1, Http2, Lines, Scene, WebSocket, soon};

const SECRET: &str = "the secret of these tests, long enough for HS256";

fn token_key() -> TokenKey {
    let secret = Some(Secret::new(SECRET));
    TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None }
}

/// What a node with presence is told; the grace is short, for tests of what comes after it.
pub(crate) fn with_presence(config: &mut Config) {
    config.dev = false;
    config.tokens.keys.push(token_key());
    config.keys.push(Key::new("all", KeyHash::of(b"all-key")));
    config.presence.grace = Duration::from_secs(1);
    let on = namespace::Config { presence: true, join_leave: true, ..Default::default() };
    config.namespaces.insert("quiet", namespace::Config { join_leave: false, ..on.clone() });
    config.namespaces.insert("room", on);
    config.namespaces.insert("off", namespace::Config::default());
}

pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Scene {
    Scene::with(Commit::AtOnce, |config| {
        with_presence(config);
        change(config);
    })
    .await
}

/// A token that may listen and ask who is there, anywhere.
pub(crate) fn token(user: Option<&str>, info: Option<Value>) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({ "exp": now + 600, "channels": [{ "match": "*", "can": ["subscribe", "presence", "history"] }] });
    if let Some(user) = user {
        claims["sub"] = json!(user);
    }
    if let Some(info) = info {
        claims["info"] = info;
    }
    sign_claims(&claims)
}

pub(crate) fn sign_claims(claims: &Value) -> String {
    sign(&SigningKey::of_secret(&token_key()).unwrap(), claims).unwrap()
}

pub(crate) fn bearer(user: &str) -> String {
    format!("Authorization: Bearer {}\r\n", token(Some(user), Some(json!({ "name": user.to_uppercase() }))))
}

/// The answer of an API call by the backend.
pub(crate) async fn get(to: SocketAddr, path: &str) -> Value {
    let headers = "Authorization: Bearer all-key\r\nConnection: close\r\n";
    let body = Http1::get(to, "1.1", path, headers, None).await.rest().await;
    serde_json::from_slice(&body).unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&body)))
}

/// Waits until a node lists exactly these users on the channel, and so many sessions without one.
pub(crate) async fn listed(to: SocketAddr, channel: &str, users: &[&str], anonymous: u64) -> Value {
    let path = format!("/v1/channels/{}/presence", crate::support::percent(channel));
    let mut last = Value::Null;
    for _ in 0..200 {
        last = get(to, &path).await;
        let names = last["members"].as_array().into_iter().flatten().map(|member| member["user"].as_str().unwrap());
        if names.eq(users.iter().copied()) && last["anonymous"] == anonymous {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{channel}: {users:?} and {anonymous} more were due, there is {last}");
}

/// How somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Sse,
    SseHttp2,
    Stream,
    WebSocket,
}

impl Front {
    pub(crate) const ALL: [Self; 4] = [Self::Sse, Self::SseHttp2, Self::Stream, Self::WebSocket];
}

enum Wire {
    Sse(Http1, EventStream, Vec<Value>),
    Http2(Http2, EventStream, Vec<Value>),
    Stream(Http1, Lines, Vec<Value>),
    WebSocket(WebSocket),
}

/// Somebody on a channel who is told of others, and what it believes by that.
pub(crate) struct Guest {
    wire: Wire,
    pub(crate) here: BTreeMap<String, Value>,
    pub(crate) last: Value,
    /// In the order in which it was told: `+ann`, `-bob`.
    pub(crate) told: Vec<String>,
}

impl Guest {
    pub(crate) async fn enter(scene: &Scene, front: Front, channel: &str, headers: &str) -> Self {
        let query = format!("?channel={}&presence=1", crate::support::percent(channel));
        let wire = match front {
            Front::Sse => {
                Wire::Sse(Http1::get(scene.http(), "1.1", &format!("/sse{query}"), headers, None).await, EventStream::default(), Vec::new())
            }
            Front::SseHttp2 => {
                let (name, value) = headers.trim_end().split_once(": ").unwrap_or(("x-nothing", ""));
                let http = Http2::get(scene.http2(), &format!("/sse{query}"), &[(name, value)]).await;
                Wire::Http2(http, EventStream::default(), Vec::new())
            }
            Front::Stream => {
                Wire::Stream(Http1::get(scene.http(), "1.1", &format!("/stream{query}"), headers, None).await, Lines::default(), Vec::new())
            }
            Front::WebSocket => Wire::WebSocket(WebSocket::open(scene.http(), &format!("/ws{query}"), headers).await),
        };
        Self { wire, here: BTreeMap::new(), last: Value::Null, told: Vec::new() }
    }

    /// The next notice.
    pub(crate) async fn next(&mut self) -> Value {
        let notice = soon("a notice", self.wire.next()).await;
        if let Some(here) = notice["here"].as_array() {
            self.here = here.iter().map(|user| (user["user"].as_str().unwrap().to_owned(), user["info"].clone())).collect();
        }
        for user in notice["joined"].as_array().into_iter().flatten() {
            let name = user["user"].as_str().unwrap().to_owned();
            self.told.push(format!("+{name}"));
            self.here.insert(name, user["info"].clone());
        }
        for user in notice["left"].as_array().into_iter().flatten() {
            let name = user.as_str().unwrap();
            self.told.push(format!("-{name}"));
            assert!(self.here.remove(name).is_some(), "{name} left and was not there");
        }
        self.last.clone_from(&notice);
        notice
    }

    /// Waits until it believes that exactly these are there.
    pub(crate) async fn believes(&mut self, users: &[&str]) {
        while !self.here.keys().eq(users.iter()) || self.last.is_null() {
            self.next().await;
        }
        assert_eq!(self.last["users"], users.len() as u64);
    }
}

impl Wire {
    async fn next(&mut self) -> Value {
        loop {
            match self {
                Self::Sse(_, _, ready) | Self::Http2(_, _, ready) | Self::Stream(_, _, ready) if !ready.is_empty() => {
                    return ready.remove(0);
                }
                Self::Sse(http, events, ready) => {
                    let bytes = http.read().await.unwrap_or_else(|| panic!("the stream ended: {:?}", http.decoder.head));
                    take(events, &bytes, ready);
                }
                Self::Http2(http, events, ready) => {
                    let bytes = http.read().await.expect("the stream goes on");
                    take(events, &bytes, ready);
                }
                Self::Stream(http, lines, ready) => {
                    let bytes = http.read().await.expect("the stream goes on");
                    let objects = bytes.iter().filter_map(|byte| lines.push(*byte));
                    ready.extend(objects.filter_map(|object| object.get("presence").cloned()));
                }
                Self::WebSocket(socket) => {
                    let object = socket.object().await.expect("the connection stands");
                    assert!(object.get("close").is_none() && object.get("error").is_none(), "{object}");
                    if let Some(notice) = object.get("presence") {
                        return notice.clone();
                    }
                }
            }
        }
    }
}

fn take(events: &mut EventStream, bytes: &[u8], ready: &mut Vec<Value>) {
    for event in events.push(bytes) {
        assert_ne!(event.kind, "tidings:close", "{}", event.data);
        if event.kind == "tidings:presence" {
            ready.push(serde_json::from_str(&event.data).unwrap());
        }
    }
}

/// Somebody on a channel who is told nothing, as long as this is kept.
pub(crate) async fn stay(to: SocketAddr, channel: &str, headers: &str) -> Http1 {
    let mut http = Http1::get(to, "1.1", &format!("/sse?channel={}", crate::support::percent(channel)), headers, None).await;
    assert_eq!(http.status().await, 200);
    http
}
