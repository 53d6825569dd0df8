//! Who asks for more in a second than one may: it is told so and when to ask again, and others are served.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tidings::config::Config;
use tidings_sdk::{Client, Message};

use crate::cluster::scene::Cluster;
use crate::raw::{Raw, ask, request};
use crate::support::{Commit, Listener, Scene, Since, Way, WebSocket, masked, soon};

/// Most subscribes of one user in a second, and twice as many at once: few, because a subscription spans 16 slots at most.
const SUBSCRIBES: u32 = 2;

fn token_key() -> TokenKey {
    let secret = Some(Secret::new("the secret of these tests, long enough for HS256"));
    TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None }
}

fn bounded(config: &mut Config) {
    config.tokens.keys.push(token_key());
    config.limits.subscribe_rate = SUBSCRIBES;
}

/// A token that may listen everywhere but to `secret`s.
fn token(user: &str) -> String {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let claims = json!({ "sub": user, "exp": exp, "channels": [{ "match": "chan*", "can": ["subscribe"] }] });
    sign(&SigningKey::of_secret(&token_key()).unwrap(), &claims).unwrap()
}

/// How often somebody was not allowed something.
async fn denied(scene: &Scene) -> u64 {
    scene.metric("tidings_auth_calls_refused_total", &["\"permission\""]).await as u64
}

