//! A little that becomes much: what is compressed is not taken where nobody agreed to it, and is bounded where somebody did
//! (WebSocket: `websocket/hostile.rs`; heads of HTTP/2: `http2.rs`).

use std::io::Write as _;

use tokio::io::AsyncReadExt as _;

use super::scene::{Door, Scene, shout};
use crate::raw::{Raw, request};
use crate::support::soon;

/// Ten megabytes of zeroes in ten kilobytes.
fn gzip() -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![0; 10 << 20]).unwrap();
    packer.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_body_is_refused_whatever_it_would_become() {
    let (scene, bomb) = (Scene::start().await, gzip());
    let to = scene.http();
    for path in ["/v1/publish", "/v1/channels/a/messages"] {
        for coding in
            ["Content-Encoding: gzip", "Content-Encoding: deflate, gzip", "Content-Encoding: br", "Transfer-Encoding: gzip, chunked"]
        {
            let mut raw = Raw::connect(to).await;
            let length = if coding.starts_with("Transfer") { String::new() } else { format!("Content-Length: {}\r\n", bomb.len()) };
            raw.send(request("POST", path, to, &format!("{coding}\r\n{length}"))).await;
            raw.try_send(&bomb).await;
            assert_eq!(raw.head().await.status, 400, "{path} {coding}");
        }
    }
    scene.is_unharmed("compressed bodies").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_message_of_grpc_is_refused() {
    let (scene, bomb) = (Scene::start().await, gzip());
    let mut socket = scene.connect(Door::Grpc).await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // POST http, a path, and headers, in HPACK: by index, and as literals that are not kept.
    let mut block = vec![0x83, 0x86];
    let path = "/tidings.v1.Broker/Publish";
    block.extend([&[0x04, path.len() as u8], path.as_bytes(), b"\x01\x09127.0.0.1"].concat());
    for (name, value) in [("content-type", "application/grpc"), ("grpc-encoding", "gzip"), ("te", "trailers")] {
        block.extend([&[0x00, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat());
    }
    let message = [&[1][..], &(bomb.len() as u32).to_be_bytes(), &bomb].concat();
    let all = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(4, 0, 0, &[])[..],
        &frame(1, 4, 1, &block),
        &frame(0, 1, 1, &message[..16_000.min(message.len())]),
    ];
    shout(&mut socket, &all.concat()).await;
    let mut heard = Vec::new();
    // Its answer is a head of stream 1 that ends it, or a reset: 12 is UNIMPLEMENTED, which says that nobody reads gzip here.
    soon("a refusal", async {
        while !has_frame_of_stream_one(&heard) {
            assert!(socket.read_buf(&mut heard).await.unwrap() > 0, "closed");
        }
    })
    .await;
    drop(socket);
    scene.is_unharmed("a compressed message").await;
    assert_eq!(scene.metric("tidings_publishes_answered_total{source=\"grpc\",outcome=\"kept\"}").await, 2, "those of the scene itself");
}

/// Whether a head or a reset of the first stream is among these frames.
fn has_frame_of_stream_one(mut bytes: &[u8]) -> bool {
    while let Some(head) = bytes.get(..9) {
        if matches!(head[3], 1 | 3) && head[5..9] == [0, 0, 0, 1] {
            return true;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some(rest) = bytes.get(9 + length..) else { return false };
        bytes = rest;
    }
    false
}
