//! Clients that break RFC 6455, on real sockets: each hears why, in words and in the code that the RFC has for it.

use rand::{Rng as _, RngExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Commit, Framed, Scene, WebSocket, chance, handshake, masked, soon};

/// A frame without a mask, as only a server may send it.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_violation_is_closed_with_its_code_and_its_word() {
    let scene = Scene::open(Commit::AtOnce).await;
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let too_long = [&[0x81, 0xff][..], &(200_000_u64).to_be_bytes()].concat();
    let bomb = {
        // Two megabytes of zeroes in a few kilobytes: far over what a message may be, once it is read.
        let mut packer = flate2::Compress::new(flate2::Compression::new(9), false);
        let mut packed = Vec::with_capacity(1 << 16);
        packer.compress_vec(&vec![b' '; 2 << 20], &mut packed, flate2::FlushCompress::Sync).unwrap();
        packed.truncate(packed.len() - 4);
        packed
    };
    let cases: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("unmasked", "", unmasked(0x81, b"{}"), 1002, "protocol_error"),
        ("an unmasked ping", "", unmasked(0x89, b""), 1002, "protocol_error"),
        ("reserved bit 1 without an extension", "", masked(0xc1, b"{}"), 1002, "protocol_error"),
        ("reserved bit 2", deflate, masked(0xa1, b"{}"), 1002, "protocol_error"),
        ("reserved bit 3", "", masked(0x91, b"{}"), 1002, "protocol_error"),
        ("a compressed ping", deflate, masked(0xc9, b""), 1002, "protocol_error"),
        ("a reserved opcode", "", masked(0x83, b"{}"), 1002, "protocol_error"),
        ("a reserved control opcode", "", masked(0x8b, b"{}"), 1002, "protocol_error"),
        ("a ping in pieces", "", masked(0x09, b"half"), 1002, "protocol_error"),
        ("a long ping", "", masked(0x89, &[b'x'; 126]), 1002, "protocol_error"),
        ("a continuation of nothing", "", masked(0x80, b"{}"), 1002, "protocol_error"),
        ("a message inside another", "", [masked(0x01, b"{"), masked(0x81, b"}")].concat(), 1002, "protocol_error"),
        ("a length that is too long", "", b"\x81\xfe\x00\x05".to_vec(), 1002, "protocol_error"),
        ("half a close code", "", masked(0x88, b"\x03"), 1002, "protocol_error"),
        ("a close code that must not be sent", "", masked(0x88, b"\x03\xed"), 1002, "protocol_error"),
        ("a close code out of range", "", masked(0x88, b"\xff\xff"), 1002, "protocol_error"),
        ("a close reason that is not UTF-8", "", masked(0x88, b"\x03\xe8\xff"), 1007, "protocol_error"),
        ("bytes", "", masked(0x82, b"{}"), 1003, "protocol_error"),
        ("text that is not UTF-8", "", masked(0x81, b"\xc3\x28"), 1007, "protocol_error"),
        ("a code point that ends with its message", "", masked(0x81, b"{\"\xe2\x82"), 1007, "protocol_error"),
        (
            "a code point cut by a frame and continued wrongly",
            "",
            [masked(0x01, b"\xe2\x82"), masked(0x80, b"\x28")].concat(),
            1007,
            "protocol_error",
        ),
        ("no UTF-8 in a message that goes on", "", masked(0x01, b"\xff"), 1007, "protocol_error"),
        ("no deflate stream", deflate, masked(0xc1, b"\xff\xff\xff\xff"), 1007, "protocol_error"),
        ("a message that says it is too long", "", too_long, 1009, "too_large"),
        (
            "fragments that are too long together",
            "",
            [masked(0x01, &[b' '; 100_000]), masked(0x80, &[b' '; 40_000])].concat(),
            1009,
            "too_large",
        ),
        ("a bomb", deflate, masked(0xc1, &bomb), 1009, "too_large"),
    ];
    let count = cases.len();
    for (what, headers, bytes, code, word) in cases {
        let mut socket = WebSocket::open(scene.http(), "/ws?channel=a", headers).await;
        assert!(socket.object().await.unwrap().get("subscribed").is_some());
        // In pieces too, so that each byte is judged where it stands.
        for piece in bytes.chunks(7 + bytes.len() / 3) {
            // The rest of what is wrong is not listened to, and may meet a closed door.
            let _ = socket.socket.write_all(piece).await;
        }
        let close = soon(what, socket.object()).await.unwrap();
        assert_eq!((&close["close"]["code"], &close["close"]["retry"]), (&json!(word), &json!(false)), "{what}: {close}");
        assert_eq!(soon(what, socket.frame()).await, Framed::Close(Some((code, word.to_owned()))), "{what}");
        drop(socket);
    }
    while scene.metric("tidings_sessions", &["websocket"]).await > 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.metric("tidings_protocol_errors_seen_total", &["websocket"]).await, count as f64);
    assert_eq!(scene.metric("tidings_sessions_closed_total", &["websocket", "protocol_error"]).await, count as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_right_passes_however_it_is_cut() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut chance = chance();
    let request = |id: u64| json!({ "id": id, "publish": { "channel": "grüße 🌊", "text": "€ 🌊" } }).to_string().into_bytes();
    for round in 0..20 {
        let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
        let mut bytes = Vec::new();
        for id in 0..5 {
            // Fragments of any size, also of none, with control frames between them.
            let text = request(id);
            let mut cuts: Vec<usize> = (0..4).map(|_| chance.random_range(0..=text.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for (nth, cut) in cuts.iter().enumerate() {
                bytes.extend(masked(if nth == 0 { 0x01 } else { 0x00 }, &text[from..*cut]));
                bytes.extend(masked(0x89, &[nth as u8; 125][..nth * 40]));
                from = *cut;
            }
            bytes.extend(masked(0x80, &text[from..]));
        }
        for piece in bytes.chunks(1 + chance.random_range(0..200)) {
            socket.send(piece).await;
            if round % 4 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for id in 0..5 {
            let answer = soon("the answer", socket.object()).await.unwrap();
            assert_eq!((&answer["id"], &answer["published"]["channel"]), (&json!(id), &json!("grüße 🌊")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_none_are_answered_and_the_connection_stays() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    for text in ["", "null", "[]", "{", "{}", "nonsense", "\u{0}", r#"{"id":1}"#, r#"{"id":1,"subscribe":{"channel":"a\nb"}}"#] {
        socket.send(&masked(0x81, text.as_bytes())).await;
        let answer = soon("an error", socket.object()).await.unwrap();
        assert_eq!(answer["error"]["code"], "invalid_request", "{text}: {answer}");
        assert_eq!(answer.get("id").is_some(), text.contains("\"id\""), "{text}: {answer}");
    }
    assert_eq!(socket.ask(&json!({ "id": 2, "ping": {} })).await, json!({ "id": 2, "pong": {} }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_answered_as_fast_as_it_is_read_and_no_faster() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut socket = WebSocket::open(scene.http(), "/ws", "").await;
    let ping = masked(0x89, &[b'x'; 125]);
    let flood = ping.repeat(200);
    let (mut sent, mut at) = (0, 0);
    loop {
        let wrote = tokio::time::timeout(std::time::Duration::from_millis(300), async {
            socket.socket.writable().await.unwrap();
            socket.socket.try_write(&flood[at..])
        });
        match wrote.await {
            Ok(Ok(count)) => {
                at = (at + count) % flood.len();
                sent += count;
            }
            Ok(Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            Err(_) => break,
        }
        assert!(sent < 1 << 30, "it was never made to wait");
    }
    for _ in 0..sent / ping.len() {
        assert_eq!(soon("a pong", socket.frame()).await, Framed::Pong(vec![b'x'; 125]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_behind_a_handshake_harms_nobody() {
    let scene = Scene::open(Commit::AtOnce).await;
    let mut witness = WebSocket::open(scene.http(), "/ws?channel=a", "").await;
    assert!(witness.object().await.unwrap().get("subscribed").is_some());
    let mut chance = chance();
    for round in 0..100 {
        let mut socket = TcpStream::connect(scene.http()).await.unwrap();
        let whole = handshake("/ws?channel=a", if round % 2 == 0 { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" });
        if round % 5 == 0 {
            // Half a handshake.
            let _ = socket.write_all(&whole.as_bytes()[..chance.random_range(1..whole.len())]).await;
            continue;
        }
        let mut noise = vec![0; chance.random_range(1..3000)];
        chance.fill_bytes(&mut noise);
        if round % 3 == 0 {
            // Begins as a client's frame does, so that it is looked at further.
            noise.splice(..1, [0xc1, 0xfe]);
        }
        let _ = socket.write_all(&[whole.as_bytes(), &noise].concat()).await;
        if round % 2 == 0 {
            let _ = socket.shutdown().await;
            let mut answer = Vec::new();
            let _ = soon("the end", socket.read_to_end(&mut answer)).await;
        }
    }
    scene.publish("a", "still there").await;
    assert_eq!(soon("the message", witness.object()).await.unwrap()["message"]["data"], "still there");
    while scene.metric("tidings_sessions", &["websocket"]).await > 1.0 {
        tokio::task::yield_now().await;
    }
}
