//! A whole delivery: a broker under valgrind, real sockets outside of it.
//!
//! One message is published and received by everyone before the next, so that nothing is joined and the counts are
//! those of the dearest case. What a subscriber costs is the difference between many and one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::node::Node;

use crate::counts::Counts;
use crate::counts::valgrind::{Part, Threads, Tool};

pub(crate) const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const FEW: usize = 1;
const MANY: usize = 65;
/// The function in which a shard does a slice of its work: the walk, with the bytes, the writing and the booking.
const WALK: &str = "State>::turn";
/// What tells a client's story, and what writes the log: a publish that is accepted has nothing to do with either.
const JOURNAL: &str = "/src/journal/";
const LOG: &str = "/tracing-";
/// What counts. The additions themselves are lines of the standard library's.
const METRICS: &str = "/src/metrics/";
const SHORT: u64 = 100;
const LONG: u64 = 500;
/// Runs of which the cheapest counts.
pub(crate) const RUNS: usize = 3;
/// What every payload ends with.
const END: u8 = b'~';
/// A program under valgrind is slow, and a loaded machine makes it slower.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node with one shard that is left alone.
pub(crate) async fn start_node(grpc: Option<SocketAddr>) -> anyhow::Result<Node> {
    let mut config = Config { shards: 1, ..Config::default() };
    config.namespaces.insert(namespace::DEFAULT, namespace::Config::default().open());
    (config.http.listen, config.grpc.listen, config.admin.listen) = (LOCAL, grpc, LOCAL);
    // Nothing may happen by the clock.
    config.admin.probe_interval = Duration::from_secs(3600);
    Ok(Node::start(config).await?)
}

/// The broker's side: tells its addresses and serves until its standard input ends.
pub(crate) fn node() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let node = start_node(None).await?;
        println!("{} {}", node.addresses().http, node.addresses().admin);
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        ended.await??;
        anyhow::Ok(())
    })
}

/// What a broker's process cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    all: f64,
    walk: f64,
    journal: f64,
    log: f64,
    metrics: f64,
}

impl Cost {
    /// Each of them by itself, from both.
    fn with(self, other: Self, what: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            all: what(self.all, other.all),
            walk: what(self.walk, other.walk),
            journal: what(self.journal, other.journal),
            log: what(self.log, other.log),
            metrics: what(self.metrics, other.metrics),
        }
    }
}

/// Counts what a delivery costs and what a publish over HTTP costs.
pub(crate) fn count() -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for tool in Tool::ALL {
        let each = |subscribers: usize| {
            let (long, short) = (least(tool, subscribers, LONG)?, least(tool, subscribers, SHORT)?);
            if tool == Tool::Callgrind {
                // Who began to listen is told in both, so a count of nothing would only mean that no line was found.
                ensure!(short.walk > 0.0, "callgrind knows no {WALK}");
                ensure!(short.journal > 0.0, "callgrind knows no lines of {JOURNAL}");
                ensure!(short.log > 0.0, "callgrind knows no lines of {LOG}");
                ensure!(short.metrics > 0.0, "callgrind knows no lines of {METRICS}");
            }
            anyhow::Ok(long.with(short, |long, short| (long - short) / (LONG - SHORT) as f64))
        };
        let (few, many) = (each(FEW)?, each(MANY)?);
        let more = (MANY - FEW) as f64;
        let delivery = (many.all - few.all) / more;
        if tool == Tool::Callgrind {
            for (name, count) in [
                ("walk", (many.walk - few.walk) / more),
                ("http_publish_journal", few.journal),
                ("http_publish_log", few.log),
                ("http_publish_metrics", few.metrics),
            ] {
                println!("{name}: {count:.2} {}", tool.counts());
                counts.insert(format!("{name}.{}", tool.counts()), count);
            }
        }
        println!("delivery: {delivery:.2} {}", tool.counts());
        counts.insert(format!("delivery.{}", tool.counts()), delivery);
        let publish = few.all - delivery * FEW as f64;
        println!("http_publish: {publish:.2} {}", tool.counts());
        counts.insert(format!("http_publish.{}", tool.counts()), publish);
    }
    let writes = writes_each()?;
    println!("delivery: {writes:.2} writes");
    counts.insert("delivery.writes".to_owned(), writes);
    Ok(counts)
}

/// The least that the broker's process cost: waking up once more than needed, as threads do on a busy machine, only ever adds.
fn least(tool: Tool, subscribers: usize, messages: u64) -> anyhow::Result<Cost> {
    let first = total(tool, subscribers, messages)?;
    (1..RUNS).try_fold(first, |least, _| Ok(least.with(total(tool, subscribers, messages)?, f64::min)))
}

/// What the broker's process cost.
fn total(tool: Tool, subscribers: usize, messages: u64) -> anyhow::Result<Cost> {
    let mut run = tool.spawn(&["node"])?;
    let delivered = deliver(&mut run.child, subscribers, messages, |_| Ok(0.0));
    // Its standard input ends here, and with it the broker.
    drop(run.child.stdin.take());
    let total =
        run.total_and_parts(Threads::ButTheFirst, [Part::Within(WALK), Part::Lines(JOURNAL), Part::Lines(LOG), Part::Lines(METRICS)]);
    let (all, [walk, journal, log, metrics]) = delivered.and(total)?;
    Ok(Cost { all, walk, journal, log, metrics })
}

/// Write calls of the broker for each delivery, by its own count. Not under valgrind: asking for process figures, as
/// `/metrics` does, reads the system's vector of facts in a way valgrind does not survive.
fn writes_each() -> anyhow::Result<f64> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let mut child = command.args(["counts", "node"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let delivered = deliver(&mut child, MANY, SHORT, writes);
    drop(child.stdin.take());
    child.wait()?;
    Ok(delivered? / (MANY as f64 * SHORT as f64))
}

/// Lets messages flow; returns how much the admin listener's count has grown.
fn deliver(child: &mut Child, subscribers: usize, messages: u64, count: impl Fn(&str) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let addresses = lines.next().context("the broker did not start")??;
    let (http, admin) = addresses.split_once(' ').context("no addresses")?;
    let mut crowd = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let mut stream = connect(http)?;
        stream.write_all(b"GET /sse?channel=prices HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        // The first thing after the head is the time to wait before coming back, the second where one stands.
        read_until(&mut stream, b"\nid: ")?;
        crowd.push(stream);
    }
    let mut publisher = connect(http)?;
    let before = count(admin)?;
    for number in 0..messages {
        let payload = format!("{number:0127}{}", char::from(END));
        let head =
            "POST /v1/channels/prices/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\r\n";
        publisher.write_all(format!("{head}{payload}").as_bytes())?;
        read_until(&mut publisher, b"\"duplicate\":false}")?;
        for stream in &mut crowd {
            read_until(stream, &[END])?;
        }
    }
    Ok(count(admin)? - before)
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn read_until(stream: &mut TcpStream, what: &[u8]) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while memchr::memmem::find(&seen, what).is_none() {
        let count = stream.read(&mut chunk)?;
        ensure!(count > 0, "the broker closed a connection after {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..count]);
    }
    Ok(())
}

fn writes(admin: &str) -> anyhow::Result<f64> {
    let mut stream = connect(admin)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find(|line| line.starts_with("tidings_socket_writes_made_total")).context("no count of writes")?;
    Ok(line.split_whitespace().last().unwrap_or_default().parse()?)
}