/// One user subscribes over a WebSocket and by SSE, as often as it may and a little more, and takes a fresh token.
async fn a_user_subscribes(scene: &Scene) {
    let most = u64::from(2 * SUBSCRIBES);
    let mut socket = WebSocket::open(scene.http(), &format!("/ws?token={}", token("ann")), "").await;
    let subscribe = |id| json!({ "id": id, "subscribe": { "channel": format!("chan{id}") } });
    let (done, refusal) = flood(&mut socket, most + 12, subscribe).await;
    // While the rest is asked for, a few more may be.
    assert!((most..most + 12).contains(&done), "each is charged once: {done}, {refusal}");
    assert!(refusal["message"].as_str().unwrap().contains("limits.subscribe_rate"), "{refusal}");
    // What is listened to already is no subscribe.
    let answer = socket.ask(&json!({ "id": 90, "auth": { "token": token("ann") } })).await;
    assert!(answer.get("authenticated").is_some(), "{answer}");
    let pong = socket.ask(&json!({ "id": 91, "ping": {} })).await;
    assert!(pong.get("pong").is_some(), "nothing was unsubscribed: {pong}");

    let channels = |count: u64| (0..count).map(|n| format!("channel=chan{n}")).collect::<Vec<_>>().join("&");
    let tried = async |count, user: &str| {
        let answer = ask(scene.http(), request("GET", &format!("/poll?{}&token={}", channels(count), token(user)), scene.http(), "")).await;
        (answer.status, answer.text().to_owned())
    };
    assert_eq!(tried(most, "bob").await.0, 200, "another user, who is charged once for each");
    let mut events = Raw::connect(scene.http()).await;
    events.send(request("GET", &format!("/sse?{}&token={}", channels(most), token("eve")), scene.http(), "")).await;
    assert_eq!(events.head().await.status, 200);
    let (status, said) = tried(most + 1, "kim").await;
    assert!(status == 503 && said.contains("limits.subscribe_rate"), "{said}");
    assert!(scene.metric("tidings_rates_exceeded_total", &["caller_subscribes"]).await >= 2.0);

    let before = denied(scene).await;
    let refused = socket.ask(&json!({ "id": 92, "subscribe": { "channel": "other" } })).await;
    assert_eq!(refused["error"]["code"], "permission_denied", "{refused}");
    assert_eq!(denied(scene).await, before + 1, "counted once over a WebSocket");
    let answer = ask(scene.http(), request("GET", &format!("/sse?channel=other&token={}", token("joe")), scene.http(), "")).await;
    assert_eq!((answer.status, denied(scene).await), (403, before + 2), "and once by SSE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_subscribes_so_often_and_a_denial_is_one() {
    let scene = Scene::with(Commit::AtOnce, bounded).await;
    a_user_subscribes(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_too_a_subscribe_is_charged_once_and_a_denial_is_one() {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..2 {
        cluster.add(bounded).await;
    }
    cluster.settle().await;
    a_user_subscribes(&cluster.nodes[1]).await;
}

/// Sends requests in one go and says how many were done, and the first refusal.
async fn flood(socket: &mut WebSocket, count: u64, request: impl Fn(u64) -> Value) -> (u64, Value) {
    let said: Vec<u8> = (0..count).flat_map(|id| masked(0x81, request(id).to_string().as_bytes())).collect();
    socket.send(&said).await;
    let (mut done, mut refusal) = (0, Value::Null);
    for _ in 0..count {
        let answer = soon("an answer", socket.object()).await.unwrap();
        match answer.get("error") {
            None => done += 1,
            Some(error) if refusal.is_null() => refusal = error.clone(),
            Some(_) => {}
        }
    }
    (done, refusal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_websocket_asks_for_so_much_a_second_and_others_for_theirs() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        (config.websocket.publish_rate, config.websocket.subscribe_rate, config.websocket.byte_rate) = (10, 5, 50_000);
    })
    .await;
    let publish = |id| json!({ "id": id, "publish": { "channel": "a", "text": "x" } });
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    let (done, refusal) = flood(&mut socket, 100, publish).await;
    // Twice the rate at once, and what comes in while the rest is read.
    assert!((20..40).contains(&done), "{done} of 100 were published");
    assert_eq!((&refusal["code"], &refusal["retry"]), (&json!("overloaded"), &json!(true)));
    let told = refusal["message"].as_str().unwrap();
    assert!(told.contains("websocket.publish_rate") && told.contains("ask again in"), "{told}");
    let unsubscribe = |id| json!({ "id": id, "unsubscribe": { "channel": "a" } });
    let (done, refusal) = flood(&mut socket, 50, unsubscribe).await;
    assert!((10..20).contains(&done) && refusal["message"].as_str().unwrap().contains("websocket.subscribe_rate"), "{done}: {refusal}");
    // Another connection notices nothing, and after a while this one may again.
    let mut other = WebSocket::open(scene.http(), "/ws", "").await;
    assert!(other.ask(&publish(1)).await.get("published").is_some());
    soon("again", async { while socket.ask(&publish(1)).await.get("published").is_none() {} }).await;
    let mut wordy = WebSocket::open(scene.http(), "/ws", "").await;
    let large = |id| json!({ "id": id, "publish": { "channel": "a", "text": "x".repeat(30_000) } });
    let (done, refusal) = flood(&mut wordy, 6, large).await;
    assert!((3..6).contains(&done) && refusal["message"].as_str().unwrap().contains("websocket.byte_rate"), "{done}: {refusal}");
    // What is no request at all costs as much to read.
    let mut nonsense = WebSocket::open(scene.http(), "/ws", "").await;
    let (_, first) = flood(&mut nonsense, 1, |id| json!({ "id": id, "nonsense": "x".repeat(30_000) })).await;
    assert_eq!(first["code"], "invalid_request", "{first}");
    let before = scene.metric("tidings_rates_exceeded_total", &["connection_bytes"]).await;
    flood(&mut nonsense, 9, |id| json!({ "id": id, "nonsense": "x".repeat(30_000) })).await;
    let exceeded = scene.metric("tidings_rates_exceeded_total", &["connection_bytes"]).await - before;
    assert!(exceeded >= 5.0, "of 10 times 30 kB at 50 kB a second only {exceeded} were too much");
    for rate in ["connection_publishes", "connection_subscribes", "connection_bytes"] {
        assert!(scene.metric("tidings_rates_exceeded_total", &[rate]).await >= 1.0, "{rate}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_one_rate_over_all_its_connections_and_another_key_its_own() {
    let scene = Scene::with(Commit::AtOnce, |config| {
        config.keys = ["wild", "calm"].map(|name| Key::new(name, KeyHash::of(name.as_bytes()))).into();
        config.limits.publish_rate = 10;
    })
    .await;
    let address = format!("http://{}", scene.grpc());
    let wild = Client::connect(&address).await.unwrap().with_key("wild").unwrap().with_patience(Duration::from_millis(24));
    for _ in 0..60 {
        // Some are not answered within its patience; what the node did is what counts.
        let _ = wild.publish("a", Message::new("x")).await;
    }
    let done = scene.metric("tidings_publishes_answered_total", &["\"grpc\"", "kept"]).await as u64;
    let mut socket = WebSocket::open(scene.http(), "/ws", "Authorization: Bearer wild\r\n").await;
    let (more, refusal) = flood(&mut socket, 40, |id| json!({ "id": id, "publish": { "channel": "a", "text": "x" } })).await;
    assert!(
        (20..60).contains(&done) && more < 20 && refusal["message"].as_str().unwrap().contains("limits.publish_rate"),
        "{done}, {more}: {refusal}"
    );
    let calm = Client::connect(&address).await.unwrap().with_key("calm").unwrap();
    calm.publish("a", Message::new("calm")).await.unwrap();
    let mut listener = Listener::open(Way::Door, &scene, &["a"], Since::Last(1)).await;
    assert_eq!(listener.texts(1).await, ["calm"]);
    assert!(scene.metric("tidings_rates_exceeded_total", &["caller_publishes"]).await >= 10.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_and_on_past_its_bytes_over_a_websocket_is_closed() {
    let scene = Scene::with(Commit::AtOnce, |config| config.websocket.byte_rate = 10_000).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    // Three megabytes, of which no more is refused one by one than may come in two minutes.
    let said: Vec<u8> =
        (0..100).flat_map(|id| masked(0x81, json!({ "id": id, "nonsense": "x".repeat(30_000) }).to_string().as_bytes())).collect();
    socket.send(&said).await;
    let mut refused = 0;
    let told = loop {
        let told = soon("an end", socket.object()).await.unwrap();
        match told.get("close") {
            Some(close) => break close.clone(),
            None => refused += 1,
        }
    };
    assert_eq!((&told["code"], &told["retry"]), (&json!("overloaded"), &json!(true)), "{told}");
    assert!(told["message"].as_str().unwrap().contains("websocket.byte_rate") && refused < 60, "{refused}: {told}");
    assert!(WebSocket::open(scene.http(), "/ws", "").await.ask(&json!({ "id": 1, "ping": {} })).await.get("pong").is_some());
}
