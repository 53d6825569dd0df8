//! One thread with its share of the connections: opens them, then reads and checks until told to close.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SocketType, sockopt};

use super::tally::Tally;
use super::{Plan, Seen, Shared};
use crate::check::{Checker, Rules};
use crate::http;
use crate::peer::wire::{Again, Step};

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
    tally: Tally,
    stalled: bool,
}

pub(super) fn run(plan: &Plan, shared: &Arc<Shared>, part: &Part) -> anyhow::Result<Seen> {
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
        tally: Tally::new(shared, part.number, part.connections.len(), plan.first == 1)?,
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
    Ok(Seen { latency: reader.tally.latency, gapped })
}

impl Reader<'_> {
    fn connect(&mut self) -> anyhow::Result<()> {
        let number = self.part.connections.start + self.connections.len();
        let stalled = number < self.plan.stalled;
        let front = self.plan.front_of(number);
        let socket = connect_from(source(), front.address, stalled.then_some(STALLED_BUFFER_BYTES))
            .with_context(|| format!("connection {number}"))?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let channel = number / self.plan.per_channel;
        epoll::add(&self.poll, &socket, epoll::EventData::new_u64(self.connections.len() as u64), epoll::EventFlags::IN)?;
        let checker = Checker::new(channel as u32, self.plan.first);
        self.connections.push(Connection { socket, checker, step: 0, answer: Vec::new(), stalled });
        self.connections.last_mut().map_or(Ok(()), |connection| say(connection, &front.greetings[channel]))
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
        for event in &events {
            let number = event.data.u64() as usize;
            let connection = &self.connections[number];
            let count = match rustix::net::recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => anyhow::bail!("the server closed connection {}", self.part.connections.start + number),
                Ok((count, _)) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).with_context(|| format!("connection {}", self.part.connections.start + number)),
            };
            self.tally.read(count);
            let front = self.plan.front_of(self.part.connections.start + number);
            let news = match &front.again {
                Some(again) => self.answer(number, again, &buffer[..count])?.map(Some),
                None => self.greet(number, &buffer[..count])?,
            };
            let Some(news) = news else { continue };
            let checker = &mut self.connections[number].checker;
            let taken = self.tally.take(checker, &self.rules, news.as_deref().unwrap_or(&buffer[..count]));
            taken.map_err(|fault| anyhow::anyhow!("connection {}: {fault:?}", self.part.connections.start + number))?;
        }
        self.tally.tell();
        Ok(())
    }

    /// Goes on with the answer to a request that is made again and again. `Some` with all of it when it is whole; then the
    /// next request is out already.
    fn answer(&mut self, number: usize, again: &Again, bytes: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let connection = &mut self.connections[number];
        connection.answer.extend_from_slice(bytes);
        let Some(length) = http::complete(&connection.answer)? else { return Ok(None) };
        anyhow::ensure!(length == connection.answer.len(), "an answer that nobody asked for");
        let answer = std::mem::take(&mut connection.answer);
        let cursor = http::header(&answer, "tidings-cursor:").context("an answer without a cursor")?;
        let channel = (self.part.connections.start + number) / self.plan.per_channel;
        send(&connection.socket, again.request(&self.plan.channels[channel], cursor).as_bytes())?;
        if connection.step == 0 {
            connection.step = 1;
            self.opened += 1;
            self.tally.opened();
        }
        Ok(Some(answer))
    }

    /// Goes on with the greeting of a connection that does not listen yet. What it has after the greeting is news:
    /// `Some(None)` when all bytes are.
    #[expect(clippy::option_option, reason = "no news, all news, or news that had to be copied: two names for it would say no more")]
    fn greet(&mut self, number: usize, bytes: &[u8]) -> anyhow::Result<Option<Option<Vec<u8>>>> {
        let connection = &mut self.connections[number];
        let channel = (self.part.connections.start + number) / self.plan.per_channel;
        let greeting = &self.plan.front_of(self.part.connections.start + number).greetings[channel];
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
        self.tally.opened();
        Ok(Some(Some(std::mem::take(&mut connection.answer))))
    }
}

/// Says what the current step of the greeting has to say.
fn say(connection: &mut Connection, greeting: &[Step]) -> anyhow::Result<()> {
    let Some(step) = greeting.get(usize::from(connection.step)) else { return Ok(()) };
    send(&connection.socket, &step.say)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> anyhow::Result<()> {
    let sent = rustix::net::send(socket, bytes, rustix::net::SendFlags::NOSIGNAL)?;
    anyhow::ensure!(sent == bytes.len(), "an idle socket took only {sent} bytes");
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
