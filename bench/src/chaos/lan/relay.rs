//! Hands packets on later than they came, and out of order if told to: what `netem` does, for kernels without it.
//!
//! It sits between a node's cable and the bridge, one thread for each direction, on packet sockets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockProtocol, SockType};
use rand::{RngExt as _, SeedableRng as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};

/// Packets on their way at once; more are dropped, as a full queue does.
const PACKETS_MAX: usize = 20_000;
/// How soon a thread notices that it should end.
const LOOK: Duration = Duration::from_millis(50);
/// Larger than any packet of a link without offloads.
const PACKET_BYTES_MAX: usize = 16 << 10;

/// How long packets take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
    /// Whether a packet may overtake another.
    pub(crate) reorders: bool,
    pub(crate) seed: u64,
}

/// A relay at work. It ends when dropped.
#[derive(Debug)]
pub(super) struct Relay {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    pub(super) fn start(outer: &str, inner: &str, delay: Delay) -> anyhow::Result<Self> {
        // One socket for each link, for both directions: a socket does not see what it sent itself.
        let (outer, inner) = (Arc::new(open(outer)?), Arc::new(open(inner)?));
        let ends = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (from, to) in [(&outer, &inner), (&inner, &outer)] {
            let (from, to, ends) = (Arc::clone(from), Arc::clone(to), Arc::clone(&ends));
            threads.push(std::thread::spawn(move || hand_on(&from, &to, delay, &ends)));
        }
        Ok(Self { ends, threads })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A socket that gets and sends whole packets of one link.
fn open(link: &str) -> anyhow::Result<OwnedFd> {
    let addresses = nix::ifaddrs::getifaddrs()?;
    let address = addresses.filter(|found| found.interface_name == link).find_map(|found| found.address?.as_link_addr().copied());
    let address = address.with_context(|| format!("there is no link {link}"))?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
    Ok(socket)
}

fn hand_on(from: &OwnedFd, to: &OwnedFd, delay: Delay, ends: &AtomicBool) {
    let mut random = rand::rngs::StdRng::seed_from_u64(delay.seed);
    let mut waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let (mut number, mut newest) = (0, Instant::now());
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    while !ends.load(Ordering::Acquire) {
        let now = Instant::now();
        while waiting.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, packet))) = waiting.pop() {
                // A full link drops it, as links do.
                let _ = rustix::net::send(to, &packet, SendFlags::empty());
            }
        }
        let pause = waiting.peek().map_or(LOOK, |Reverse((due, ..))| due.saturating_duration_since(now).min(LOOK));
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) };
        let _ = poll(&mut [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)], Some(&pause));
        while let Ok((length, _)) = rustix::net::recv(from, &mut buffer[..], RecvFlags::empty()) {
            if waiting.len() < PACKETS_MAX {
                let drawn = Instant::now() + random.random_range(delay.least..=delay.most);
                let due = if delay.reorders { drawn } else { drawn.max(newest) };
                newest = due;
                number += 1;
                waiting.push(Reverse((due, number, buffer[..length].to_vec())));
            }
        }
    }
}
