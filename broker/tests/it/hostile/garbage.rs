//! Bytes that are no protocol, or only the beginning of one.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::scene::{DOORS, Door, Scene, hear, impatient, shout};
use crate::raw::{PATIENCE, Raw, ask, post, request};

/// How a TLS 1.3 client begins: a handshake record with a ClientHello, cut off.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Every beginning that a reader might wait behind.
fn beginnings() -> Vec<Vec<u8>> {
    let get = b"GET /sse?channel=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let publish = b"POST /v1/channels/a/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf";
    let chunked = b"POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhalf";
    let settings = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
    let headers = [settings.clone(), b"\0\0\xff\x01\x04\0\0\0\x01\x82".to_vec()].concat();
    let mut beginnings: Vec<Vec<u8>> = vec![TLS_HELLO.to_vec(), publish.to_vec(), chunked.to_vec(), settings, headers];
    for whole in [&get[..], PREFACE, TLS_HELLO] {
        beginnings.extend([1, 3, 4, 16, whole.len() - 1].map(|count| whole[..count.min(whole.len())].to_vec()));
    }
    beginnings.extend(
        ["\n", "\r\n\r\n\r\n\r\n", "\0", " ", "GET", "GET / HTTP/1.1\r\nX", "GET / HTTP/9.9\r\n\r\n"].map(|text| text.as_bytes().to_vec()),
    );
    beginnings
}

#[tokio::test]
async fn random_bytes() {
    let scene = Scene::start().await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for door in DOORS {
        for round in 0..60 {
            let mut bytes = vec![0; 1 << (round % 15)];
            rng.fill_bytes(&mut bytes);
            let mut socket = scene.connect(door).await;
            // Some behind a beginning that leads further in.
            let begin: &[u8] = [
                b"".as_slice(),
                PREFACE,
                b"GET /sse?channel=a HTTP/1.1\r\n",
                b"POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
            ][round % 4];
            shout(&mut socket, begin).await;
            shout(&mut socket, &bytes).await;
            if round % 2 == 0 {
                let _ = socket.shutdown().await;
                hear(&mut socket).await;
            }
        }
        scene.is_unharmed(&format!("random bytes at {door:?}")).await;
    }
}

#[tokio::test]
async fn connections_that_end_at_every_stage() {
    let scene = Scene::start().await;
    for door in DOORS {
        for begin in beginnings() {
            for closes in [true, false] {
                let mut socket = scene.connect(door).await;
                shout(&mut socket, &begin).await;
                if closes {
                    let _ = socket.shutdown().await;
                    hear(&mut socket).await;
                }
            }
        }
        for _ in 0..200 {
            drop(scene.connect(door).await);
        }
        scene.is_unharmed(&format!("early ends at {door:?}")).await;
    }
}

#[tokio::test]
async fn a_request_cut_off_after_every_byte() {
    let scene = Scene::start().await;
    let to = scene.http();
    for whole in [request("GET", "/sse?channel=a", to, "Origin: http://x\r\n").into_bytes(), post("/v1/channels/a/messages", to, b"hello")]
    {
        for cut in 0..whole.len() {
            let mut raw = Raw::connect(to).await;
            raw.send(&whole[..cut]).await;
        }
    }
    scene.is_unharmed("cut requests").await;
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let scene = Scene::start().await;
    let to = scene.http();
    for whole in [request("GET", "/v1/channels", to, "").into_bytes(), post("/v1/channels/a/messages", to, b"hello")] {
        let mut raw = Raw::connect(to).await;
        for byte in whole {
            raw.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(raw.answer().await.status, 200);
    }
    let mut admin = scene.connect(Door::Admin).await;
    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" {
        shout(&mut admin, &[*byte]).await;
    }
    assert!(hear(&mut admin).await.starts_with(b"HTTP/1.1 200 "));
    scene.is_unharmed("single bytes").await;
}

#[tokio::test]
async fn heads_without_an_end_are_cut_off() {
    let scene = Scene::start().await;
    for (door, line) in
        [(Door::Http, "X: y\r\n"), (Door::Admin, "X: y\r\n"), (Door::Http, "xxxxxxxxxxxxxxxx"), (Door::Admin, "xxxxxxxxxxxxxxxx")]
    {
        let mut socket = scene.connect(door).await;
        shout(&mut socket, b"GET / HTTP/1.1\r\nA: ").await;
        // Until nobody takes any more.
        let endless = async { while socket.write_all(line.repeat(1000).as_bytes()).await.is_ok() {} };
        assert!(timeout(PATIENCE, endless).await.is_ok(), "{door:?} takes a head of any length");
    }
    scene.is_unharmed("endless heads").await;
    assert!(scene.metric("tidings_protocol_errors_seen_total{kind=\"header_too_large\"}").await >= 2);
}

