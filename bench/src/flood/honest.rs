//! Honest clients: one publishes at a steady rate, many listen, and now and then somebody new comes. What they notice is measured
//! from when it was due.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, WebSocketStream};

use crate::flood::broker::{KEY, soon};

/// Half of them over an event stream, half over a WebSocket.
pub(crate) const SUBSCRIBERS: usize = 20;
/// Messages a second.
pub(crate) const RATE: u64 = 200;
/// Somebody new comes this often, on average: 200 a second, of which a slice holds enough for a slowest hundredth.
const VISITS: Duration = Duration::from_millis(5);
/// Visits under way at most. Whoever would be one more is counted as turned away; with the subscribers they stay below what one address may have.
const VISITORS_MAX: usize = 64;
/// A visit that takes longer was turned away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest time that is told apart, in microseconds.
const LATENCY_MAX: u64 = 60_000_000;

/// What was noticed in one slice of time.
#[derive(Clone, Debug)]
pub(crate) struct Noticed {
    /// From due to read, in microseconds, over all subscribers.
    pub(crate) messages: Histogram<u64>,
    /// From the first packet to the last byte of an answer.
    pub(crate) visits: Histogram<u64>,
}

impl Noticed {
    pub(crate) fn nothing() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_MAX, 3);
        Ok(Self { messages: histogram()?, visits: histogram()? })
    }
}

struct Shared {
    began: Instant,
    /// Where what is noticed now belongs. Whoever notices something holds it until that is booked.
    slice: Mutex<Option<Arc<Mutex<Noticed>>>>,
    /// Number of the newest message that was published.
    newest: AtomicU64,
    refused: AtomicU64,
}

impl Shared {
    fn micros(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    fn slice(&self) -> Option<Arc<Mutex<Noticed>>> {
        self.slice.lock().ok().and_then(|slice| slice.clone())
    }

    fn heard(&self, due: u64) {
        if let Some(slice) = self.slice()
            && let Ok(mut noticed) = slice.lock()
        {
            noticed.messages.saturating_record(self.micros().saturating_sub(due).max(1));
        }
    }
}

/// All of them.
pub(crate) struct Honest {
    shared: Arc<Shared>,
    subscribers: Vec<JoinHandle<anyhow::Result<u64>>>,
    publisher: JoinHandle<anyhow::Result<()>>,
    visitor: JoinHandle<()>,
    stop: CancellationToken,
}

impl Honest {
    /// Connects everybody and begins to publish.
    pub(crate) async fn start(http: SocketAddr) -> anyhow::Result<Self> {
        let shared =
            Arc::new(Shared { began: Instant::now(), slice: Mutex::new(None), newest: AtomicU64::new(0), refused: AtomicU64::new(0) });
        let mut subscribers = Vec::new();
        for number in 0..SUBSCRIBERS {
            let shared = shared.clone();
            subscribers.push(if number % 2 == 0 {
                let stream = soon("an event stream", event_stream(http)).await??;
                tokio::spawn(listen_to_events(stream, shared))
            } else {
                let socket = soon("a WebSocket", web_socket(http)).await??;
                tokio::spawn(listen_to_socket(socket, shared))
            });
        }
        let stop = CancellationToken::new();
        let publisher = tokio::spawn(publish(TcpStream::connect(http).await?, shared.clone(), stop.clone()));
        let visitor = tokio::spawn(visits(http, shared.clone(), stop.clone()));
        Ok(Self { shared, subscribers, publisher, visitor, stop })
    }

    /// Lets them go on for so long, and tells what they noticed. A visit belongs to the time when it was due, so that a slow one is waited for
    /// and not left out.
    pub(crate) async fn measure(&self, long: Duration) -> anyhow::Result<Noticed> {
        let slice = Arc::new(Mutex::new(Noticed::nothing()?));
        let exchange = |to| self.shared.slice.lock().map(|mut now| *now = to).map_err(|_| anyhow::anyhow!("a subscriber panicked"));
        exchange(Some(slice.clone()))?;
        sleep(long).await;
        exchange(None)?;
        while Arc::strong_count(&slice) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
        let noticed = slice.lock().map_err(|_| anyhow::anyhow!("a subscriber panicked"))?.clone();
        ensure!(!noticed.messages.is_empty() && !noticed.visits.is_empty(), "nobody heard anything");
        Ok(noticed)
    }

    /// How many honest clients came and were not served since this was asked last.
    pub(crate) fn turned_away(&self) -> u64 {
        self.shared.refused.swap(0, Ordering::Relaxed)
    }

    /// Publishes no more, waits until everyone has everything, and says who has not.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<String>> {
        self.stop.cancel();
        self.publisher.await?.context("the honest publisher")?;
        self.visitor.await?;
        let newest = self.shared.newest.load(Ordering::Relaxed);
        let mut faults = Vec::new();
        for (number, subscriber) in self.subscribers.into_iter().enumerate() {
            match timeout(PATIENCE, subscriber).await {
                Ok(heard) => match heard? {
                    Ok(last) if last == newest => {}
                    Ok(last) => faults.push(format!("subscriber {number} ended with message {last} of {newest}")),
                    Err(why) => faults.push(format!("subscriber {number}: {why:#}")),
                },
                Err(_) => faults.push(format!("subscriber {number} waits for message {newest}")),
            }
        }
        Ok(faults)
    }
}

