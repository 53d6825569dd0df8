//! The floods. Each comes from a few addresses that are not the honest clients', on a thread of its own, at a rate that is far above
//! what the broker's limits let through.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Message};

use crate::flood::broker::soon;

/// Addresses that floods come from. Four of a hundred connections each leave room for honest ones.
const ADDRESSES: u32 = 4;
/// Between two handfuls.
const BEAT: Duration = Duration::from_millis(5);
/// Longest wait for whatever a flooder waits for.
const PATIENCE: Duration = Duration::from_secs(2);
/// What every HTTP/2 connection begins with (RFC 9113, section 3.4), and an empty SETTINGS frame.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// ES256, signed by nobody: 64 bytes that are numbers of the curve, so that all the arithmetic is done.
const BAD_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4IiwiZXhwIjo0MTAyNDQ0ODAwfQ.\
    AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ";

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// Whether slow writers write all in the same moment.
    pub(crate) in_step: bool,
}

/// One kind of attack.
#[derive(Clone, Copy)]
pub(crate) struct Flood {
    pub(crate) name: &'static str,
    run: fn(Target, Done) -> BoxFuture<'static, anyhow::Result<()>>,
}

/// How much was done, in the flood's own unit.
type Done = Arc<AtomicU64>;

pub(crate) const FLOODS: [Flood; 10] = [
    Flood { name: "connections", run: |to, done| Box::pin(connections(to.http, b"GET /sse?chan", 1500, done)) },
    Flood { name: "streams", run: |to, done| Box::pin(streams(to.http, done)) },
    Flood { name: "slow-readers", run: |to, done| Box::pin(slow_readers(to.http, done)) },
    Flood { name: "slow-writers", run: |to, done| Box::pin(slow_writers(to, done)) },
    Flood { name: "subscribes", run: |to, done| Box::pin(subscribes(to.http, done)) },
    Flood { name: "bad-tokens", run: |to, done| Box::pin(bad_tokens(to.http, done)) },
    Flood { name: "histories", run: |to, done| Box::pin(histories(to.http, done)) },
    Flood { name: "publishes", run: |to, done| Box::pin(publishes(to.http, done)) },
    Flood { name: "http2-resets", run: |to, done| Box::pin(resets(to.http, done)) },
    Flood { name: "grpc-strangers", run: |to, done| Box::pin(connections(to.grpc, HTTP2, 500, done)) },
];

/// Begins a flood that goes on until `stop`.
pub(crate) fn begin(flood: Flood, target: Target, stop: CancellationToken, done: Done) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio::task::spawn_blocking(move || {
        let ended = runtime.block_on(stop.run_until_cancelled((flood.run)(target, done)));
        if let Some(Err(why)) = ended {
            // It is the broker's good right to end what a flooder needs; the table shows the rate.
            eprintln!("{}: {why:#}", flood.name);
        }
    }))
}

