//! Streams on sockets that the shard writes itself, under TLS: nothing is lost in the take-over, and a slow client holds
//! one record and its position.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings::hub::namespace;
use tidings::message::{ChannelName, Draft, Payload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Secured;
use crate::support::{BodyDecoder, EventStream, bridge, connect, handshake, masked, metric, soon};

/// Publishes so many messages of this size, each with its number in front.
async fn publish(secured: &Secured, channel: &str, count: usize, bytes: usize) {
    for number in 1..=count {
        let text = format!("{number} {}", "x".repeat(bytes));
        let channel = ChannelName::parse(channel).unwrap();
        secured.node.broker().publish(Draft::new(channel, Payload::text(&text))).await.unwrap();
    }
}

/// The numbers of the messages in a stream's bytes.
fn number(data: &str) -> usize {
    data.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_stops_reading_falls_behind_and_then_gets_everything() {
    const COUNT: usize = 300;
    let secured = Secured::watched(|config| {
        config.http.send_buffer_bytes = 32 << 10;
        let mut rules = namespace::Config::default();
        rules.history.bytes = 64 << 20;
        config.namespaces.insert("default", rules);
    })
    .await;
    let mut stream = secured.connect(secured.http()).await;
    stream.write_all(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let (mut decoder, mut events, mut numbers) = (BodyDecoder::default(), EventStream::default(), Vec::new());
    let mut bytes = vec![0; 64 << 10];
    while events.last_event_id.is_empty() {
        let count = soon("the first cursor", stream.read(&mut bytes)).await.unwrap();
        events.push(&decoder.push(&bytes[..count]));
    }
    // Far more than socket buffers hold.
    publish(&secured, "a", COUNT, 60 << 10).await;
    soon("it fell behind", async {
        while metric(secured.admin(), "tidings_sessions_behind", &["front=\"sse\""]).await == 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    while numbers.len() < COUNT {
        let count = soon("more", stream.read(&mut bytes)).await.unwrap();
        assert!(count > 0, "the stream ended after {} messages", numbers.len());
        let found = events.push(&decoder.push(&bytes[..count]));
        for event in found {
            assert_eq!(event.kind, "message", "{}", event.data);
            numbers.push(number(&event.data));
        }
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order and whole: {numbers:?}");
    soon("it caught up", async {
        while metric(secured.admin(), "tidings_sessions_behind", &["front=\"sse\""]).await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_may_be_a_later_request_and_words_that_came_early_are_heard() {
    let secured = Secured::watched(|_| {}).await;
    let mut stream = secured.connect(secured.http()).await;
    stream.write_all(b"GET /poll?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\"}\n") {
        soon("the first answer", stream.read_buf(&mut seen)).await.unwrap();
    }
    // A handshake with the first requests behind it, in one record and before it is answered.
    let mut said = handshake("/ws", "").into_bytes();
    said.extend(masked(0x81, br#"{"id":1,"subscribe":{"channel":"a"}}"#));
    said.extend(masked(0x81, br#"{"id":2,"ping":{}}"#));
    stream.write_all(&said).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("pong") {
        assert!(soon("the answers", stream.read_buf(&mut heard)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&heard));
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.starts_with("HTTP/1.1 101 ") && heard.contains("\"subscribed\""), "{heard}");
    publish(&secured, "a", 1, 10).await;
    let mut news = Vec::new();
    while !String::from_utf8_lossy(&news).contains("1 xxxxxxxxxx") {
        assert!(soon("the message", stream.read_buf(&mut news)).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn the_end_of_a_stream_is_an_end_and_no_cut() {
    let secured = Secured::watched(|config| {
        config.drain.grace = Duration::from_secs(2);
        config.drain.waves = 1;
    })
    .await;
    let mut stream = secured.connect(secured.http()).await;
    stream.write_all(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut seen = vec![0];
    stream.read_exact(&mut seen).await.unwrap();
    let Secured { node, .. } = secured;
    // rustls fails a read when the peer closes without saying so.
    let (ended, ()) = tokio::join!(stream.read_to_end(&mut seen), node.drain());
    ended.unwrap();
    let text = String::from_utf8(seen).unwrap();
    assert!(text.contains("tidings:close") && text.ends_with("0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn of_many_streams_on_one_connection_those_that_are_not_read_hold_up_no_other() {
    const STREAMS: usize = 60;
    const COUNT: usize = 40;
    let secured = Secured::watched(|_| {}).await;
    let address = bridge(secured.http(), secured.trusting(&["h2"])).await;
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    // Small enough that a stream nobody reads is soon full, large enough that all the full ones leave room for the others.
    builder.initial_stream_window_size(32 << 10).initial_connection_window_size(8 << 20);
    let (mut sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..STREAMS {
        let request = http::Request::get(format!("https://localhost:{}/sse?channel=a", address.port()));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let response = soon("a stream", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        bodies.push((response.into_body(), EventStream::default(), 0));
    }
    for (body, events, _) in &mut bodies {
        while events.last_event_id.is_empty() {
            let frame = soon("the first cursor", http_body_util::BodyExt::frame(body)).await.unwrap().unwrap();
            events.push(&frame.into_data().unwrap());
        }
    }
    publish(&secured, "a", COUNT, 8 << 10).await;
    // Every other one is read to its end while the rest are full; then those are.
    for first in [0, 1] {
        for (body, events, seen) in bodies.iter_mut().skip(first).step_by(2) {
            while *seen < COUNT {
                let frame = soon("the messages of a stream that is read", http_body_util::BodyExt::frame(body)).await.unwrap().unwrap();
                for event in events.push(&frame.into_data().unwrap()) {
                    assert_eq!(number(&event.data), *seen + 1, "in order and whole");
                    *seen += 1;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_storm_of_handshakes_does_not_keep_messages_from_those_who_are_there() {
    let secured = Secured::watched(|config| config.http.tls.handshake_timeout = Duration::from_secs(60)).await;
    let mut listener = secured.connect(secured.http()).await;
    listener.write_all(b"GET /sse?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|part| part == b"id: ") {
        soon("the first cursor", listener.read_buf(&mut seen)).await.unwrap();
    }
    let storm: Vec<_> = (0..200)
        .map(|_| {
            let (to, config) = (secured.http(), secured.trusting(&[]));
            tokio::spawn(async move { connect(to, config).await.is_ok() })
        })
        .collect();
    // In the middle of it.
    for number in 1..=20 {
        publish(&secured, "a", 1, number).await;
        let mut news = Vec::new();
        while !news.ends_with(b"\n\n\r\n") {
            assert!(soon("a message comes through", listener.read_buf(&mut news)).await.unwrap() > 0);
        }
    }
    let mut done = 0;
    for one in storm {
        done += usize::from(soon("a handshake", one).await.unwrap());
    }
    assert_eq!(done, 200, "and everybody got in");
}
