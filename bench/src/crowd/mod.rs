//! Many subscribers, held by a few threads. Each connection is checked by itself; what they have together is counted.

mod calls;
mod reader;
mod tally;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use crate::clock::micros;
use crate::peer::wire::{Again, Step};

/// Connections of one thread that stays on the common file table; above it each thread gets a table of its own.
const ONE_TABLE: usize = 15_000;
/// Longest latency that is told apart: an hour.
const LATENCY_MAX_MICROS: u64 = 3_600_000_000;

/// What a crowd is.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How they listen; connections take turns over them.
    pub(crate) fronts: Vec<Way>,
    /// Names of the channels.
    pub(crate) channels: Arc<[String]>,
    /// Subscribers of each channel.
    pub(crate) per_channel: usize,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// Connections that may be on their way to a stream at one time.
    pub(crate) opening_max: usize,
    /// The number everyone's first message must have; 0: whichever comes.
    pub(crate) first: u64,
    /// Connections, counted from the first, that stop reading when told.
    pub(crate) stalled: usize,
    /// Longest silence before a wait is given up.
    pub(crate) patience: Duration,
}

/// One way to listen.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    /// What a subscriber of each channel says first.
    pub(crate) greetings: Arc<[Arc<[Step]>]>,
    /// What it says after each answer, where one stream is not enough.
    pub(crate) again: Option<Again>,
    /// It is not a socket of its own but a call.
    pub(crate) is_call: bool,
}

impl Plan {
    pub(crate) fn connections(&self) -> usize {
        self.channels.len() * self.per_channel
    }

    /// How the connection of this number listens.
    fn front_of(&self, number: usize) -> &Way {
        &self.fronts[number % self.fronts.len()]
    }
}

/// What a crowd's threads tell and are told.
#[derive(Debug)]
struct Shared {
    gauges: Vec<Gauge>,
    /// Messages due before this are not timed.
    timed_from: AtomicU64,
    stall: AtomicBool,
    closing: AtomicBool,
    failed: AtomicBool,
    fault: Mutex<Option<String>>,
    /// Woken whenever a message has reached everyone.
    publisher: Mutex<Option<Thread>>,
}

/// Counts of one thread.
#[derive(Debug, Default)]
struct Gauge {
    opened: AtomicU64,
    /// Messages received, or known to be missed over a declared gap.
    progress: AtomicU64,
    received: AtomicU64,
    /// The newest message that all subscribers of this thread have; only where there is one channel.
    completed: AtomicU64,
    /// When the last message came.
    last_at: AtomicU64,
    /// Bytes read.
    bytes: AtomicU64,
}

impl Shared {
    fn fail(&self, why: String) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert(why);
        self.failed.store(true, Ordering::Release);
    }

    fn publisher(&self) -> std::sync::MutexGuard<'_, Option<Thread>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribers that listen.
#[derive(Debug)]
pub(crate) struct Crowd {
    plan: Plan,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<anyhow::Result<Seen>>>,
    /// How long it took until all listened.
    pub(crate) opened_in: Duration,
}

/// What a crowd has seen, when it is over.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the time a message was due to its arrival, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Connections that were told of a gap.
    pub(crate) gapped: usize,
}

impl Crowd {
    /// Connects everyone and waits until all listen.
    pub(crate) fn open(plan: Plan) -> anyhow::Result<Self> {
        let connections = plan.connections();
        let threads = connections.div_ceil(ONE_TABLE).max(1);
        let shared = Arc::new(Shared {
            gauges: (0..threads).map(|_| Gauge::default()).collect(),
            timed_from: AtomicU64::new(u64::MAX),
            stall: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            fault: Mutex::new(None),
            publisher: Mutex::new(None),
        });
        let began = micros();
        let began_at = Instant::now();
        let share = connections.div_ceil(threads);
        let spawn = |number: usize| {
            let connections = (number * share).min(connections)..((number + 1) * share).min(connections);
            let part = reader::Part { number, connections, own_table: threads > 1, opening_max: (plan.opening_max / threads).max(1) };
            let (plan, shared) = (plan.clone(), shared.clone());
            std::thread::Builder::new().name(format!("crowd-{number}")).spawn(move || {
                let seen = if plan.fronts.iter().any(|way| way.is_call) {
                    calls::run(&plan, &shared, &part)
                } else {
                    reader::run(&plan, &shared, &part)
                };
                seen.inspect_err(|why| shared.fail(format!("{why:#}")))
            })
        };
        let threads = (0..threads).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let mut crowd = Self { plan, shared, threads, opened_in: Duration::ZERO };
        let opened = |crowd: &Self| crowd.sum(|gauge| &gauge.opened);
        crowd.wait_until(|crowd| opened(crowd) >= connections as u64, opened).context("opening the streams")?;
        let last = crowd.shared.gauges.iter().map(|gauge| gauge.last_at.load(Ordering::Relaxed)).max().unwrap_or(began);
        crowd.opened_in = Duration::from_micros(last.saturating_sub(began)).min(began_at.elapsed());
        Ok(crowd)
    }

