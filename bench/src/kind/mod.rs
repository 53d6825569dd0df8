//! The kinds of load, and what they share: a server that runs, and a meter beside it.

mod drive;
mod flow;
mod idle;
mod publish;
mod replay;
mod storm;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;

use crate::crowd::{Plan, Way};
use crate::http;
use crate::machine::Busy;
use crate::peer::Server;
use crate::peer::start::Running;
use crate::peer::wire::{Front, Step};
use crate::process;
use crate::publish::{Publisher, open};
use crate::scenario::{Load, Scenario};

/// What a round gave: names and numbers.
pub(crate) type Figures = BTreeMap<String, f64>;

/// One measured piece of a round.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The way to publish, where the round compares them.
    pub(crate) way: Option<String>,
    pub(crate) figures: Figures,
    /// Processors that somebody else used meanwhile.
    pub(crate) foreign: f64,
}

/// A server that runs, and what to do with it.
pub(crate) struct Round<'a> {
    pub(crate) server: &'a Server,
    pub(crate) running: Running,
    pub(crate) scenario: &'a Scenario,
    pub(crate) payload: usize,
}

impl Round<'_> {
    /// Does it.
    pub(crate) fn run(&mut self) -> anyhow::Result<Vec<Outcome>> {
        let scenario = self.scenario;
        match &scenario.load {
            Load::Flow(flow) => flow::run(self, flow).map(|outcome| vec![outcome]),
            Load::Idle(idle) => idle::run(self, idle).map(|outcome| vec![outcome]),
            Load::Storm(storm) => storm::run(self, storm).map(|outcome| vec![outcome]),
            Load::Publish(load) => publish::run(self, load),
            Load::Replay(replay) => replay::run(self, replay).map(|outcome| vec![outcome]),
        }
    }

    /// Subscribers of these channels. `query` is added to each request's path.
    fn plan(&self, channels: &[String], per_channel: usize, query: &str) -> anyhow::Result<Plan> {
        let together = self.scenario.together();
        let fronts: Vec<&Front> = if together.is_empty() {
            vec![&self.server.front]
        } else {
            let named = together.iter().map(|name| self.server.peer.fronts.get(name).with_context(|| format!("there is no front {name}")));
            named.collect::<anyhow::Result<_>>()?
        };
        let ways = fronts.iter().flat_map(|front| self.server.peer.ports_of(front).into_iter().map(move |port| (*front, port)));
        let way = |(front, port): (&Front, &str)| {
            let greetings = channels.iter().map(|channel| Arc::<[Step]>::from(front.greeting(channel, query))).collect();
            let is_call = matches!(front, Front::GrpcSubscribe { .. });
            ensure!(!is_call || fronts.len() == 1, "calls and sockets are not mixed");
            Ok(Way { address: self.running.address(port)?, greetings, again: front.again(), is_call })
        };
        Ok(Plan {
            fronts: ways.map(way).collect::<anyhow::Result<_>>()?,
            channels: channels.into(),
            per_channel,
            payload: self.payload,
            opening_max: self.server.peer.opening,
            first: 1,
            stalled: 0,
            patience: self.scenario.patience(),
        })
    }

    fn publisher(&self, channels: &[String]) -> anyhow::Result<Box<dyn Publisher>> {
        let peer = &self.server.peer;
        open(&peer.publish[&peer.publish_by], &self.running, channels, 1024)
    }

    /// A cursor of now for this channel: the first that a stream gives.
    fn cursor(&self, channel: &str) -> anyhow::Result<String> {
        let greeting = self.server.front.greeting(channel, "");
        let port = self.server.peer.ports_of(&self.server.front).first().copied().context("a front without a port")?;
        let mut stream = TcpStream::connect(self.running.address(port)?)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&greeting.first().context("a front without a greeting")?.say)?;
        let mut seen = Vec::new();
        let mut chunk = [0; 2048];
        loop {
            let count = stream.read(&mut chunk).context("waiting for a cursor")?;
            ensure!(count > 0, "the stream ended without a cursor");
            seen.extend_from_slice(&chunk[..count]);
            let text = String::from_utf8_lossy(&seen);
            // As an event stream has it, and as JSON.
            for (before, after) in [("id: ", "\n"), ("\"cursor\":\"", "\"")] {
                if let Some((_, rest)) = text.split_once(before)
                    && let Some((cursor, _)) = rest.split_once(after)
                {
                    return Ok(cursor.trim().to_owned());
                }
            }
        }
    }

    fn meter(&self) -> anyhow::Result<Meter<'_>> {
        // First, and last at the end: what asking costs the server is not part of what is measured.
        let counted = self.counted()?;
        Ok(Meter { counted, spent: self.spent(), began: Instant::now() })
    }

    /// What was used since.
    fn used(&self, since: &Meter<'_>) -> anyhow::Result<Used<'_>> {
        let (spent, wall) = (self.spent(), since.began.elapsed());
        let then = |name: &str| since.counted.get(name).unwrap_or(&0.0);
        Ok(Used {
            server: spent.server - since.spent.server,
            own: spent.own - since.spent.own,
            foreign: spent.busy.foreign_since(&since.spent.busy),
            wall,
            counted: self.counted()?.into_iter().map(|(name, now)| (name, now - then(name))).collect(),
        })
    }

    fn spent(&self) -> Spent {
        let pids = process::tree(&self.running.pids());
        Spent { server: process::cpu(&pids), own: process::cpu(&[std::process::id()]), busy: Busy::now(&pids) }
    }

    /// The server's own counters. One that its metrics do not have is left out.
    fn counted(&self) -> anyhow::Result<Counted<'_>> {
        let mut counted = Counted::new();
        for (name, counter) in &self.server.peer.counters {
            for port in &counter.ports {
                let text = http::get(self.running.address(port)?, &counter.path)?;
                let lines = text.lines().filter(|line| line.starts_with(&counter.line));
                let values = lines.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
                if let Some(sum) = values.reduce(|sum, value| sum + value) {
                    *counted.entry(name.as_str()).or_default() += sum;
                }
            }
        }
        Ok(counted)
    }
}

