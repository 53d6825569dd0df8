//! Floods that HTTP/2 makes cheap for the one who sends them: each must cost the broker a bounded amount.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};
use tidings::config::Config;
use tidings_sdk::{Client, Message};
use tokio::io::AsyncReadExt as _;

use super::scene::{Door, Scene, Socket, hear, shout};
use crate::raw::{Raw, ask, config, post};
use crate::support::soon;

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

/// An honest beginning, but the window of every stream is closed.
fn closed() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat()
}

/// Asks for all of these, each on a stream of its own.
fn ask_for<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    paths.into_iter().zip(0u32..).flat_map(|(path, n)| frame(HEADERS, 0x05, n * 2 + 1, &get(path))).collect()
}

/// The next frame: what kind it is, of which stream, and what is in it.
async fn next_frame(socket: &mut Box<dyn Socket>) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    soon("a frame", socket.read_exact(&mut head)).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    soon("its payload", socket.read_exact(&mut payload)).await.unwrap();
    (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
}

/// Publishes a history of 20 kilobytes.
async fn some_history(scene: &Scene) -> Client {
    let client = Client::connect(&format!("http://{}", scene.node.addresses().grpc.unwrap())).await.unwrap();
    client.publish("some", Message::new("x".repeat(20_000))).await.unwrap();
    client
}

const UNREAD: &str = "tidings_bound_used{bound=\"unread_bytes\"}";
const POLL: &str = "/poll?channel=some&since=earliest";

#[tokio::test]
async fn answers_behind_closed_windows_count_and_are_given_up() {
    let mut config = config();
    config.http.write_timeout = Duration::from_secs(3);
    let scene = Scene::with(config).await;
    let client = some_history(&scene).await;
    let mut socket = scene.connect(Door::Http).await;
    shout(&mut socket, &[closed(), ask_for([POLL; 50])].concat()).await;
    scene.until(UNREAD, |bytes| bytes >= 1 << 20).await;
    // Each alone: the connection is as good as before.
    let mut reset = 0;
    while reset < 50 {
        let (kind, _, _) = next_frame(&mut socket).await;
        reset += usize::from(kind == RST_STREAM);
        assert_ne!(kind, DATA, "there is no window");
    }
    scene.until(UNREAD, |bytes| bytes == 0).await;
    shout(&mut socket, &frame(HEADERS, 0x05, 101, &get("/poll?channel=none&since=earliest&wait=0"))).await;
    while next_frame(&mut socket).await.1 != 101 {}
    // With a window as wide as one byte, HTTP/2 takes all of it over; that counts for as long.
    let wide = (0..50u32).flat_map(|n| frame(WINDOW_UPDATE, 0, n * 2 + 103, &1u32.to_be_bytes()));
    let more = (0..50u32).flat_map(|n| frame(HEADERS, 0x05, n * 2 + 103, &get(POLL)));
    shout(&mut socket, &more.chain(wide).collect::<Vec<u8>>()).await;
    scene.until(UNREAD, |bytes| bytes >= 1 << 20).await;
    scene.until(UNREAD, |bytes| bytes == 0).await;
    drop((socket, client));
    scene.is_unharmed("closed windows").await;
}

/// Four connections ask for this 40 times each, take so many bytes of each answer and no more, and three of them have to go.
async fn push_out(target: &str, taken: u32) -> Scene {
    let mut config = config();
    config.limits.unsent_bytes = 1 << 20;
    let scene = Scene::with(config).await;
    let client = some_history(&scene).await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let mut socket = scene.connect(Door::Http).await;
        let window = |stream| frame(WINDOW_UPDATE, 0, stream, &taken.to_be_bytes());
        let windows: Vec<u8> = (0..40).filter(|_| taken > 0).flat_map(|n| window(2 * n + 1)).collect();
        shout(&mut socket, &[closed(), ask_for([target; 40]), windows].concat()).await;
        sockets.push(socket);
    }
    scene.until("tidings_connections_refused_total{reason=\"unread\"}", |cut| cut >= 3).await;
    assert!(scene.metric(UNREAD).await <= 1 << 20);
    drop((sockets, client));
    scene
}

#[tokio::test]
async fn answers_behind_closed_windows_push_out_those_of_the_connection_that_stands_still() {
    push_out(POLL, 0).await.is_unharmed("unread answers").await;
}

