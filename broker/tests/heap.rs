//! What an idle stream costs on the heap, counted by the allocator of the whole process. A binary of its own: another
//! test beside it would be counted too.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its scene shall stop there")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tidings::config::Config;
use tidings::node::Node;
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Enough that what is not per connection does not show.
const CONNECTIONS: usize = 2000;
/// What a connection may cost.
const BYTES_MAX: usize = 1536;

/// Bytes that the program holds, as of now.
fn allocated() -> usize {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap()
}

/// Reads until the text has come; returns nothing more than that.
fn expect(stream: &mut TcpStream, text: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(text.as_bytes()) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the stream ended after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
}

/// What kind of stream stands idle.
#[derive(Clone, Copy, Debug)]
enum Kind {
    EventStream,
    /// On a connection that was used for something else before.
    SecondRequest,
    WebSocket,
}

fn open(address: SocketAddr, kind: Kind) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    if matches!(kind, Kind::SecondRequest) {
        stream.write_all(b"GET /poll?channel=idle HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        expect(&mut stream, "\"}\n");
    }
    if matches!(kind, Kind::WebSocket) {
        let handshake = "GET /ws?channel=idle HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        stream.write_all(handshake.as_bytes()).unwrap();
        expect(&mut stream, "\"recovered\":false}}");
        // It has been heard too: what a request needed is gone again.
        stream.write_all(b"\x81\x8b\0\0\0\0{\"ping\":{}}").unwrap();
        expect(&mut stream, "{\"pong\":{}}");
        return stream;
    }
    stream.write_all(b"GET /sse?channel=idle HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    // Head, greeting, and the first cursor: then the stream stands.
    expect(&mut stream, "\r\n\r\n");
    expect(&mut stream, "id: ");
    expect(&mut stream, "\n\n");
    stream
}

async fn cost_of_streams(kind: Kind) -> usize {
    let mut config = Config { dev: true, shards: 2, ..Config::default() };
    for address in [&mut config.http.listen, &mut config.admin.listen] {
        address.set_port(0);
    }
    config.grpc.listen = None;
    let node = Node::start(config).await.unwrap();
    let address = node.addresses().http;
    let (per_connection, _streams) = tokio::task::spawn_blocking(move || {
        // The first ones make what all share.
        let mut streams: Vec<TcpStream> = (0..50).map(|_| open(address, kind)).collect();
        streams.reserve(CONNECTIONS);
        let before = allocated();
        streams.extend((0..CONNECTIONS).map(|_| open(address, kind)));
        (allocated().saturating_sub(before) / CONNECTIONS, streams)
    })
    .await
    .unwrap();
    node.stop().await;
    per_connection
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_costs_at_most_a_kibibyte_and_a_half_of_whatever_kind() {
    for kind in [Kind::EventStream, Kind::SecondRequest, Kind::WebSocket] {
        let bytes = cost_of_streams(kind).await;
        println!("heap per idle stream, {kind:?}: {bytes} bytes");
        assert!(bytes > 0, "nothing was counted");
        assert!(bytes <= BYTES_MAX, "{bytes} bytes, {kind:?}");
    }
}
