//! Who asks for more in a second than one may: it is told so and when to ask again, and others are served.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::auth::config::{Key, KeyHash};
use tidings_sdk::{Client, Message};

use crate::support::{Commit, Listener, Scene, Since, Way, WebSocket, masked, soon};

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
    assert!((3..5).contains(&done) && refusal["message"].as_str().unwrap().contains("websocket.byte_rate"), "{done}: {refusal}");
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
    let wild = Client::connect(&address).await.unwrap().with_key("wild").unwrap().with_patience(Duration::from_millis(1));
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
