//! The small backend program behind the monitor page: once a second it reads this machine's figures and the broker's own
//! and publishes them over gRPC, as any backend would. An alarm is a message of its own, so that nobody has to guess it.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;
use tidings_sdk::{Client, Message};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::alarm::{Crossing, Raised, Rule, Watch};
use super::machine::{self, Files, Machine};
use super::scrape::{self, Reading, Readings};
use super::{answer, ticker};

/// Where the figures go.
pub const CHANNEL: &str = "demo:machine";
/// The environment variable that holds the API key to publish with, where the broker asks for one. A command line is seen
/// by everybody on the machine, an environment is not.
pub const KEY_VARIABLE: &str = "DEMO_MONITOR_KEY";

const EVERY: Duration = Duration::from_secs(1);
/// A sample that is older than this is worth nothing; a fresh one follows.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Alarms that wait for a broker that is away.
const CROSSINGS_WAITING_MAX: usize = 32;

const RULES: [Rule; 2] = [
    Rule { name: "cpu", raise_percent: 90.0, clear_percent: 80.0, raise_after: 3, clear_after: 3 },
    Rule { name: "memory", raise_percent: 90.0, clear_percent: 85.0, raise_after: 3, clear_after: 3 },
];

/// Publishes the figures of this machine to [`CHANNEL`] until the process that started this one, `parent`, is gone.
///
/// `grpc` is the broker's gRPC address as the SDK takes it, `metrics_url` its `http://…/metrics`. A broker that is away is
/// waited for without end. Must be called inside a tokio runtime.
///
/// # Errors
/// When the address or the key can never work.
pub async fn run(grpc: &str, metrics_url: &str, parent: u32) -> anyhow::Result<()> {
    let mut client = Client::connect_lazy(grpc).context("the broker's gRPC address")?.with_patience(PATIENCE);
    if let Ok(key) = std::env::var(KEY_VARIABLE) {
        client = client.with_key(&key).context(KEY_VARIABLE)?;
    }
    tokio::select! {
        () = orphaned(parent) => Ok(()),
        () = publish_for_ever(&client, metrics_url) => Ok(()),
        () = ticker::publish_for_ever(&client) => Ok(()),
        () = answer::answer_for_ever(&client) => Ok(()),
    }
}

/// Returns when the parent is gone: a daemon that was killed must not leave a program behind. Its number is handed in, since
/// it may have been killed before this program could look.
async fn orphaned(parent: u32) {
    let is_there = || rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
    while is_there() {
        sleep(EVERY).await;
    }
}

async fn publish_for_ever(client: &Client, metrics_url: &str) {
    let mut monitor = Monitor::new();
    let mut waiting = VecDeque::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut pause = Duration::ZERO;
    loop {
        ticks.tick().await;
        let reading = scrape::fetch(metrics_url).await.ok().map(|text| Reading::parse(&text));
        let Some((sample, crossings)) = monitor.see(&read_files(), reading, unix_ms()) else { continue };
        waiting.extend(crossings);
        while waiting.len() > CROSSINGS_WAITING_MAX {
            waiting.pop_front();
        }
        match publish(client, &sample, &mut waiting).await {
            Ok(()) if pause.is_zero() => {}
            Ok(()) => {
                info!(event = "demo", "the demo's figures flow again");
                pause = Duration::ZERO;
            }
            Err(error) => {
                if pause.is_zero() {
                    warn!(event = "demo", "the demo's figures cannot be published: {error}");
                }
                pause = (pause * 2).clamp(EVERY, PAUSE_MAX);
                sleep(pause).await;
            }
        }
    }
}

/// Alarms first: the sample that follows already shows them as raised.
async fn publish(client: &Client, sample: &Sample<'_>, waiting: &mut VecDeque<Crossing>) -> anyhow::Result<()> {
    while let Some(crossing) = waiting.front() {
        // The id makes it one message, however often it has to be sent.
        let id = format!("alarm-{}-{}", crossing.rule, crossing.time);
        let message = Message::new(serde_json::to_vec(crossing)?).content_type("application/json").event("alarm").id(id);
        client.publish(CHANNEL, message).await?;
        waiting.pop_front();
    }
    client.publish(CHANNEL, Message::new(serde_json::to_vec(sample)?).content_type("application/json").event("sample")).await?;
    Ok(())
}

/// What the page is sent once a second.
#[derive(Debug, Serialize)]
struct Sample<'a> {
    /// Milliseconds since 1970.
    time: u64,
    host: &'a str,
    #[serde(flatten)]
    machine: machine::Figures,
    broker: Option<scrape::Figures>,
    alarms: Vec<Raised>,
}

struct Monitor {
    host: String,
    start: Instant,
    machine: Machine,
    readings: Readings,
    watches: [Watch; 2],
}

impl Monitor {
    fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { host, start: Instant::now(), machine: Machine::default(), readings: Readings::default(), watches: RULES.map(Watch::new) }
    }

    fn see(&mut self, files: &Files, reading: Option<Reading>, time: u64) -> Option<(Sample<'_>, Vec<Crossing>)> {
        let now = self.start.elapsed();
        let broker = reading.and_then(|reading| self.readings.see(reading, now));
        let machine = self.machine.see(files, now)?;
        let values = [machine.cpu_percent, machine.memory_percent()];
        let crossings = self.watches.iter_mut().zip(values).filter_map(|(watch, value)| watch.see(value, time)).collect();
        let alarms = self.watches.iter().filter_map(Watch::raised).collect();
        Some((Sample { time, host: &self.host, machine, broker, alarms }, crossings))
    }
}

/// Reads the files on this thread: the kernel makes them up on the spot, no disk is waited for.
fn read_files() -> Files {
    let read = |path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Files { stat: read("/proc/stat"), meminfo: read("/proc/meminfo"), loadavg: read("/proc/loadavg"), net_dev: read("/proc/net/dev") }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn samples_of_this_machine_have_the_fields_that_the_page_reads() {
        let mut monitor = Monitor::new();
        assert!(monitor.see(&read_files(), None, 1).is_none(), "the first reading has nothing to compare with");
        let (sample, crossings) = monitor.see(&read_files(), Some(Reading::default()), 2).expect("a sample");
        assert!(crossings.is_empty());
        let json = serde_json::to_value(&sample).expect("a sample is JSON");
        let page = include_str!("assets/monitor.js");
        for (field, _) in json.as_object().expect("an object") {
            assert!(page.contains(&format!("sample.{field}")), "the page does not use {field}");
        }
        assert!(json["memory_total_bytes"].as_u64() > json["memory_used_bytes"].as_u64(), "{json}");
    }

    #[tokio::test]
    async fn a_monitor_whose_daemon_was_gone_before_it_looked_ends_too() {
        let nobody = u32::MAX;
        tokio::time::timeout(Duration::from_secs(10), orphaned(nobody)).await.expect("it ends");
        let parent = rustix::process::getppid().expect("a parent").as_raw_nonzero().get().unsigned_abs();
        assert!(tokio::time::timeout(Duration::from_millis(50), orphaned(parent)).await.is_err(), "it stays while the parent does");
    }

    #[tokio::test]
    async fn an_address_that_can_never_work_is_an_error() {
        assert!(run("not an address", "http://127.0.0.1:1/metrics", 1).await.is_err());
    }
}
