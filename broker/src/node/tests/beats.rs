//! Heartbeats of WebSockets, second by second. Only here can a shard's seconds be made to pass, so that who answers in time is no
//! matter of how busy the machine is.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Node, draft_of, shake_hands, soon, start, text_frame};

/// Every session is asked once in so many seconds.
const BEAT: u64 = 1000;

/// A node with one shard, whose sessions are asked only when its time is made to pass.
async fn beating() -> Node {
    let beat = Duration::from_secs(BEAT);
    start(|config| {
        config.shards = 1;
        (config.shard.heartbeat_min, config.shard.heartbeat_max) = (beat, beat);
    })
    .await
}

/// One beat for everyone.
async fn beat(node: &Node) {
    let passed = node.embedded.shards[0].perform(|shard| (0..BEAT).for_each(|_| shard.pass_second()));
    soon(passed).await.expect("the shard lives");
}

/// Waits until so many have not answered yet.
async fn asked(node: &Node, count: usize) {
    soon(async { while node.embedded.shards[0].perform(|shard| shard.asked_count()).await != Some(count) {} }).await;
}

/// What a server's frame holds.
#[derive(Debug, PartialEq)]
enum Frame {
    Object(Value),
    Ping,
    Pong,
    Close(u16),
    End,
}

struct Client(TcpStream);

impl Client {
    async fn open(node: &Node, path: &str) -> Self {
        Self(shake_hands(node, path).await)
    }

    async fn say(&mut self, first: u8, payload: &str) {
        let mut frame = text_frame(payload);
        frame[0] = first;
        self.0.write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> Frame {
        let mut head = [0; 2];
        if soon(self.0.read_exact(&mut head)).await.is_err() {
            return Frame::End;
        }
        let length = match head[1] {
            126 => self.0.read_u16().await.unwrap().into(),
            short => u64::from(short),
        };
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        match head[0] & 0x0f {
            1 => Frame::Object(serde_json::from_slice(&payload).unwrap()),
            8 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
            9 => Frame::Ping,
            10 => Frame::Pong,
            other => panic!("a frame of kind {other}"),
        }
    }

    /// Hears why it has to go.
    async fn is_closed(&mut self, code: &str, retry: bool, number: u16) {
        let Frame::Object(close) = self.hear().await else { panic!("a close was due") };
        assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!(code), &json!(retry)));
        assert_eq!(self.hear().await, Frame::Close(number));
        assert_eq!(self.hear().await, Frame::End);
    }
}

#[tokio::test]
async fn who_answers_pings_stays_and_who_does_not_is_closed() {
    let node = beating().await;
    let (mut alive, mut lively, mut dead) =
        (Client::open(&node, "/ws").await, Client::open(&node, "/ws").await, Client::open(&node, "/ws").await);
    beat(&node).await;
    assert_eq!(dead.hear().await, Frame::Ping);
    for round in 0..4 {
        assert_eq!((alive.hear().await, lively.hear().await), (Frame::Ping, Frame::Ping));
        asked(&node, if round == 0 { 3 } else { 2 }).await;
        alive.say(0x8a, "").await;
        // Any word is a sign of life.
        lively.say(0x81, r#"{"ping":{}}"#).await;
        assert_eq!(lively.hear().await, Frame::Object(json!({ "pong": {} })));
        asked(&node, usize::from(round == 0)).await;
        beat(&node).await;
    }
    dead.is_closed("unresponsive", true, 1008).await;
    let closed = "tidings_sessions_closed_total{front=\"websocket\",reason=\"unresponsive\"} 1\n";
    soon(async { while !node.embedded.metrics().contains(closed) {} }).await;
}

#[tokio::test]
async fn a_quiet_channel_is_told_where_its_slot_stands_and_only_when_that_moved() {
    let node = beating().await;
    let mut client = Client::open(&node, "/ws?channel=quiet").await;
    assert!(matches!(client.hear().await, Frame::Object(object) if object.get("subscribed").is_some()));
    beat(&node).await;
    assert_eq!(client.hear().await, Frame::Ping, "nothing moved, so nothing is said");
    client.say(0x8a, "").await;
    asked(&node, 0).await;
    let elsewhere = node.broker().publish(draft_of("busy{quiet}")).await.unwrap().cursor().to_string();
    beat(&node).await;
    assert_eq!(client.hear().await, Frame::Object(json!({ "heartbeat": { "cursor": elsewhere } })));
    // With it the client misses nothing of its own channel.
    node.broker().publish(draft_of("quiet")).await.unwrap();
    let mut again = Client::open(&node, &format!("/ws?channel=quiet&since={elsewhere}")).await;
    assert!(matches!(again.hear().await, Frame::Object(object) if object["subscribed"]["recovered"] == true));
    assert!(matches!(again.hear().await, Frame::Object(object) if object["message"]["data"] == "x"));
}

#[tokio::test]
async fn half_a_message_must_be_whole_in_time() {
    let node = beating().await;
    let (mut never, mut slow) = (Client::open(&node, "/ws").await, Client::open(&node, "/ws").await);
    never.say(0x01, "{\"id\":1,").await;
    for _ in 0..3 {
        slow.say(0x01, "{\"id\":1,").await;
        // Answered pings do not help; and once ours is answered, what came before it was heard.
        for client in [&mut never, &mut slow] {
            client.say(0x89, "").await;
            assert_eq!(client.hear().await, Frame::Pong);
        }
        beat(&node).await;
        assert_eq!(slow.hear().await, Frame::Ping);
        slow.say(0x80, "\"ping\":{}}").await;
        assert_eq!(slow.hear().await, Frame::Object(json!({ "id": 1, "pong": {} })));
        match never.hear().await {
            Frame::Ping => {}
            Frame::Object(close) => {
                assert_eq!(close["close"]["code"], "protocol_error");
                assert_eq!(never.hear().await, Frame::Close(1008));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("it was never closed");
}
