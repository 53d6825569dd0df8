//! One thread with its share of the connections: opens them, then reads and checks until told to close.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SocketType, sockopt};

use super::{Plan, Seen, Shared, histogram};
use crate::check::{Checker, Rules};
use crate::clock::micros;
use crate::payload::Said;
use crate::peer::wire::Step;

/// Connections per source address: few, because the kernel looks for free ports one by one.
const PER_ADDRESS: u32 = 2_000;
/// Source addresses are taken one after the other over all crowds, so that ports which still wait after a close are not
/// in the way.
static NEXT_SOURCE: AtomicU32 = AtomicU32::new(0);
/// Receive buffer of those who stall, so that it is the server who has to keep what they do not take.
const STALLED_BUFFER_BYTES: usize = 16 << 10;
/// How soon a thread notices what it is told.
const LOOK: Duration = Duration::from_millis(50);

/// Which connections a thread holds.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) number: usize,
    pub(super) connections: Range<usize>,
    /// Whether the thread takes a file table of its own, because one table has a limit.
    pub(super) own_table: bool,
    pub(super) opening_max: usize,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    checker: Checker,
    /// Steps of the greeting that are done.
    step: u8,
    /// What came of the answer to the current step.
    answer: Vec<u8>,
    stalled: bool,
}

struct Reader<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    part: &'a Part,
    rules: Rules,
    poll: OwnedFd,
    connections: Vec<Connection>,
    opened: usize,
    latency: Histogram<u64>,
    complete: Complete,
    stalled: bool,
}

/// Which messages all subscribers of this thread have.
struct Complete {
    /// Counts of the messages after `upto`.
    counts: VecDeque<u32>,
    upto: u64,
    needed: u32,
}

impl Complete {
    /// One more has this message. `true` when `upto` moved.
    fn count(&mut self, number: u64) -> bool {
        let at = number.saturating_sub(self.upto + 1) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        let before = self.upto;
        while self.counts.front() == Some(&self.needed) {
            self.counts.pop_front();
            self.upto += 1;
        }
        self.upto > before
    }
}

pub(super) fn run(plan: &Plan, shared: &Shared, part: &Part) -> anyhow::Result<Seen> {
    let outcome = read(plan, shared, part);
    if let Err(why) = &outcome {
        shared.fail(format!("{why:#}"));
    }
    outcome
}

fn read(plan: &Plan, shared: &Shared, part: &Part) -> anyhow::Result<Seen> {
    if part.own_table {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).context("taking an own file table")?;
    }
    let mut reader = Reader {
        plan,
        shared,
        part,
        rules: Rules::new(plan.payload),
        poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        connections: Vec::with_capacity(part.connections.len()),
        opened: 0,
        latency: histogram()?,
        complete: Complete { counts: VecDeque::new(), upto: 0, needed: part.connections.len() as u32 },
        stalled: false,
    };
    let mut buffer = vec![0; 256 << 10];
    while !shared.closing.load(Ordering::Acquire) {
        while reader.connections.len() < part.connections.len() && reader.connections.len() - reader.opened < part.opening_max {
            reader.connect()?;
        }
        reader.obey_stall()?;
        reader.turn(&mut buffer)?;
    }
    for connection in &reader.connections {
        // Closing with a reset leaves no port waiting. Nobody listens any more, so nothing is lost by it.
        let _ = sockopt::set_socket_linger(&connection.socket, Some(Duration::ZERO));
    }
    let gapped = reader.connections.iter().filter(|connection| connection.checker.gaps > 0).count();
    Ok(Seen { latency: reader.latency, gapped })
}