/// Publishes what `histories` asks for.
pub(crate) async fn prepare(to: Target) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to.http).await?;
    let body = "x".repeat(16 << 10);
    for _ in 0..400 {
        stream.write_all(post("/v1/channels/noise:big/messages", &body).as_bytes()).await?;
        let answer = soon("an answer", read_answer(&mut stream)).await??;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Many who come and ask for nothing: the beginning of a request, and silence.
async fn connections(to: SocketAddr, begin: &'static [u8], rate: u64, done: Done) -> anyhow::Result<()> {
    let mut held = VecDeque::new();
    let mut beats = beats();
    for number in 0.. {
        beats.each(rate).await;
        let Ok(mut stream) = connect(number, to).await else { continue };
        // Refused ones are counted too: they were tried.
        let _ = stream.write_all(begin).await;
        done.fetch_add(1, Ordering::Relaxed);
        held.push_back(stream);
        if held.len() > 1500 {
            held.pop_front();
        }
    }
    Ok(())
}

/// Many who come, listen, and go again at once.
async fn streams(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    let mut held = VecDeque::new();
    let mut beats = beats();
    for number in 0.. {
        beats.each(800).await;
        let Ok(mut stream) = connect(number, to).await else { continue };
        let _ = stream.write_all(format!("GET /sse?channel=noise:s{} HTTP/1.1\r\nHost: x\r\n\r\n", number % 5000).as_bytes()).await;
        done.fetch_add(1, Ordering::Relaxed);
        held.push_back(stream);
        if held.len() > 350 {
            held.pop_front();
        }
    }
    Ok(())
}

/// Many who listen and never read, and somebody who publishes much to them.
async fn slow_readers(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = connect(number, to).await?;
        stream.write_all(b"GET /sse?channel=noise:firehose HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        held.push(stream);
    }
    let mut publisher = connect(1, to).await?;
    let request = post("/v1/channels/noise:firehose/messages", &"x".repeat(64 << 10));
    let mut beats = beats();
    loop {
        beats.each(40).await;
        publisher.write_all(request.as_bytes()).await?;
        read_answer(&mut publisher).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Many who begin a large request and never end it: bodies over HTTP, messages over WebSocket.
async fn slow_writers(Target { http: to, in_step, .. }: Target, done: Done) -> anyhow::Result<()> {
    const WRITERS: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(100);
    static PIECE: [u8; 32 << 10] = [b' '; 32 << 10];
    let mut writers = JoinSet::new();
    let began = tokio::time::Instant::now();
    for number in 0..WRITERS {
        let done = done.clone();
        writers.spawn(async move {
            // Each in its own moment: all in one would be a burst of 6.4 MB, and the rest of the time nothing.
            let turn = if in_step { Duration::ZERO } else { PAUSE * number / WRITERS };
            let mut beats = interval_at(began + turn, PAUSE);
            loop {
                // One that was refused comes again.
                let Ok(mut stream) = connect(number, to).await else { continue };
                let (head, pieces) = if number % 4 == 0 {
                    (
                        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        3,
                    )
                } else {
                    ("POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", 30)
                };
                if stream.write_all(head.as_bytes()).await.is_err() {
                    continue;
                }
                if number % 4 == 0 {
                    let mut answer = [0; 1024];
                    let _ = timeout(PATIENCE, stream.read(&mut answer)).await;
                    // A text frame of 128,000 bytes, masked with zeroes.
                    let _ = stream.write_all(b"\x81\xff\0\0\0\0\0\x01\xf4\0\0\0\0\0").await;
                }
                for _ in 0..pieces {
                    beats.tick().await;
                    if stream.write_all(&PIECE).await.is_err() {
                        break;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                // And then nothing more, until the broker has enough of it.
                let mut heard = [0; 1024];
                while stream.read(&mut heard).await.is_ok_and(|count| count > 0) {}
            }
        });
    }
    writers.join_all().await;
    Ok(())
}

/// Many who subscribe to ever new channels, and leave them.
async fn subscribes(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    let mut sockets = Vec::new();
    for number in 0..16u32 {
        let stream = connect(number, to).await?;
        let uri = format!("ws://{to}/ws").parse()?;
        let (socket, _) = ClientBuilder::from_uri(uri).connect_on(stream).await?;
        let (writer, mut reader) = socket.split();
        sockets.push(writer);
        tokio::spawn(async move { while reader.next().await.is_some() {} });
    }
    let mut beats = beats();
    for number in 0.. {
        beats.each(3000).await;
        let at = number as usize % sockets.len();
        let name = number / 32;
        let what = if number / 16 % 2 == 0 { "subscribe" } else { "unsubscribe" };
        sockets[at].send(Message::text(format!("{{\"{what}\":{{\"channel\":\"noise:c{at}-{name}\"}}}}"))).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Many tokens that nobody signed, each of which has to be looked at.
async fn bad_tokens(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    let request = format!("GET /poll?channel=noise:a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {BAD_TOKEN}\r\n\r\n");
    each_at(1500, 8, to, request, b"HTTP/1.1 401", done).await
}

/// Many pages of a long history, of which some are read and most are not.
async fn histories(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    const PAGE: &str = "GET /v1/channels/noise:big/messages?limit=400 HTTP/1.1\r\nHost: x\r\n\r\n";
    let unread = tokio::spawn(async move {
        let mut held = VecDeque::new();
        let mut beats = beats();
        for number in 0u32.. {
            beats.each(20).await;
            if let Ok(mut stream) = connect(number, to).await {
                let _ = stream.write_all(PAGE.repeat(4).as_bytes()).await;
                held.push_back(stream);
            }
            if held.len() > 60 {
                held.pop_front();
            }
        }
    });
    let read = each_at(15, 4, to, PAGE.to_owned(), b"HTTP/1.1 200", done).await;
    unread.abort();
    read
}

/// Many small messages that anybody may publish.
async fn publishes(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    each_at(1500, 8, to, post("/v1/channels/noise:small/messages", &"x".repeat(100)), b"HTTP/1.1 200", done).await
}

/// Streams of HTTP/2 that are reset as soon as they begin.
async fn resets(to: SocketAddr, done: Done) -> anyhow::Result<()> {
    // GET http /sse?channel=noise:r of x, in HPACK: by index, and as literals that are not kept.
    let mut block = vec![0x82, 0x86, 0x04, 20];
    block.extend_from_slice(b"/sse?channel=noise:r");
    block.extend_from_slice(b"\x01\x01x");
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let mut beats = beats();
    for number in 0.. {
        let Ok(stream) = connect(number, to).await else { continue };
        let (mut reader, mut writer) = stream.into_split();
        let ended = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        if writer.write_all(HTTP2).await.is_err() {
            continue;
        }
        for id in (1..40_000u32).step_by(2) {
            beats.each(3000).await;
            let both = [frame(1, 5, id, &block), frame(3, 0, id, &8u32.to_be_bytes())].concat();
            if writer.write_all(&both).await.is_err() || ended.is_finished() {
                break;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Asks at this rate over so many connections, one after the other on each, and reads what is answered.
async fn each_at(rate: u64, count: u32, to: SocketAddr, request: String, expected: &'static [u8], done: Done) -> anyhow::Result<()> {
    let mut askers = JoinSet::new();
    for number in 0..count {
        askers.spawn(ask_for_ever(connect(number, to).await?, rate / u64::from(count), request.clone(), expected, done.clone()));
    }
    askers.join_next().await.context("nobody asks")??
}

async fn ask_for_ever(mut stream: TcpStream, rate: u64, request: String, expected: &'static [u8], done: Done) -> anyhow::Result<()> {
    let mut beats = beats();
    loop {
        beats.each(rate).await;
        stream.write_all(request.as_bytes()).await?;
        let answer = timeout(PATIENCE, read_answer(&mut stream)).await.context("no answer")??;
        ensure!(answer.starts_with(expected), "{:.200}", String::from_utf8_lossy(&answer));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection from one of the flooders' addresses.
async fn connect(number: u32, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + number % ADDRESSES), 0).into())?;
    // What nobody reads fills the broker's side, not ours.
    socket.set_recv_buffer_size(16 << 10)?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The head of an answer; its body is read and thrown away.
async fn read_answer(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break end + 4;
        }
        ensure!(stream.read_buf(&mut read).await? > 0, "closed instead of an answer");
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok()).unwrap_or(0);
    let mut left = (end + length).saturating_sub(read.len());
    read.truncate(end);
    let mut scratch = vec![0; 64 << 10];
    while left > 0 {
        let room = left.min(scratch.len());
        let count = stream.read(&mut scratch[..room]).await?;
        ensure!(count > 0, "closed in an answer");
        left -= count;
    }
    Ok(read)
}

/// Lets so many through a second, in handfuls.
struct Beats {
    ticks: tokio::time::Interval,
    left: u64,
    owed: f64,
}

fn beats() -> Beats {
    let mut ticks = interval(BEAT);
    // Who was held up does not catch up: that would be another rate.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    Beats { ticks, left: 0, owed: 0.0 }
}

impl Beats {
    async fn each(&mut self, rate: u64) {
        while self.left == 0 {
            self.ticks.tick().await;
            self.owed += rate as f64 * BEAT.as_secs_f64();
            self.left = self.owed as u64;
            self.owed -= self.left as f64;
        }
        self.left -= 1;
    }
}
