//! Keys that are fetched: from one address, seldom, and the old ones as long as there are no others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidings::auth::sets::PAUSE;
use tidings::auth::token::config::Algorithm;
use tidings::auth::token::{SigningKey, sign};
use tidings::config::Config;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::scene::{denied, get, now, ok, post, start, token, verdict};
use crate::support::{Authority, Daemon, WebSocket, masked, metric, soon};

/// Says the same to whoever asks, until it is told otherwise.
struct Issuer {
    address: SocketAddr,
    is_tls: bool,
    says: Arc<Mutex<String>>,
    /// Whether it takes a second for each byte.
    drips: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    /// How many hung up on it before they had everything.
    given_up: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(says: String) -> Self {
        Self::start_at("127.0.0.1:0", says, None).await
    }

    async fn start_at(address: &str, says: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let issuer = Self {
            address: listener.local_addr().unwrap(),
            is_tls: tls.is_some(),
            says: Arc::new(Mutex::new(says)),
            drips: Arc::default(),
            asked: Arc::default(),
            given_up: Arc::default(),
        };
        let (says, drips, asked, given_up) = (issuer.says.clone(), issuer.drips.clone(), issuer.asked.clone(), issuer.given_up.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::Relaxed);
                let (says, drips) = (says.lock().clone(), drips.load(Ordering::Relaxed));
                let heard_all = match &tls {
                    None => tell(socket, &says, drips).await,
                    Some(tls) => match tls.accept(socket).await {
                        Ok(stream) => tell(stream, &says, drips).await,
                        Err(_) => false,
                    },
                };
                given_up.fetch_add(usize::from(!heard_all), Ordering::Relaxed);
            }
        });
        issuer
    }

    fn url(&self) -> String {
        format!("{}://{}/keys", if self.is_tls { "https" } else { "http" }, self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Answers a request. `false` when the other end hung up before it had everything.
async fn tell(mut socket: impl AsyncRead + AsyncWrite + Unpin, says: &str, drips: bool) -> bool {
    let mut request = [0; 4096];
    let _ = socket.read(&mut request).await;
    if !drips {
        let told = socket.write_all(says.as_bytes()).await.is_ok();
        return socket.shutdown().await.is_ok() && told;
    }
    for byte in says.as_bytes() {
        if socket.write_all(&[*byte]).await.is_err() || socket.flush().await.is_err() {
            return false;
        }
        // Whatever it says now is its end.
        if timeout(Duration::from_secs(1), socket.read(&mut request)).await.is_ok() {
            return false;
        }
    }
    true
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A key of the issuer: what it publishes, and what it signs with.
fn key(kid: &str) -> (Value, SigningKey) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    let public =
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) });
    (public, SigningKey::of_pem(Some(kid), Algorithm::EdDSA, pem.as_bytes()).unwrap())
}

fn bearer(key: &SigningKey) -> String {
    let claims = json!({ "sub": "ann", "aud": "push", "exp": now() + 60, "channels": [{ "match": "chat:*", "can": ["subscribe"] }] });
    format!("Authorization: Bearer {}\r\n", sign(key, &claims).unwrap())
}

async fn node(url: String) -> tidings::node::Node {
    node_with(url, |_| {}).await
}

async fn node_with(url: String, change: impl FnOnce(&mut Config)) -> tidings::node::Node {
    start(|config| {
        change(config);
        config.tokens.keys.clear();
        config.tokens.jwks_url = Some(url);
        config.tokens.audience = vec!["push".into()];
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_token_waits_for_the_keys_and_a_flood_of_unknown_ones_asks_no_more() {
    let (public, mine) = key("one");
    let issuer = Issuer::start(answer(&json!({ "keys": [public] }).to_string())).await;
    let node = node(issuer.url()).await;
    let to = node.addresses().http;
    assert_eq!(verdict(&soon("the answer", get(to, "/poll?channel=chat:a", &bearer(&mine))).await), ok());
    let (_, unknown) = key("other");
    for _ in 0..20 {
        assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer(&unknown)).await), denied(401, "unauthenticated"));
    }
    assert_eq!(issuer.asked(), 1, "once in ten seconds at most");
    let (_, forged) = key("one");
    assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer(&forged)).await), denied(401, "unauthenticated"));
    node.stop().await;
}

