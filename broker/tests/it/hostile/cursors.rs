//! Cursors that nobody gave: a client may write whatever it likes into one, and hurts only itself.

use serde_json::{Value, json};
use tidings::log::{Cursor, Epoch, Pos, SlotCursor, Tag};
use tidings_sdk::Client;

use super::scene::Scene;
use crate::raw::{Raw, ask, post, request};
use crate::support::{WebSocket, soon};

const CHANNEL: &str = "a";

/// A cursor that was really given.
async fn given(scene: &Scene) -> SlotCursor {
    let to = scene.http();
    let published = ask(to, post("/v1/channels/a/messages", to, b"first")).await;
    let published: Value = serde_json::from_slice(&published.body).unwrap();
    let cursor = Cursor::parse(published["cursor"].as_str().unwrap()).unwrap();
    cursor.iter().next().unwrap().clone()
}

/// Everything that may be written where an index, an epoch and other branches stand.
fn forgeries(given: &SlotCursor) -> Vec<String> {
    let other = Tag::new(7).unwrap();
    let epochs = [given.main.epoch, Epoch::new(1, other), Epoch::new(0, other), Epoch::new(u32::from(u16::MAX), other)];
    let indices = [1, 2, 3, u64::from(u32::MAX), 1 << 63, u64::MAX - 1, u64::MAX];
    let mut forged = Vec::new();
    for epoch in epochs {
        for idx in indices {
            let main = Pos { epoch, idx };
            forged.push(Cursor::from(SlotCursor { main, ..given.clone() }).encode());
            let extras = epochs.iter().flat_map(|epoch| indices.iter().map(|idx| Pos { epoch: *epoch, idx: *idx }));
            let extras: Vec<Pos> = extras.filter(|extra| extra.epoch != epoch).step_by(4).take(7).collect();
            forged.push(Cursor::from(SlotCursor { main, extras, ..given.clone() }).encode());
        }
    }
    // Some of them cannot even be written, and are refused as that.
    forged.retain(|text| Cursor::parse(text).is_ok());
    forged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_cursor_hurts_nobody_on_any_front() {
    let scene = Scene::start().await;
    let to = scene.http();
    let given = given(&scene).await;
    let forged = forgeries(&given);
    assert!(forged.len() > 30, "{}", forged.len());
    let grpc = Client::connect(&format!("http://{}", scene.node.addresses().grpc.unwrap())).await.unwrap();
    // One who came honestly, and hears everything all the while.
    let mut honest = WebSocket::open(to, "/ws", "").await;
    honest.ask(&json!({ "id": 1, "subscribe": { "channel": CHANNEL } })).await;
    for (nth, cursor) in forged.iter().enumerate() {
        let poll = ask(to, request("GET", &format!("/poll?channel=a&wait=0&since={cursor}"), to, "")).await;
        assert!(matches!(poll.status, 200 | 204), "{cursor}: {poll:?}");
        for order in ["asc", "desc"] {
            let page = ask(to, request("GET", &format!("/v1/channels/a/messages?since={cursor}&order={order}"), to, "")).await;
            assert_eq!(page.status, 200, "{cursor}");
        }
        let mut streams = Vec::new();
        for path in ["/sse", "/stream"] {
            let mut raw = Raw::connect(to).await;
            raw.send(request("GET", &format!("{path}?channel=a&since={cursor}"), to, "")).await;
            assert_eq!(raw.head().await.status, 200, "{cursor}");
            streams.push(raw);
        }
        let mut socket = WebSocket::open(to, "/ws", "").await;
        let told = socket.ask(&json!({ "id": 1, "subscribe": { "channel": CHANNEL, "since": cursor } })).await;
        assert!(told.get("subscribed").is_some(), "{cursor}: {told}");
        let subscribed = soon("a subscription", grpc.subscribe([CHANNEL]).since(cursor.as_str()).into_future()).await;
        assert!(subscribed.is_ok(), "{cursor}");
        let text = format!("number {nth}.");
        assert_eq!(ask(to, post("/v1/channels/a/messages", to, text.as_bytes())).await.status, 200);
        let heard = soon("what was published", honest.object()).await.unwrap();
        assert_eq!(heard["message"]["data"], text, "after {cursor}");
    }
    drop((honest, grpc));
    scene.is_unharmed("forged cursors").await;
}
