//! Strangers who hold what backends and operators need: heads that drip, on every listener.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::scene::{DOORS, Door, Scene, impatient, shout};

/// What an honest client of HTTP/2 begins with: the preface and an empty SETTINGS frame.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_is_cut_off_on_every_listener() {
    let scene = Scene::with(impatient()).await;
    let drips = DOORS.map(|door| {
        let scene = &scene;
        async move {
            let mut socket = scene.connect(door).await;
            let began = Instant::now();
            // A head without an end, or a preface that never becomes one.
            let bytes: Vec<u8> = match door {
                Door::Http | Door::Admin => [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 1000]].concat(),
                Door::Grpc | Door::Unix => BEGINNING[..24].to_vec(),
            };
            let mut bytes = bytes.iter();
            let mut scratch = [0; 64];
            loop {
                if let Some(byte) = bytes.next().filter(|_| !matches!(door, Door::Grpc | Door::Unix) || bytes.len() > 1) {
                    shout(&mut socket, &[*byte]).await;
                }
                match timeout(Duration::from_millis(50), tokio::io::AsyncReadExt::read(&mut socket, &mut scratch)).await {
                    Ok(Ok(0) | Err(_)) => break,
                    _ => assert!(began.elapsed() < Duration::from_secs(15), "{door:?} waits for ever"),
                }
            }
        }
    });
    futures_util::future::join_all(drips).await;
    scene.is_unharmed("heads that drip").await;
}
