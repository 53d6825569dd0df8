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

fn open(address: SocketAddr, is_second_request: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    if is_second_request {
        stream.write_all(b"GET /poll?channel=idle HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        expect(&mut stream, "\"}\n");
    }
    stream.write_all(b"GET /sse?channel=idle HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    // Head, greeting, and the first cursor: then the stream stands.
    expect(&mut stream, "\r\n\r\n");
    expect(&mut stream, "id: ");
    expect(&mut stream, "\n\n");
    stream
}

async fn cost_of_streams(is_second_request: bool) -> usize {
    let mut config = Config { dev: true, shards: 2, ..Config::default() };
    for address in [&mut config.http.listen, &mut config.admin.listen] {
        address.set_port(0);
    }
    config.grpc.listen = None;
    let node = Node::start(config).await.unwrap();
    let address = node.addresses().http;
    let (per_connection, _streams) = tokio::task::spawn_blocking(move || {
        // The first ones make what all share.
        let mut streams: Vec<TcpStream> = (0..50).map(|_| open(address, is_second_request)).collect();
        streams.reserve(CONNECTIONS);
        let before = allocated();
        streams.extend((0..CONNECTIONS).map(|_| open(address, is_second_request)));
        (allocated().saturating_sub(before) / CONNECTIONS, streams)
    })
    .await
    .unwrap();
    node.stop().await;
    per_connection
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_costs_at_most_a_kibibyte_and_a_half_also_as_a_second_request() {
    for is_second_request in [false, true] {
        let bytes = cost_of_streams(is_second_request).await;
        println!("heap per idle event stream, second request {is_second_request}: {bytes} bytes");
        assert!(bytes > 0, "nothing was counted");
        assert!(bytes <= BYTES_MAX, "{bytes} bytes, second request: {is_second_request}");
    }
}