/// As many as may fail at once, and more.
const CROWD: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_behind_one_address_that_comes_with_a_new_key_has_failed_at_nothing() {
    let (public, mine) = key("one");
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", issuer.local_addr().unwrap());
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (socket, _) = issuer.accept().await.unwrap();
        released.await.unwrap();
        tell(socket, &answer(&json!({ "keys": [public] }).to_string()), false).await
    });
    let node = node_with(url, |config| config.limits.failure_rate = 1).await;
    let (to, admin) = (node.addresses().http, node.addresses().admin);
    let crowd = futures_util::future::join_all((0..CROWD).map(|_| async { get(to, "/poll?channel=chat:a", &bearer(&mine)).await }));
    let all_wait = async {
        while metric(admin, "tidings_connections", &[]).await < CROWD as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        release.send(()).unwrap();
    };
    let (answers, ()) = soon("the answers", async { tokio::join!(crowd, all_wait) }).await;
    assert!(answers.iter().all(|answer| verdict(answer) == ok()), "{:?}", answers.iter().map(verdict).collect::<Vec<_>>());
    // Whose key did not come with it has failed all the same.
    let (_, unknown) = key("other");
    let verdicts = async {
        loop {
            let said = verdict(&get(to, "/poll?channel=chat:a", &bearer(&unknown)).await);
            if said == denied(503, "overloaded") {
                break;
            }
            assert_eq!(said, denied(401, "unauthenticated"));
        }
    };
    soon("the bound", verdicts).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_waits_for_the_keys_as_the_door_does() {
    let (public, mine) = key("one");
    let issuer = Issuer::start(answer(&json!({ "keys": [public] }).to_string())).await;
    let node = node(issuer.url()).await;
    let token = bearer(&mine).trim_end().rsplit_once(' ').unwrap().1.to_owned();
    let question = json!({ "token": token, "channel": "chat:a", "action": "subscribe" }).to_string();
    let said = soon("the answer", post(node.addresses().http, "/v1/explain", "", &question)).await;
    assert!(said.text().contains("\"allowed\":true,\"rule\":\"grant\""), "{}", said.text());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_set_is_not_taken_and_nobody_is_followed() {
    let (public, mine) = key("one");
    let good = json!({ "keys": [public] }).to_string();
    let elsewhere = Issuer::start(answer(&good)).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", elsewhere.url());
    // Nothing is wrong with it but its length.
    let padded = |bytes: usize| answer(&format!("{},\"x\":\"{}\"}}", good.strip_suffix('}').unwrap(), "x".repeat(bytes)));
    let issuer = Issuer::start(padded(1000)).await;
    let node_that_takes_it = node(issuer.url()).await;
    let said = soon("the answer", get(node_that_takes_it.addresses().http, "/poll?channel=chat:a", &bearer(&mine))).await;
    assert_eq!(verdict(&said), ok());
    node_that_takes_it.stop().await;
    let huge = padded(300_000);
    // Nobody says how long it will be: the set is in it, and spaces behind it without an end.
    let endless = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{good}\r\n{}",
        good.len(),
        format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(5)
    );
    for says in [redirect, huge, endless, answer("{}"), "nonsense".to_owned(), String::new()] {
        let issuer = Issuer::start(says.clone()).await;
        let node = node(issuer.url()).await;
        let said = verdict(&soon("the answer", get(node.addresses().http, "/poll?channel=chat:a", &bearer(&mine))).await);
        assert_eq!(said, denied(401, "unauthenticated"), "{:.80}", says);
        assert!(issuer.asked() >= 1);
        node.stop().await;
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_does_not_answer_holds_up_nobody_for_long() {
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = node(format!("http://{}/keys", silent.local_addr().unwrap())).await;
    let to = node.addresses().http;
    let (_, mine) = key("one");
    let header = bearer(&mine);
    let asked = tokio::spawn(async move { verdict(&soon("an answer", get(to, "/poll?channel=chat:a", &header)).await) });
    // Whoever needs no key of it is served meanwhile.
    let began = Instant::now();
    assert_eq!(verdict(&get(to, "/poll?channel=open:a", "").await), ok());
    assert!(began.elapsed() < Duration::from_secs(2) && !asked.is_finished());
    assert_eq!(asked.await.unwrap(), denied(401, "unauthenticated"));
    assert!(began.elapsed() < Duration::from_secs(10), "it was given up in time");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_stay_in_force_when_the_issuer_fails() {
    let (public, mine) = key("one");
    let issuer = Issuer::start(answer(&json!({ "keys": [public] }).to_string())).await;
    let node = node(issuer.url()).await;
    let to = node.addresses().http;
    assert_eq!(verdict(&soon("the answer", get(to, "/poll?channel=chat:a", &bearer(&mine))).await), ok());
    *issuer.says.lock() = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let (_, unknown) = key("two");
    // Longer than the pause, so that it is asked again.
    tokio::time::sleep(PAUSE + Duration::from_millis(200)).await;
    assert_eq!(verdict(&soon("the answer", get(to, "/poll?channel=chat:a", &bearer(&unknown))).await), denied(401, "unauthenticated"));
    assert_eq!(issuer.asked(), 2);
    assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer(&mine)).await), ok());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_websocket_too_a_token_waits_for_its_key_and_what_is_asked_after_it_is_asked_with_it() {
    let (first, one) = key("one");
    let issuer = Issuer::start(answer(&json!({ "keys": [first] }).to_string())).await;
    let node = node(issuer.url()).await;
    let token = |key: &SigningKey| bearer(key).trim_end().rsplit_once(' ').unwrap().1.to_owned();
    let converse = async |key: &SigningKey| {
        let mut socket = WebSocket::open(node.addresses().http, "/ws", "").await;
        let asked = [json!({ "id": 1, "auth": { "token": token(key) } }), json!({ "id": 2, "subscribe": { "channel": "chat:a" } })];
        // In one write: the second one is there before the first one can be answered.
        let bytes: Vec<u8> = asked.iter().flat_map(|object| masked(0x81, object.to_string().as_bytes())).collect();
        socket.send(&bytes).await;
        let mut answers = Vec::new();
        for id in 1..=2 {
            let answer = soon("the answer", socket.object()).await.unwrap();
            assert_eq!(answer["id"], id, "in their order: {answer}");
            answers.push(answer);
        }
        let answer = socket.ask(&json!({ "id": 3, "ping": {} })).await;
        assert!(answer.get("pong").is_some(), "the conversation goes on: {answer}");
        answers
    };
    let answers = converse(&one).await;
    assert!(answers[0].get("authenticated").is_some() && answers[1].get("subscribed").is_some(), "{answers:?}");
    assert_eq!(issuer.asked(), 1);

    // No other fetch so soon, so it hears at once what it would hear after it.
    let (second, two) = key("two");
    let answers = converse(&two).await;
    assert_eq!([&answers[0], &answers[1]].map(|answer| &answer["error"]["code"]), ["unauthenticated", "unauthenticated"]);
    *issuer.says.lock() = answer(&json!({ "keys": [second] }).to_string());
    tokio::time::sleep(PAUSE + Duration::from_millis(200)).await;
    let answers = converse(&two).await;
    assert!(answers[0].get("authenticated").is_some() && answers[1].get("subscribed").is_some(), "{answers:?}");
    assert_eq!(issuer.asked(), 2);
    node.stop().await;
}

/// A daemon that believes this authority alone and fetches its keys from there.
async fn daemon(authority: &Authority, files: &tempfile::TempDir, url: &str) -> Daemon {
    let keys = [&*format!("tokens.jwks_url={url}"), "tokens.audience=[push]", "namespaces.chat={}"];
    soon("the start", Daemon::start_trusting(&authority.write_root(files.path()), &keys)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_the_issuer_must_prove_itself_to_the_authorities_of_this_machine() {
    let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (public, mine) = key("one");
    let says = answer(&json!({ "keys": [public] }).to_string());
    let good = |name: &str| authority.sign(name, 2099).acceptor();
    let issuer = Issuer::start_at("127.0.0.1:0", says.clone(), Some(good("issuer"))).await;
    let mut believing = daemon(&authority, &files, &issuer.url()).await;
    assert_eq!(believing.logged("key_set").await["keys"], 1);
    assert_eq!(verdict(&soon("the answer", get(believing.http, "/poll?channel=chat:a", &bearer(&mine))).await), ok());

    // Signed by somebody else, made out to another address, of the past, and no TLS at all.
    let strange = Issuer::start_at("127.0.0.1:0", says.clone(), Some(Authority::new().sign("issuer", 2099).acceptor())).await;
    let elsewhere = Issuer::start_at("127.0.0.2:0", says.clone(), Some(good("issuer"))).await;
    let late = Issuer::start_at("127.0.0.1:0", says.clone(), Some(authority.sign("issuer", 2020).acceptor())).await;
    let bare = Issuer::start(says).await;
    let bare = (format!("https://{}/keys", bare.address), "no TLS");
    for (url, why) in [(strange.url(), "BadSignature"), (elsewhere.url(), "not valid for name"), (late.url(), "expired"), bare] {
        let mut node = daemon(&authority, &files, &url).await;
        let said = node.logged("key_set_failed").await;
        assert!(said["why"].as_str().unwrap().contains(why), "{url}: {said}");
        let said = verdict(&soon("the answer", get(node.http, "/poll?channel=chat:a", &bearer(&mine))).await);
        assert_eq!(said, denied(401, "unauthenticated"), "{url}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_drips_is_given_up_and_meanwhile_everybody_whose_key_is_known_is_served() {
    let (public, one) = key("one");
    let issuer = Issuer::start(answer(&json!({ "keys": [public] }).to_string())).await;
    let node = start(|config| {
        config.tokens.jwks_url = Some(issuer.url());
        config.tokens.audience = vec!["push".into()];
    })
    .await;
    let to = node.addresses().http;
    assert_eq!(verdict(&soon("the answer", get(to, "/poll?channel=chat:a", &bearer(&one))).await), ok());

    // Its next answer has the new key, and takes minutes.
    let (public, two) = key("two");
    *issuer.says.lock() = answer(&json!({ "keys": [public] }).to_string());
    issuer.drips.store(true, Ordering::Relaxed);
    tokio::time::sleep(PAUSE + Duration::from_millis(200)).await;
    let header = bearer(&two);
    let asking = tokio::spawn(async move { verdict(&soon("an answer", get(to, "/poll?channel=chat:a", &header)).await) });
    soon("it is asked", async {
        while issuer.asked() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let may = json!({ "aud": "push", "channels": [{ "match": "chat:*", "can": ["subscribe"] }] });
    let local = format!("Authorization: Bearer {}\r\n", token(may));
    let began = Instant::now();
    let (mut served, mut slowest) = (0, Duration::ZERO);
    while issuer.given_up() == 0 {
        let asked = Instant::now();
        assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer(&one)).await), ok(), "a key that was fetched before");
        assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &local).await), ok(), "a key of the configuration");
        slowest = slowest.max(asked.elapsed());
        served += 1;
        assert!(began.elapsed() < Duration::from_secs(15), "the issuer is listened to for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(served > 20 && slowest < Duration::from_secs(2), "{served} served, one of them after {slowest:?}");
    assert_eq!(soon("whose key does not come", asking).await.unwrap(), denied(401, "unauthenticated"));
    assert_eq!(verdict(&get(to, "/poll?channel=chat:a", &bearer(&one)).await), ok(), "and after it was given up");
    node.stop().await;
}
