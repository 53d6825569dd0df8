//! What an idle stream costs on the heap, counted by the allocator of the whole process. A binary of its own: another
//! test beside it would be counted too.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its scene shall stop there")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tidings::auth::{self, Revocations};
use tidings::clock::Clock;
use tidings::config::Config;
use tidings::control::Register;
use tidings::hub::{Bounds, CommitRule, Hub, RuleBook, namespace};
use tidings::journal::SessionId;
use tidings::log::{Epoch, Tag};
use tidings::message::ChannelName;
use tidings::metrics::Metrics;
use tidings::node::Node;
use tidings::presence;
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Enough that what is not per connection does not show.
const CONNECTIONS: usize = 2000;
/// What a connection may cost.
const BYTES_MAX: usize = 1536;
/// And what it may cost over TLS, keys and all.
const BYTES_MAX_OVER_TLS: usize = 8 << 10;

/// What a member of a channel may cost: at its node, at the channel's home, and as long as its connection stands.
const BYTES_MAX_OF_A_MEMBER: usize = 700;
const MEMBERS: usize = 20_000;

/// What it may cost that orders find a stay by its user and its token, their names included: about 445. The parts of its tables double one by one,
/// at a number that their seeds decide.
const BYTES_MAX_OF_AN_ENTRY: usize = 480;

/// One test at a time: each counts what the whole process holds.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Bytes that the program holds, as of now.
fn allocated() -> usize {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap()
}

/// Reads until the text has come; returns nothing more than that.
fn expect(stream: &mut impl Read, text: &str) {
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

/// Whom a client trusts; none for a bare connection.
type Trust = Option<Arc<ClientConfig>>;

fn open(address: SocketAddr, kind: Kind, trust: &Trust) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match trust {
        None => begin(&mut socket, kind),
        Some(config) => {
            let mut session = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
            begin(&mut rustls::Stream::new(&mut session, &mut socket), kind);
            // What the client keeps of it would be counted too; the broker's side stands without.
        }
    }
    socket
}