impl Reader<'_> {
    fn connect(&mut self) -> anyhow::Result<()> {
        let number = self.part.connections.start + self.connections.len();
        let stalled = number < self.plan.stalled;
        let socket = connect_from(source(), self.plan.address, stalled.then_some(STALLED_BUFFER_BYTES))
            .with_context(|| format!("connection {number}"))?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let channel = number / self.plan.per_channel;
        epoll::add(&self.poll, &socket, epoll::EventData::new_u64(self.connections.len() as u64), epoll::EventFlags::IN)?;
        let checker = Checker::new(channel as u32, self.plan.first);
        self.connections.push(Connection { socket, checker, step: 0, answer: Vec::new(), stalled });
        self.connections.last_mut().map_or(Ok(()), |connection| say(connection, &self.plan.greetings[channel]))
    }

    /// Takes the stalled ones out of the poll when they are told to stop, and back in afterwards.
    fn obey_stall(&mut self) -> anyhow::Result<()> {
        let stall = self.shared.stall.load(Ordering::Acquire);
        if stall == self.stalled {
            return Ok(());
        }
        self.stalled = stall;
        for (number, connection) in self.connections.iter().enumerate().filter(|(_, connection)| connection.stalled) {
            let flags = if stall { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
            epoll::modify(&self.poll, &connection.socket, epoll::EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }

    fn turn(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(512);
        let timeout = Timespec::try_from(LOOK)?;
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        let (mut received, mut progress, mut bytes) = (0, 0, 0);
        let mut completed = false;
        for event in &events {
            let number = event.data.u64() as usize;
            let connection = &self.connections[number];
            let count = match rustix::net::recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => anyhow::bail!("the server closed connection {}", self.part.connections.start + number),
                Ok((count, _)) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).with_context(|| format!("connection {}", self.part.connections.start + number)),
            };
            bytes += count as u64;
            let Some(news) = self.greet(number, &buffer[..count])? else { continue };
            let now = micros();
            let timed_from = self.shared.timed_from.load(Ordering::Relaxed);
            let (latency, complete) = (&mut self.latency, &mut self.complete);
            let from_the_first = self.plan.first == 1;
            let message = |said: Said, moved: u64| {
                received += 1;
                progress += moved;
                completed |= from_the_first && complete.count(said.number);
                if said.due >= timed_from {
                    latency.saturating_record(now.saturating_sub(said.due));
                }
            };
            let taken = self.connections[number].checker.take(&self.rules, news.as_deref().unwrap_or(&buffer[..count]), message);
            taken.map_err(|fault| anyhow::anyhow!("connection {}: {fault:?}", self.part.connections.start + number))?;
        }
        let gauge = &self.shared.gauges[self.part.number];
        gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        if received > 0 {
            gauge.last_at.store(micros(), Ordering::Relaxed);
            gauge.received.fetch_add(received, Ordering::Release);
            gauge.progress.fetch_add(progress, Ordering::Release);
        }
        if completed {
            gauge.completed.store(self.complete.upto, Ordering::Release);
            if let Some(publisher) = &*self.shared.publisher() {
                publisher.unpark();
            }
        }
        Ok(())
    }

    /// Goes on with the greeting of a connection that does not listen yet. What it has after the greeting is news:
    /// `Some(None)` when all bytes are.
    #[expect(clippy::option_option, reason = "no news, all news, or news that had to be copied: two names for it would say no more")]
    fn greet(&mut self, number: usize, bytes: &[u8]) -> anyhow::Result<Option<Option<Vec<u8>>>> {
        let connection = &mut self.connections[number];
        let channel = (self.part.connections.start + number) / self.plan.per_channel;
        let greeting = &self.plan.greetings[channel];
        if usize::from(connection.step) >= greeting.len() {
            return Ok(Some(None));
        }
        connection.answer.extend_from_slice(bytes);
        while let Some(step) = greeting.get(usize::from(connection.step)) {
            let known = step.expect.len().min(connection.answer.len());
            if connection.answer[..known] != step.expect.as_bytes()[..known] {
                anyhow::bail!("refused: {}", String::from_utf8_lossy(&connection.answer).lines().next().unwrap_or_default());
            }
            let Some(at) = memchr::memmem::find(&connection.answer, &step.until) else { return Ok(None) };
            connection.answer.drain(..at + step.until.len());
            connection.step += 1;
            say(connection, greeting)?;
        }
        self.opened += 1;
        let gauge = &self.shared.gauges[self.part.number];
        gauge.opened.fetch_add(1, Ordering::Release);
        gauge.last_at.store(micros(), Ordering::Relaxed);
        Ok(Some(Some(std::mem::take(&mut connection.answer))))
    }
}

/// Says what the current step of the greeting has to say.
fn say(connection: &mut Connection, greeting: &[Step]) -> anyhow::Result<()> {
    let Some(step) = greeting.get(usize::from(connection.step)) else { return Ok(()) };
    let sent = rustix::net::send(&connection.socket, &step.say, rustix::net::SendFlags::NOSIGNAL)?;
    anyhow::ensure!(sent == step.say.len(), "a fresh socket took only {sent} bytes");
    Ok(())
}

/// The next source address: 127.0.0.1, then one after the other in 127/8.
fn source() -> IpAddr {
    let number = NEXT_SOURCE.fetch_add(1, Ordering::Relaxed) / PER_ADDRESS;
    // .0 and .255 are left out of the last byte; nothing else is special in 127/8.
    IpAddr::V4(Ipv4Addr::new(127, (number / 250 / 250) as u8, (number / 250 % 250) as u8, 1 + (number % 250) as u8))
}

fn connect_from(from: IpAddr, to: SocketAddr, buffer_bytes: Option<usize>) -> anyhow::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, rustix::net::SocketFlags::CLOEXEC, None)?;
    if let Some(bytes) = buffer_bytes {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    Ok(TcpStream::from(socket).into())
}
