//! A closed node and the tokens that open a part of it.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::grant::Who;
use tidings::auth::pattern::{Pattern, Template};
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tidings::auth::{Action, signed_url};
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::node::Node;

use crate::raw::{Answer, ask, config, request};

pub(super) const SECRET: &str = "the secret of these tests, long enough for HS256";
pub(super) const COOKIE: &str = "tidings";

pub(super) fn token_key(secret: &str) -> TokenKey {
    let secret = Some(Secret::new(secret));
    TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None }
}

/// Closed, but for what each test opens. Channels are in `chat`, `open` (to anyone), `members` (to tokens), `user` (own).
pub(super) fn closed() -> Config {
    let mut config = Config { dev: false, ..config() };
    config.tokens.keys.push(token_key(SECRET));
    config.tokens.cookie = Some(COOKIE.to_owned());
    config.signed_urls.push(signed_url::Key { id: "gate".into(), secret: Some(Secret::new(SECRET)), secret_file: None });
    let can = vec![Action::Publish];
    config.keys.push(Key { can, channels: vec![Pattern::parse("chat:*").unwrap()], ..Key::new("shop", KeyHash::of(b"shop-key")) });
    config.keys.push(Key::new("all", KeyHash::of(b"all-key")));
    let mut add = |name: &str, change: fn(&mut namespace::Config)| {
        let mut rules = namespace::Config::default();
        change(&mut rules);
        config.namespaces.insert(name, rules);
    };
    add("chat", |_| {});
    add("open", |rules| (rules.allow.subscribe, rules.allow.publish) = (Who::Anyone, Who::Anyone));
    add("members", |rules| (rules.allow.subscribe, rules.allow.history) = (Who::Token, Who::Token));
    add("user", |rules| rules.allow.own.push(Template::parse("user:{sub}").unwrap()));
    config
}

pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Node {
    let mut config = closed();
    change(&mut config);
    Node::start(config).await.unwrap()
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of `ann` with these grants, good for a minute unless the claims say otherwise.
pub(super) fn token(mut claims: Value) -> String {
    for (name, value) in [("sub", json!("ann")), ("exp", json!(now() + 60))] {
        claims.as_object_mut().unwrap().entry(name).or_insert(value);
    }
    sign(&SigningKey::of_secret(&token_key(SECRET)).unwrap(), &claims).unwrap()
}

/// One that may do everything a token may on `chat:*`.
pub(super) fn chat() -> String {
    token(json!({ "channels": [{ "match": "chat:*", "can": ["subscribe", "publish", "history"] }] }))
}

pub(super) async fn get(to: SocketAddr, path: &str, headers: &str) -> Answer {
    ask(to, request("GET", path, to, headers)).await
}

pub(super) async fn post(to: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    ask(to, format!("{}{body}", request("POST", path, to, &format!("Content-Length: {length}\r\n{headers}")))).await
}

/// Status and code of an answer.
pub(super) fn verdict(answer: &Answer) -> (u16, String) {
    let code = if answer.status < 300 { String::new() } else { answer.code() };
    (answer.status, code)
}

pub(super) fn denied(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(super) fn ok() -> (u16, String) {
    (200, String::new())
}