    fn sum(&self, of: impl Fn(&Gauge) -> &AtomicU64) -> u64 {
        self.shared.gauges.iter().map(|gauge| of(gauge).load(Ordering::Acquire)).sum()
    }

    /// Messages received by all together.
    pub(crate) fn received(&self) -> u64 {
        self.sum(|gauge| &gauge.received)
    }

    /// Bytes read by all together.
    pub(crate) fn bytes(&self) -> u64 {
        self.sum(|gauge| &gauge.bytes)
    }

    /// The newest message that has reached everyone.
    pub(crate) fn completed(&self) -> u64 {
        self.shared.gauges.iter().map(|gauge| gauge.completed.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// When the last message came, in microseconds of [`crate::clock`].
    pub(crate) fn last_at(&self) -> u64 {
        self.shared.gauges.iter().map(|gauge| gauge.last_at.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// From now on latencies are recorded.
    pub(crate) fn time_from(&self, micros: u64) {
        self.shared.timed_from.store(micros, Ordering::Release);
    }

    /// Whom to wake when a message has reached everyone.
    pub(crate) fn wake(&self, publisher: Thread) {
        *self.shared.publisher() = Some(publisher);
    }

    /// Lets the stalled ones stop reading, or go on.
    pub(crate) fn stall(&self, stop: bool) {
        self.shared.stall.store(stop, Ordering::Release);
    }

    /// Waits until the messages received, with those missed over declared gaps, are this many.
    pub(crate) fn wait_for(&self, progress: u64) -> anyhow::Result<()> {
        let now = |crowd: &Self| crowd.sum(|gauge| &gauge.progress);
        self.wait_until(|crowd| now(crowd) >= progress, now).with_context(|| format!("{} of {progress} deliveries", now(self)))?;
        let got = now(self);
        if got > progress {
            bail!("{got} deliveries where {progress} were published");
        }
        Ok(())
    }

    /// Fails as soon as one connection saw what it must not see.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.shared.failed.load(Ordering::Acquire) {
            let fault = self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
            bail!("{}", fault.as_deref().unwrap_or("a connection failed"));
        }
        Ok(())
    }

    fn wait_until(&self, done: impl Fn(&Self) -> bool, progress: impl Fn(&Self) -> u64) -> anyhow::Result<()> {
        let mut moved = (progress(self), Instant::now());
        while !done(self) {
            self.check()?;
            std::thread::sleep(Duration::from_millis(2));
            let now = progress(self);
            if now != moved.0 {
                moved = (now, Instant::now());
            } else if moved.1.elapsed() > self.plan.patience {
                bail!("nothing came for {:?}", self.plan.patience);
            }
        }
        self.check()
    }

    /// Closes all connections and tells what they saw.
    pub(crate) fn close(mut self) -> anyhow::Result<Seen> {
        let mut all = Seen { latency: histogram()?, gapped: 0 };
        self.shared.closing.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let seen = thread.join().map_err(|_| anyhow::anyhow!("a reading thread panicked"))??;
            all.latency.add(&seen.latency)?;
            all.gapped += seen.gapped;
        }
        self.check()?;
        Ok(all)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // Whatever it would tell, nobody asks any more.
            let _ = thread.join();
        }
    }
}

/// An empty histogram of latencies in microseconds.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LATENCY_MAX_MICROS, 3)?)
}