/// The limits in the newest stories of those who were cut.
async fn limits_of_those_cut(scene: &Scene) -> Vec<String> {
    let cut = crate::admin::get(scene.node.addresses().admin, "/api/sessions?event=cut&limit=500").await;
    cut["happenings"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn streams_behind_closed_windows_do_so_too_and_their_stories_name_the_bound() {
    // Each takes its beginning and a little of its history, of which HTTP/2 holds the rest.
    let scene = push_out("/sse?channel=some&since=earliest", 100).await;
    scene.until("tidings_sessions_closed_total{front=\"sse\",reason=\"too_slow\"}", |cut| cut >= 120).await;
    let limits = limits_of_those_cut(&scene).await;
    assert!(limits.len() >= 120 && limits.iter().all(|limit| limit == "limits.unsent_bytes"), "{limits:?}");
    scene.is_unharmed("unread streams").await;
}

#[tokio::test]
async fn a_stream_that_nobody_takes_anything_of_ends_and_the_one_beside_it_goes_on() {
    let mut config = config();
    config.http.write_timeout = Duration::from_secs(3);
    let scene = Scene::with(config).await;
    let client = some_history(&scene).await;
    let mut socket = scene.connect(Door::Http).await;
    let both = ask_for(["/sse?channel=some&since=earliest", "/sse?channel=live"]);
    // The first takes its beginning and a little of its history.
    let windows = [(1, 100u32), (3, 1_000_000)].map(|(stream, wide)| frame(WINDOW_UPDATE, 0, stream, &wide.to_be_bytes()));
    shout(&mut socket, &[closed(), both, windows.concat()].concat()).await;
    scene.until(UNREAD, |bytes| bytes > 0).await;
    loop {
        let (kind, stream, _) = next_frame(&mut socket).await;
        if kind == RST_STREAM {
            assert_eq!(stream, 1);
            break;
        }
    }
    scene.until("tidings_sessions_closed_total{front=\"sse\",reason=\"client_gone\"}", |closed| closed == 1).await;
    assert_eq!(limits_of_those_cut(&scene).await, ["http.write_timeout"]);
    client.publish("live", Message::new("still there")).await.unwrap();
    loop {
        let (kind, stream, payload) = next_frame(&mut socket).await;
        if kind == DATA && payload.windows(11).any(|text| text == b"still there") {
            assert_eq!(stream, 3);
            break;
        }
    }
    drop((socket, client));
    scene.is_unharmed("a stream that stands still").await;
}

#[tokio::test]
async fn who_takes_nothing_does_not_outstay_its_token() {
    let mut config = config();
    let secret = Some(Secret::new("the secret of these tests, long enough for HS256"));
    let key = TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None };
    config.tokens.keys.push(key.clone());
    config.tokens.leeway = Duration::ZERO;
    let scene = Scene::with(config).await;
    let draft = crate::support::draft("some", &"x".repeat(20_000));
    scene.node.broker().publish(draft).await.unwrap();
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3;
    let claims = json!({ "sub": "a", "exp": exp, "channels": [{ "match": "*", "can": ["subscribe", "history"] }] });
    let token = sign(&SigningKey::of_secret(&key).unwrap(), &claims).unwrap();
    let mut socket = scene.connect(Door::Http).await;
    let mut request = get("/sse?channel=some&since=earliest");
    // A header that is in no table: its name, its value.
    let value = format!("Bearer {token}");
    request.extend([0x00, 13]);
    request.extend(b"authorization");
    request.extend([0x7f, (value.len() - 127) as u8 | 0x80, ((value.len() - 127) >> 7) as u8]);
    request.extend(value.as_bytes());
    shout(&mut socket, &[closed(), frame(HEADERS, 0x05, 1, &request)].concat()).await;
    scene.until("tidings_sessions_closed_total{front=\"sse\",reason=\"token_expired\"}", |closed| closed == 1).await;
    while next_frame(&mut socket).await.0 != RST_STREAM {}
}

/// So many streams of a channel without messages, not a byte of which is taken: not even how they begin.
async fn behind_closed_windows(config: Config, count: usize) -> (Scene, Box<dyn Socket>) {
    let scene = Scene::with(config).await;
    let mut socket = scene.connect(Door::Http).await;
    shout(&mut socket, &[closed(), ask_for(vec!["/sse?channel=empty"; count])].concat()).await;
    scene.until("tidings_sessions{front=\"sse\"}", |open| open == count as u64).await;
    (scene, socket)
}

const CLOSED: &str = "tidings_sessions_closed_total{front=\"sse\",reason=";

#[tokio::test]
async fn who_never_takes_anything_is_ended_by_an_order_all_the_same() {
    let (scene, mut socket) = behind_closed_windows(config(), 3).await;
    let http = scene.http();
    let sessions = crate::admin::get(scene.admin(), "/api/sessions?event=opened&limit=500").await;
    let session = sessions["happenings"][0]["session"].as_str().unwrap().to_owned();
    let order = ask(http, post("/v1/disconnect", http, json!({ "session": session }).to_string().as_bytes()));
    let told: serde_json::Value = serde_json::from_str(soon("the order", order).await.text()).unwrap();
    assert_eq!(told["ended"], 1, "{told}");
    scene.until(&format!("{CLOSED}\"disconnected\"}}"), |closed| closed == 1).await;
    while next_frame(&mut socket).await.0 != RST_STREAM {}
    drop(socket);
    scene.is_unharmed("streams that were never taken").await;
}

#[tokio::test]
async fn who_never_takes_anything_does_not_hold_up_a_drain() {
    let mut config = config();
    (config.drain.grace, config.drain.waves) = (Duration::from_secs(20), 1);
    let (scene, mut socket) = behind_closed_windows(config, 3).await;
    let heard = async {
        let mut reset = 0;
        while reset < 3 {
            reset += usize::from(next_frame(&mut socket).await.0 == RST_STREAM);
        }
        drop(socket);
    };
    let began = tokio::time::Instant::now();
    tokio::join!(scene.node.drain(), heard);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_never_takes_anything_is_given_up_when_its_time_is_over() {
    let mut config = config();
    config.http.write_timeout = Duration::from_secs(3);
    let (scene, mut socket) = behind_closed_windows(config, 3).await;
    while next_frame(&mut socket).await.0 != RST_STREAM {}
    scene.until(&format!("{CLOSED}\"client_gone\"}}"), |closed| closed == 3).await;
    assert_eq!(limits_of_those_cut(&scene).await, ["http.write_timeout"; 3]);
    drop(socket);
    scene.is_unharmed("streams that were never taken").await;
}
