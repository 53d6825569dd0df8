//! Many subscribers on one channel.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketType};

use crate::check::Stream;
use crate::process::{Cost, cost};
use crate::publish::{Plan, publish};

/// Connections per source address: few, because the kernel looks for free ports one by one.
const PER_ADDRESS: usize = 2_000;

/// What a crowd does.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The broker's public listener; must be on loopback.
    #[arg(long, default_value = "127.0.0.1:8000")]
    address: SocketAddr,
    /// Subscribers.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Messages.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Messages per second; 0: as fast as they are acknowledged.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Publishes on their way at one time.
    #[arg(long, default_value_t = 4)]
    outstanding: usize,
    /// The broker's process, to report what it cost.
    #[arg(long)]
    pid: Option<u32>,
    /// Make a plain request on each connection first, so that the stream is its second.
    #[arg(long)]
    second_request: bool,
    /// This many subscribers stop reading while the messages flow, and go on afterwards.
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// Give up when nothing comes for this many seconds.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

struct Subscriber {
    socket: TcpStream,
    stream: Stream,
}

/// Runs one crowd and prints what it saw.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.address.ip().is_loopback(), "the load stays on loopback");
    let channel = format!("bench{}", std::process::id());
    let before = options.pid.map(cost).transpose()?;
    let connecting = Instant::now();
    let mut crowd = connect(options, &channel)?;
    let connected = connecting.elapsed();
    wait_for(&mut crowd, options, None, |subscriber| subscriber.stream.is_open())?;
    let opened = connecting.elapsed();
    println!("connected {} in {connected:.2?}, all streams open after {opened:.2?}", crowd.len());
    // What a connection costs shows once everything transient is gone.
    std::thread::sleep(Duration::from_secs(2));
    let idle = options.pid.map(cost).transpose()?;
    if let (Some(before), Some(idle)) = (before, idle) {
        let per = |after: u64, before: u64| after.saturating_sub(before) / options.connections as u64;
        println!("memory per idle connection: PSS {} B, RSS {} B", per(idle.pss, before.pss), per(idle.rss, before.rss));
    }

    let began = Instant::now();
    let plan = Plan {
        address: options.address,
        channel,
        messages: options.messages,
        bytes: options.bytes,
        rate: options.rate,
        outstanding: options.outstanding,
    };
    let publisher = std::thread::spawn(move || publish(&plan, began));
    let mut latency = Histogram::<u64>::new_with_max(600_000_000, 3)?;
    let mut readers = crowd.split_off(options.stalled.min(crowd.len()));
    let mut stalled = crowd;
    let complete = |subscriber: &Subscriber| subscriber.stream.seen() >= options.messages;
    wait_for(&mut readers, options, Some((&mut latency, began)), complete)?;
    let took = began.elapsed();
    publisher.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    ensure!(readers.iter().all(|reader| reader.stream.gaps == 0), "a subscriber that kept reading was told of a gap");
    let spent = options.pid.map(cost).transpose()?;
    report(options, took, &latency, readers.len(), idle, spent);

    if !stalled.is_empty() {
        wait_for(&mut stalled, options, None, complete)?;
        let gapped = stalled.iter().filter(|subscriber| subscriber.stream.gaps > 0).count();
        println!("stalled subscribers: {} went on to the newest message, {gapped} of them over a declared gap", stalled.len());
    }
    Ok(())
}

fn report(options: &Options, took: Duration, latency: &Histogram<u64>, readers: usize, before: Option<Cost>, after: Option<Cost>) {
    let deliveries = readers as u64 * options.messages;
    println!("{deliveries} deliveries complete and in order in {took:.2?}: {:.0} per second", deliveries as f64 / took.as_secs_f64());
    let at = |quantile: f64| Duration::from_micros(latency.value_at_quantile(quantile));
    println!(
        "latency p50 {:.2?}  p99 {:.2?}  p99.9 {:.2?}  max {:.2?}",
        at(0.5),
        at(0.99),
        at(0.999),
        Duration::from_micros(latency.max())
    );
    if let (Some(before), Some(after)) = (before, after) {
        let micros = (after.cpu - before.cpu) * 1e6 / deliveries.max(1) as f64;
        println!("broker: {micros:.2} µs of processor per delivery, PSS grew by {} KiB", (after.pss as i64 - before.pss as i64) / 1024);
    }
}

fn connect(options: &Options, channel: &str) -> anyhow::Result<Vec<Subscriber>> {
    let mut crowd = Vec::with_capacity(options.connections);
    for number in 0..options.connections {
        let from = Ipv4Addr::new(127, 0, 0, 1 + (number / PER_ADDRESS) as u8);
        let mut socket = connect_from(IpAddr::V4(from), options.address).with_context(|| format!("connection {number}"))?;
        if options.second_request {
            socket.write_all(b"GET /poll?channel=none HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            let mut answer = [0; 2048];
            let count = socket.read(&mut answer)?;
            ensure!(answer[..count].starts_with(b"HTTP/1.1 200"), "the first request was refused");
        }
        socket.write_all(format!("GET /sse?channel={channel} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())?;
        socket.set_nonblocking(true)?;
        crowd.push(Subscriber { socket, stream: Stream::new() });
    }
    Ok(crowd)
}

fn connect_from(from: IpAddr, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// Reads all subscribers until each fulfils `done`.
fn wait_for(
    crowd: &mut [Subscriber],
    options: &Options,
    mut latency: Option<(&mut Histogram<u64>, Instant)>,
    done: impl Fn(&Subscriber) -> bool,
) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, subscriber) in crowd.iter().enumerate() {
        epoll::add(&poll, &subscriber.socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let mut left = crowd.iter().filter(|subscriber| !done(subscriber)).count();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 256 << 10];
    let patience = Duration::from_secs(options.patience);
    while left > 0 {
        events.clear();
        let timeout = rustix::event::Timespec::try_from(patience).context("patience")?;
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        if events.is_empty() {
            let least = crowd.iter().map(|subscriber| subscriber.stream.seen()).min().unwrap_or(0);
            bail!("NOT COMPLETE: {left} subscribers still wait after {patience:?} of silence; the slowest has {least} messages");
        }
        for event in &events {
            let number = event.data.u64() as usize;
            let Some(subscriber) = crowd.get_mut(number) else { continue };
            let was_done = done(subscriber);
            let count = match subscriber.socket.read(&mut buffer) {
                Ok(0) => bail!("NOT COMPLETE: the broker closed connection {number} after {} messages", subscriber.stream.seen()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).with_context(|| format!("connection {number}")),
            };
            let now = latency.as_ref().map(|(_, began)| began.elapsed().as_micros() as u64);
            let taken = subscriber.stream.take(&buffer[..count], |sent| {
                if let (Some((histogram, _)), Some(now)) = (&mut latency, now) {
                    histogram.saturating_record(now.saturating_sub(sent));
                }
            });
            if let Err(fault) = taken {
                bail!("connection {number}: {fault:?}");
            }
            if !was_done && done(subscriber) {
                left -= 1;
            }
        }
    }
    Ok(())
}
