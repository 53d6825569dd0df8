//! What stands in the log of a daemon that writes down everything: no secret, good or bad.

use std::net::SocketAddr;
use std::pin::pin;

use serde_json::json;
use tidings::auth::Book;
use tidings::auth::config::KeyHash;
use tidings::auth::secret::Secret;
use tidings::auth::signed_url::SignedUrl;
use tidings::auth::token::{SigningKey, sign};
use tidings_sdk::{Client, Message};

use super::scene::{COOKIE, SECRET, chat, closed, get, now, token_key};
use crate::support::{Daemon, Http2, WebSocket};

const KEY: &str = "key-that-is-good-4f1d9a";
const GUESS: &str = "key-that-is-a-guess-77c0e2";

/// As [`closed`], as a file.
fn file() -> String {
    format!(
        "tokens: {{keys: [{{algorithm: HS256, secret: '{SECRET}'}}], cookie: {COOKIE}}}
signed_urls: [{{id: gate, secret: '{SECRET}'}}]
keys: [{{name: all, sha256: {}}}]
namespaces: {{chat: {{}}}}
log: {{level: trace, format: json, lines_per_second: 0}}
",
        KeyHash::of(KEY.as_bytes())
    )
}

/// Credentials of each kind, good and bad, and what of them must be in no log.
struct Shown {
    /// The values of `Authorization` headers.
    headers: Vec<String>,
    tokens: Vec<String>,
    addresses: Vec<String>,
    secrets: Vec<String>,
}

impl Shown {
    fn new() -> Self {
        let bad = "another secret than that of these tests, long enough";
        let claims = json!({ "sub": "ann", "exp": now() + 60, "channels": [{ "match": "chat:*", "can": ["subscribe", "publish"] }] });
        let forged = sign(&SigningKey::of_secret(&token_key(bad)).unwrap(), &claims).unwrap();
        let tokens = vec![chat(), forged];
        let signatures: Vec<String> = [SECRET, bad]
            .into_iter()
            .map(|secret| {
                let mut config = closed();
                config.signed_urls[0].secret = Some(Secret::new(secret));
                Book::read(&config.auth()).unwrap().signers().sign(&Self::address()).unwrap()
            })
            .collect();
        let SignedUrl { expires, .. } = Self::address();
        let address = |signature: &String| format!("channel=chat%3Aa&user=ann&expires={expires}&key=gate&signature={signature}");
        let addresses = signatures.iter().map(address).collect();
        let headers = tokens.iter().map(|token| format!("Bearer {token}")).chain([KEY, GUESS].map(|key| format!("Bearer {key}"))).collect();
        let mut secrets = signatures;
        secrets.extend(tokens.iter().map(|token| token.rsplit('.').next().unwrap().to_owned()));
        secrets.extend([KEY, GUESS, SECRET, bad].map(str::to_owned));
        Self { headers, tokens, addresses, secrets }
    }

    /// What is signed; the end of a day, so that it is the same each time.
    fn address() -> SignedUrl {
        let expires = (now() / 86_400 + 2) * 86_400;
        let channels = vec!["chat:a".to_owned()];
        SignedUrl { key: "gate".into(), expires: expires.to_string(), user: "ann".into(), channels, signature: String::new() }
    }

    /// Shows all of it at every door, and says how often it was let in and how often not.
    async fn everywhere(&self, http: SocketAddr, grpc: SocketAddr) -> [usize; 2] {
        let mut outcomes = [0, 0];
        let mut count = |is_in: bool| outcomes[usize::from(!is_in)] += 1;
        let (poll, ws) = ("/poll?channel=chat:a", "/ws");
        let queries = self.addresses.iter().cloned().chain(self.tokens.iter().map(|token| format!("channel=chat:a&token={token}")));
        for query in queries {
            let path = format!("/poll?{query}");
            count(get(http, &path, "").await.status == 200);
            count(Http2::get(http, &path, &[]).await.status == 200);
        }
        for value in &self.headers {
            count(get(http, poll, &format!("Authorization: {value}\r\n")).await.status == 200);
            count(Http2::get(http, poll, &[("authorization", value)]).await.status == 200);
            let client =
                Client::connect(&format!("http://{grpc}")).await.unwrap().with_key(value.strip_prefix("Bearer ").unwrap()).unwrap();
            count(client.publish("chat:a", Message::new("x")).await.is_ok());
        }
        for token in &self.tokens {
            let cookie = format!("{COOKIE}={token}");
            count(get(http, poll, &format!("Cookie: {cookie}\r\n")).await.status == 200);
            count(Http2::get(http, poll, &[("cookie", &cookie)]).await.status == 200);
            let mut socket = WebSocket::open(http, ws, "").await;
            count(socket.ask(&json!({ "id": 1, "auth": { "token": token } })).await.get("authenticated").is_some());
            let broken = socket.ask(&json!({ "id": 2, "auth": { "tokens": token } })).await;
            assert!(broken.get("error").is_some(), "{broken}");
        }
        outcomes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_key_or_signature_is_in_any_line_of_a_log_that_holds_everything() {
    let mut daemon = Daemon::start_from(&file(), &[]).await;
    let shown = Shown::new();
    let mut showing = pin!(shown.everywhere(daemon.http, daemon.grpc));
    let (mut outcomes, mut lines, mut leaks) = ([0, 0], 0, Vec::new());
    // Read while it is written, or the daemon would wait for room in the pipe.
    loop {
        tokio::select! {
            done = &mut showing, if outcomes == [0, 0] => {
                outcomes = done;
                daemon.terminate();
            }
            line = daemon.log_line() => match line {
                None => break,
                Some(line) => {
                    lines += 1;
                    let text = line.to_string();
                    if shown.secrets.iter().any(|secret| text.contains(&**secret)) {
                        leaks.push(text);
                    }
                }
            }
        }
    }
    assert_eq!(outcomes, [13, 13], "each kind was shown once good and once bad at each door");
    assert!(leaks.is_empty(), "{} of {lines} lines: {:#?}", leaks.len(), &leaks[..leaks.len().min(5)]);
    assert!(lines > 100, "the log held {lines} lines only");
}