/// Every number once and in order; the last one ends it.
struct Order {
    next: u64,
}

impl Order {
    /// `true` when this was the last.
    fn take(&mut self, text: &str, shared: &Shared) -> anyhow::Result<bool> {
        let mut words = text.split(' ');
        let mut word = || words.next().and_then(|word| word.parse::<u64>().ok()).with_context(|| format!("a message of nobody: {text}"));
        let (number, due, is_last) = (word()?, word()?, word()? == 1);
        ensure!(number == self.next, "message {number} came where {} was due", self.next);
        self.next += 1;
        shared.heard(due);
        Ok(is_last)
    }
}

async fn event_stream(http: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(http).await?;
    stream.set_nodelay(true)?;
    stream.write_all(b"GET /sse?channel=calm:news HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // The first id says that it listens.
    while !line.starts_with("id: ") {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "an honest subscriber was refused");
    }
    Ok(stream)
}

async fn listen_to_events(stream: BufReader<TcpStream>, shared: Arc<Shared>) -> anyhow::Result<u64> {
    let (mut lines, mut order) = (stream.lines(), Order { next: 1 });
    while let Some(line) = lines.next_line().await? {
        ensure!(!line.starts_with("event: tidings:"), "{line} {:?}", lines.next_line().await?);
        if let Some(text) = line.strip_prefix("data: ")
            && order.take(text, &shared)?
        {
            break;
        }
    }
    Ok(order.next - 1)
}

type Socket = WebSocketStream<TcpStream>;

async fn web_socket(http: SocketAddr) -> anyhow::Result<Socket> {
    let uri = format!("ws://{http}/ws?channel=calm:news").parse()?;
    let stream = TcpStream::connect(http).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = ClientBuilder::from_uri(uri).connect_on(stream).await?;
    let first = socket.next().await.context("an honest subscriber was refused")??;
    let text = first.as_text().unwrap_or_default();
    ensure!(text.contains("\"subscribed\""), "an honest subscriber hears {text}");
    Ok(socket)
}

async fn listen_to_socket(mut socket: Socket, shared: Arc<Shared>) -> anyhow::Result<u64> {
    let mut order = Order { next: 1 };
    while let Some(message) = socket.next().await {
        let message = message?;
        let Some(text) = message.as_text() else { continue };
        let told: serde_json::Value = serde_json::from_str(text)?;
        if told.get("heartbeat").is_some() {
            continue;
        }
        let data = told["message"]["data"].as_str().with_context(|| format!("an honest subscriber hears {text}"))?;
        if order.take(data, &shared)? {
            break;
        }
    }
    Ok(order.next - 1)
}

/// One message every so often, whether the broker keeps up or not; the last one says so.
async fn publish(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let answers = tokio::spawn(async move {
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.map(|_| heard)
    });
    let mut beats = interval(Duration::from_micros(1_000_000 / RATE));
    beats.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0;
    loop {
        let due = beats.tick().await;
        number += 1;
        let is_last = stop.is_cancelled();
        let text = format!("{number} {} {}", due.duration_since(shared.began).as_micros(), u8::from(is_last));
        let connection = if is_last { "close" } else { "keep-alive" };
        let head = format!(
            "POST /v1/channels/calm:news/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: text/plain\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        shared.newest.store(number, Ordering::Relaxed);
        writer.write_all(head.as_bytes()).await?;
        if is_last {
            break;
        }
    }
    let heard = soon("the last answer", answers).await???;
    let fine = heard.windows(12).filter(|at| at == b"HTTP/1.1 200").count() as u64;
    ensure!(
        fine == number,
        "{fine} of {number} publishes were taken: {}",
        String::from_utf8_lossy(&heard[heard.len().saturating_sub(500)..])
    );
    Ok(())
}

/// Somebody new, again and again, whether those before were served or not.
async fn visits(http: SocketAddr, shared: Arc<Shared>, stop: CancellationToken) {
    let mut visitors = JoinSet::new();
    let mut due = Instant::now();
    while !stop.is_cancelled() {
        // Not in step with anything that a flood does.
        due += VISITS.mul_f64(rand::random_range(0.5..1.5));
        sleep_until(due).await;
        while visitors.try_join_next().is_some() {}
        if visitors.len() >= VISITORS_MAX {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        visitors.spawn(visit(http, shared.clone(), shared.slice()));
    }
    while visitors.join_next().await.is_some() {}
}

/// Connects, asks, reads, goes.
async fn visit(http: SocketAddr, shared: Arc<Shared>, slice: Option<Arc<Mutex<Noticed>>>) {
    let began = Instant::now();
    let one = async {
        let mut stream = TcpStream::connect(http).await?;
        stream.write_all(b"GET /poll?channel=calm:news HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    match timeout(PATIENCE, one).await {
        Ok(Ok(true)) => {
            if let Some(slice) = slice
                && let Ok(mut noticed) = slice.lock()
            {
                noticed.visits.saturating_record((began.elapsed().as_micros() as u64).max(1));
            }
        }
        _ => drop(shared.refused.fetch_add(1, Ordering::Relaxed)),
    }
}