#[tokio::test]
async fn slow_heads_run_out_of_time_and_so_do_idle_connections() {
    let scene = Scene::with(impatient()).await;
    let to = scene.http();
    let series = "tidings_protocol_errors_seen_total{kind=\"header_timeout\"}";
    // Each byte in time, the whole not.
    let mut drip = Raw::connect(to).await;
    let mut bytes = b"GET /sse?channel=a HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    while drip.try_send([*bytes.next().unwrap()]).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for begin in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost"] {
        let mut raw = Raw::connect(to).await;
        raw.send(begin).await;
        assert!(raw.is_closed().await, "{begin:?}");
    }
    assert_eq!(scene.metric(series).await, 5);
    // A second head that stays behind, and a connection that just rests.
    for second in ["GET / HT", ""] {
        let mut raw = Raw::connect(to).await;
        raw.send(request("GET", "/v1/channels", to, "")).await;
        assert_eq!(raw.answer().await.status, 200);
        raw.send(second).await;
        assert!(raw.is_closed().await);
    }
    assert_eq!(scene.metric(series).await, 6);
    // A stream and a held poll are none of that.
    let mut stream = Raw::connect(to).await;
    stream.send(request("GET", "/sse?channel=a", to, "")).await;
    stream.head().await;
    let mut poll = Raw::connect(to).await;
    poll.send(request("GET", "/poll?channel=a&since=earliest&wait=2", to, "")).await;
    assert_eq!(poll.answer().await.status, 204);
    scene.answers().await;
    stream.chunks_until(|text| text.contains("id: ")).await;
    drop(stream);
    scene.is_unharmed("slow heads").await;
}

#[tokio::test]
async fn bodies_that_never_end_or_lie_about_their_length() {
    let scene = Scene::start().await;
    let to = scene.http();
    let head = |length: &str| format!("POST /v1/channels/a/messages HTTP/1.1\r\nHost: {to}\r\n{length}\r\n");
    let mut open = Vec::new();
    for length in ["Content-Length: 1000\r\n", "Content-Length: 18446744073709551615\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut raw = Raw::connect(to).await;
        raw.send(head(length)).await;
        raw.send("5").await;
        open.push(raw);
    }
    // More than said is the next request, and no good one.
    let mut more = Raw::connect(to).await;
    more.send(head("Content-Length: 2\r\n")).await;
    more.send("hello hello\r\n\r\n").await;
    assert_eq!(more.answer().await.status, 200);
    assert_eq!(more.answer().await.status, 400);
    // An endless one is read as far as it may be long, then refused.
    let mut endless = Raw::connect(to).await;
    endless.send(head("Transfer-Encoding: chunked\r\n")).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    while endless.try_send(&chunk).await {}
    drop(open);
    scene.is_unharmed("lying bodies").await;
}

#[tokio::test]
async fn answers_that_nobody_reads() {
    let scene = Scene::start().await;
    let to = scene.http();
    let mut publisher = Raw::connect(to).await;
    for _ in 0..20 {
        publisher.send(post("/v1/channels/large/messages", to, &[b'x'; 60_000])).await;
        assert_eq!(publisher.answer().await.status, 200);
    }
    drop(publisher);
    let mut unread = Vec::new();
    for target in ["/v1/channels/large/messages?limit=1000", "/poll?channel=large&since=earliest", "/sse?channel=large&since=earliest"] {
        for _ in 0..10 {
            let mut raw = Raw::connect(to).await;
            raw.try_send(request("GET", target, to, "").repeat(20)).await;
            unread.push(raw);
        }
    }
    scene.answers().await;
    drop(unread);
    scene.is_unharmed("unread answers").await;
}

#[tokio::test]
async fn a_page_of_history_is_bounded_in_bytes_and_nothing_is_lost_between_pages() {
    let scene = Scene::start().await;
    let to = scene.http();
    let mut publisher = Raw::connect(to).await;
    for n in 0..50 {
        publisher.send(post("/v1/channels/pages/messages", to, format!("{n:060000}").as_bytes())).await;
        assert_eq!(publisher.answer().await.status, 200);
    }
    let mut target = "/v1/channels/pages/messages?limit=1000".to_owned();
    let mut sizes = Vec::new();
    loop {
        let page = ask(to, request("GET", &target, to, "")).await;
        assert!(page.body.len() < 3 << 20, "{}", page.body.len());
        let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        sizes.push(page["messages"].as_array().unwrap().len());
        if sizes.last() == Some(&0) {
            break;
        }
        target = format!("/v1/channels/pages/messages?limit=1000&since={}", page["cursor"].as_str().unwrap());
    }
    assert!(sizes.len() > 2 && sizes.iter().sum::<usize>() == 50, "{sizes:?}");
    drop(publisher);
    scene.is_unharmed("large histories").await;
}

#[tokio::test]
async fn a_wrong_protocol_is_told_where_somebody_listens_for_it() {
    let scene = Scene::start().await;
    for door in [Door::Grpc, Door::Unix] {
        let mut socket = scene.connect(door).await;
        shout(&mut socket, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&hear(&mut socket).await).contains("this port speaks gRPC"));
        // And a plain HTTP/2 client.
        let mut socket = scene.connect(door).await;
        shout(&mut socket, &[PREFACE, b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84"].concat()).await;
        let mut heard = vec![0; 100];
        let count = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut socket, &mut heard)).await.unwrap().unwrap();
        assert!(count > 9);
    }
    scene.is_unharmed("wrong protocols").await;
}