/// A server's own counters, by the name of the figure.
type Counted<'a> = BTreeMap<&'a str, f64>;

/// Where the counts stood.
struct Meter<'a> {
    spent: Spent,
    counted: Counted<'a>,
    began: Instant,
}

/// Processor time until now.
struct Spent {
    /// Of the server, in seconds.
    server: f64,
    /// Of this program.
    own: f64,
    busy: Busy,
}

/// What was used in between.
struct Used<'a> {
    /// Seconds of processor time of the server.
    server: f64,
    /// Of this program.
    own: f64,
    counted: Counted<'a>,
    foreign: f64,
    wall: Duration,
}

impl Used<'_> {
    /// Costs for each of so many things that were done.
    fn each(&self, figures: &mut Figures, count: f64, what: &str) {
        figures.insert(format!("server_us_per_{what}"), self.server * 1e6 / count);
        figures.insert(format!("generator_us_per_{what}"), self.own * 1e6 / count);
        figures.insert("server_cores".to_owned(), self.server / self.wall.as_secs_f64());
        figures.insert("generator_cores".to_owned(), self.own / self.wall.as_secs_f64());
        figures.insert("foreign_cores".to_owned(), self.foreign);
        self.count_each(figures, count, what);
    }

    /// What the server itself counted for each of so many things.
    fn count_each(&self, figures: &mut Figures, count: f64, what: &str) {
        figures.extend(self.counted.iter().map(|(name, counted)| (format!("{name}_per_{what}"), counted / count)));
    }
}

/// Quantiles in milliseconds.
fn quantiles(figures: &mut Figures, prefix: &str, latency: &Histogram<u64>) {
    for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        figures.insert(format!("{prefix}{name}_ms"), latency.value_at_quantile(at) as f64 / 1e3);
    }
}

/// Names for channels, new in each round.
fn channels(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("bench{number}")).collect()
}

/// What to add to a request so that it resumes after this cursor.
fn resume(front: &Front, cursor: &str) -> anyhow::Result<String> {
    front.resume(cursor).context("this front does not resume")
}