fn begin(stream: &mut (impl Read + Write), kind: Kind) {
    if matches!(kind, Kind::SecondRequest) {
        stream.write_all(b"GET /poll?channel=idle HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        expect(stream, "\"}\n");
    }
    if matches!(kind, Kind::WebSocket) {
        let handshake = "GET /ws?channel=idle HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        stream.write_all(handshake.as_bytes()).unwrap();
        expect(stream, "\"recovered\":false}}");
        // It has been heard too: what a request needed is gone again.
        stream.write_all(b"\x81\x8b\0\0\0\0{\"ping\":{}}").unwrap();
        expect(stream, "{\"pong\":{}}");
        return;
    }
    stream.write_all(b"GET /sse?channel=idle HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    // Head, greeting, and the first cursor: then the stream stands.
    expect(stream, "\r\n\r\n");
    expect(stream, "id: ");
    expect(stream, "\n\n");
}

/// Gives the public listener a certificate, and whom it is to be trusted by.
fn secure(config: &mut Config, files: &Path) -> ClientConfig {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, kind: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        std::fs::write(files.join(name), format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")).unwrap();
        Some(files.join(name))
    };
    config.http.tls.certificate = write("certificate", "CERTIFICATE", pair.cert.der());
    config.http.tls.key = write("key", "PRIVATE KEY", &pair.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// What is allocated when nothing is given back any more: a busy machine is late with what a handshake took for itself.
fn at_rest() -> usize {
    let mut least = allocated();
    let mut since = tokio::time::Instant::now();
    while since.elapsed() < std::time::Duration::from_millis(300) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let now = allocated();
        if now < least {
            (least, since) = (now, tokio::time::Instant::now());
        }
    }
    least
}

async fn cost_of_streams(kind: Kind, over_tls: bool) -> usize {
    let files = tempfile::tempdir().unwrap();
    let mut config = Config { dev: true, shards: 2, ..Config::default() };
    for address in [&mut config.http.listen, &mut config.admin.listen] {
        address.set_port(0);
    }
    config.grpc.listen = None;
    let trust: Trust = over_tls.then(|| Arc::new(secure(&mut config, files.path())));
    let node = Node::start(config).await.unwrap();
    let address = node.addresses().http;
    let (per_connection, _streams) = tokio::task::spawn_blocking(move || {
        // The first ones make what all share.
        let mut streams: Vec<TcpStream> = (0..50).map(|_| open(address, kind, &trust)).collect();
        streams.reserve(CONNECTIONS);
        let before = at_rest();
        streams.extend((0..CONNECTIONS).map(|_| open(address, kind, &trust)));
        (at_rest().saturating_sub(before) / CONNECTIONS, streams)
    })
    .await
    .unwrap();
    node.stop().await;
    per_connection
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_costs_at_most_a_kibibyte_and_a_half_of_whatever_kind_and_little_more_over_tls() {
    let _alone = ALONE.lock().await;
    for (over_tls, bytes_max) in [(false, BYTES_MAX), (true, BYTES_MAX_OVER_TLS)] {
        for kind in [Kind::EventStream, Kind::SecondRequest, Kind::WebSocket] {
            let bytes = cost_of_streams(kind, over_tls).await;
            println!("heap per idle stream, {kind:?}{}: {bytes} bytes", if over_tls { " over TLS" } else { "" });
            assert!(bytes > 0, "nothing was counted");
            assert!(bytes <= bytes_max, "{bytes} bytes, {kind:?}, over TLS: {over_tls}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stay_that_orders_find_costs_some_hundred_bytes_and_nothing_when_it_has_gone() {
    let _alone = ALONE.lock().await;
    let register = Register::new(Revocations::new(&auth::token::config::Config::default()), Clock::start());
    let before = allocated();
    let mut stays = Vec::with_capacity(MEMBERS);
    for number in 0..MEMBERS {
        let (user, id) = (Some(format!("user-{number:08}").into()), Some(format!("token-{number:08}").into()));
        let identity = auth::Identity { user, id, issued: Some(1_800_000_000) };
        stays.push(Box::new(register.enter(SessionId::fresh(number as u128), identity)));
    }
    let bytes = (allocated() - before) / MEMBERS;
    println!("heap per stay in the register: {bytes} bytes");
    assert!(bytes > 100 && bytes <= BYTES_MAX_OF_AN_ENTRY, "{bytes} bytes a stay");
    drop(stays);
    assert_eq!(register.count(), 0);
}

/// A hub by itself whose namespace `room` has presence.
fn hub() -> Arc<Hub> {
    let mut namespaces = namespace::Namespaces::default();
    namespaces.insert("room", namespace::Config { presence: true, ..namespace::Config::default() });
    let bounds = Bounds { channels: 100, channels_silent: 100, history_bytes: 1 << 20, dedupe_ids: 100 };
    let (first, clock) = (Epoch::new(1, Tag::new(1).unwrap()), Clock::start());
    Arc::new(Hub::new(RuleBook::new(&namespaces), Vec::new(), bounds, first, CommitRule::AtOnce, clock, Metrics::new(1, clock)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_channel_costs_some_hundred_bytes_and_nothing_when_it_has_gone() {
    let _alone = ALONE.lock().await;
    let hub = hub();
    hub.set_presence(&presence::config::Config { grace: Duration::ZERO, ..Default::default() });
    let channel = ChannelName::parse("room:1").unwrap();
    let info: Arc<str> = r#"{"name":"Somebody","colour":"green"}"#.into();
    let pass = || {
        hub.tick_presence();
        std::thread::sleep(presence::TICK);
    };
    pass();
    let before = allocated();
    let mut members = Vec::with_capacity(MEMBERS);
    for number in 0..MEMBERS {
        let id = presence::MemberId::User(format!("user-{number:08}").into());
        let member = presence::Member { id, info: Some(info.clone()) };
        members.push(hub.enter(&channel, &member).unwrap().unwrap());
    }
    pass();
    let bytes = (allocated() - before) / MEMBERS;
    let shown = hub.presence_totals();
    println!("heap per member: {bytes} bytes; the room itself counts {}", shown.bytes / shown.members);
    assert_eq!(shown.members, MEMBERS as u64);
    assert!(bytes > 100 && bytes <= BYTES_MAX_OF_A_MEMBER, "{bytes} bytes a member");
    drop(members);
    (0..8).for_each(|_| pass());
    assert_eq!((hub.presence_totals().members, hub.presence_totals().connected), (0, 0));
    let left = allocated().saturating_sub(before) / MEMBERS;
    assert!(left < 10, "{left} bytes a member stayed");
}
