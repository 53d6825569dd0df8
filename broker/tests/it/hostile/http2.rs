//! Floods that HTTP/2 makes cheap for the one who sends them: each must cost the broker a bounded amount.

use super::scene::{Door, Scene, hear, shout};
use crate::raw::Raw;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PRIORITY: u8 = 2;
const DATA: u8 = 0;

/// One frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http` of a path, in HPACK: method and scheme by index, path and authority as literals.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 9]);
    block.extend(b"127.0.0.1");
    block
}

/// A connection as an honest client begins it, and then all of this.
async fn flood(scene: &Scene, door: Door, after: &str, frames: Vec<u8>) {
    let mut socket = scene.connect(door).await;
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames].concat();
    // Half of them close their side and read what comes, half just go.
    let (mut reader, mut writer) = tokio::io::split(&mut socket);
    tokio::join!(
        async {
            shout(&mut writer, &all).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
        },
        hear(&mut reader)
    );
    drop(socket);
    let mut deaf = scene.connect(door).await;
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), tokio::io::AsyncWriteExt::write_all(&mut deaf, &all)).await;
    scene.answers().await;
    drop(deaf);
    scene.is_unharmed(&format!("{after} at {door:?}")).await;
}

const ALL: [Door; 3] = [Door::Http, Door::Grpc, Door::Unix];

#[tokio::test]
async fn frames_that_ask_for_an_answer_each() {
    let scene = Scene::start().await;
    for door in ALL {
        flood(&scene, door, "settings", frame(SETTINGS, 0, 0, &[]).repeat(50_000)).await;
        flood(&scene, door, "pings", frame(PING, 0, 0, &[7; 8]).repeat(50_000)).await;
    }
}

#[tokio::test]
async fn streams_that_are_reset_as_soon_as_they_begin() {
    let scene = Scene::start().await;
    for door in ALL {
        for path in ["/sse?channel=reset", "/tidings.v1.Broker/Subscribe", "/poll?channel=reset&since=earliest"] {
            let block = get(path);
            let mut frames = Vec::new();
            for n in 0..5_000u32 {
                frames.extend(frame(HEADERS, 0x05, n * 2 + 1, &block));
                frames.extend(frame(RST_STREAM, 0, n * 2 + 1, &8u32.to_be_bytes()));
            }
            flood(&scene, door, "rapid resets", frames).await;
        }
    }
}

#[tokio::test]
async fn more_streams_than_allowed_and_none_read() {
    let scene = Scene::start().await;
    for door in ALL {
        let closed_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let block = get("/sse?channel=many&since=earliest");
        let streams: Vec<u8> = (0..2_000u32).flat_map(|n| frame(HEADERS, 0x05, n * 2 + 1, &block)).collect();
        flood(&scene, door, "too many streams", [closed_window, streams].concat()).await;
    }
}

#[tokio::test]
async fn heads_in_endless_pieces_and_frames_that_mean_nothing() {
    let scene = Scene::start().await;
    for door in ALL {
        let begin = frame(HEADERS, 0x01, 1, &get("/v1/channels"));
        let pieces = frame(CONTINUATION, 0, 1, &[0x00, 0x01, b'x', 0x01, b'y']).repeat(100_000);
        flood(&scene, door, "continuations", [begin, pieces].concat()).await;
        let bomb =
            [frame(HEADERS, 0x05, 1, &[&[0x40, 0x01, b'x', 0x7f, 0x81, 0x1e], &[b'y'; 4000][..], &[0xbe; 12_000]].concat())].concat();
        flood(&scene, door, "an hpack bomb", bomb).await;
        flood(&scene, door, "empty data", [frame(HEADERS, 0x04, 1, &get("/v1/publish")), frame(DATA, 0, 1, &[]).repeat(20_000)].concat())
            .await;
        flood(&scene, door, "priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(50_000)).await;
        flood(&scene, door, "unknown frames", frame(0xee, 0xff, 0, &[1; 100]).repeat(10_000)).await;
        for (name, frames) in [
            ("data on no stream", frame(DATA, 0, 0, &[1])),
            ("a window past its bound", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()).repeat(3)),
            ("a window of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
            ("an even stream", frame(HEADERS, 0x05, 2, &get("/"))),
            ("a frame too large", [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 1000]].concat()),
            ("goaway", frame(GOAWAY, 0, 0, &[0; 8])),
            ("a broken head", frame(HEADERS, 0x05, 1, &[0xff; 50])),
            ("settings of odd length", frame(SETTINGS, 0, 0, &[1, 2, 3])),
        ] {
            flood(&scene, door, name, frames).await;
        }
    }
    assert!(scene.metric("tidings_protocol_errors_seen_total{kind=\"http2\"}").await > 0);
}

#[tokio::test]
async fn a_preface_and_silence_does_not_stay() {
    let mut config = super::scene::impatient();
    config.shards = 1;
    let scene = Scene::with(config).await;
    let mut silent = Raw::connect(scene.http()).await;
    silent.send(PREFACE).await;
    silent.rest().await;
    // One that asked once and then only answers pings is closed as idle.
    let mut idle = Raw::connect(scene.http()).await;
    idle.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0x05, 1, &get("/v1/channels"))].concat()).await;
    let heard = idle.rest().await;
    assert!(heard.windows(9).any(|bytes| bytes[3] == GOAWAY && bytes[5..9] == [0; 4]), "it is told to go: {heard:?}");
    scene.is_unharmed("silence").await;
}
