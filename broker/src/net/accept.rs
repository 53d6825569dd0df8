//! One acceptor per listener: takes connections, refuses what is over the bound, and gives each to the shard that
//! carries the fewest. Shards with file tables of their own accept for themselves, since a socket cannot leave its table.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::listener::{Listener, tune};
use super::refusal::{refuse, refuse_at_once, refuse_handshake};
use crate::clock::Clock;
use crate::journal::Journal;
use crate::limits::Caller;
use crate::metrics::{Complaints, Metrics, RefusedConnection};
use crate::shard::{Command, Handle, Seat};

/// Connections accepted at a time: whoever came first is answered while the others are still taken in, and does not wait for all of a storm.
const AT_A_TIME: u32 = 16;
/// After an error of the listener itself; without a pause it would spin.
const PAUSE: Duration = Duration::from_millis(50);
/// Most connections let in after the door closed: more than the system keeps in the queue, and an end to a storm.
const KNOCKING_MAX: usize = 20_000;

/// What an acceptor needs.
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// Where connections go.
    pub shards: Vec<Arc<Handle>>,
    /// All shards of the node.
    pub everyone: Arc<Vec<Arc<Handle>>>,
    /// Connections at once over all shards; all clones look at the same one.
    pub connections_max: Arc<AtomicUsize>,
    /// Connections of one shard.
    pub shard_connections_max: usize,
    /// Whether connections begin with a TLS handshake, and who is turned away must hear it in TLS's terms.
    pub speaks_tls: bool,
    /// Socket options.
    pub config: Config,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where those who are turned away are found by their address.
    pub journal: Journal,
    /// The time of what is told there.
    pub clock: Clock,
}

/// Accepts until `stop`.
pub async fn accept(listener: Listener, acceptor: Acceptor, stop: CancellationToken) {
    let mut spare = Spare::new();
    let mut complaints = Complaints::default();
    let mut accepted_in_a_row = 0;
    loop {
        if accepted_in_a_row >= AT_A_TIME {
            accepted_in_a_row = 0;
            tokio::task::yield_now().await;
        }
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                accepted_in_a_row += 1;
                acceptor.admit(stream, address);
            }
            Err(error) => {
                let is_listeners = acceptor.metrics.accept_failed("http", &error, &mut complaints);
                if is_listeners && !spare.refuse_next(&listener, acceptor.speaks_tls) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    // Who knocked before the door closed is told to go elsewhere; closing the listener on them would be a reset.
    for _ in 0..KNOCKING_MAX {
        // By the plain system call: the runtime may not have heard yet that somebody is there, and lets a task take only so
        // many at a time.
        let Ok((stream, address)) = listener.accept_now() else { break };
        acceptor.admit(stream, address);
    }
}

/// A descriptor held back for the moment when there is none left: given up, it lets one connection in, to be refused
/// instead of left hanging.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Accepts the next connection only to turn it away. `false` when even that failed.
    fn refuse_next(&mut self, listener: &Listener, speaks_tls: bool) -> bool {
        self.0 = None;
        let accepted = listener.accept_now();
        match &accepted {
            Ok((stream, _)) if speaks_tls => refuse_handshake(stream),
            Ok((stream, _)) => refuse_at_once(stream),
            Err(_) => {}
        }
        let refused = accepted.is_ok();
        drop(accepted);
        *self = Self::new();
        refused
    }
}

impl Acceptor {
    /// Takes a connection that somebody else accepted and read so much from.
    ///
    /// # Errors
    /// `InvalidInput` when more was read than a head may be long; else what the system says against the socket.
    pub fn adopt(&self, stream: std::net::TcpStream, read: Bytes) -> std::io::Result<()> {
        if read.len() > self.config.header_bytes {
            let what = format!("{} bytes were read already, the head of a request has at most {}", read.len(), self.config.header_bytes);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, what));
        }
        stream.set_nonblocking(true)?;
        tune(&stream, &self.config)?;
        let address = stream.peer_addr()?;
        match self.least_loaded().filter(|shard| self.has_room(shard)) {
            Some(shard) => self.give(shard, stream, address, Some(read)),
            None => {
                self.too_many(address);
                turn_away(&stream, true);
            }
        }
        Ok(())
    }

    /// A shard for one more connection that comes some other way, and a seat there. `None` at a bound.
    #[must_use]
    pub fn seat(&self) -> Option<(Arc<Handle>, Seat)> {
        let shard = self.least_loaded().filter(|shard| self.has_room(shard))?;
        Some((shard.clone(), shard.load.seat()))
    }

    fn admit(&self, stream: std::net::TcpStream, address: SocketAddr) {
        let Some(shard) = self.least_loaded() else { return };
        if !self.has_room(shard) {
            self.too_many(address);
            return match TcpStream::from_std(stream) {
                Ok(stream) if !self.speaks_tls => refuse(stream),
                Ok(stream) => refuse_handshake(stream),
                // No room in the event queue, and the socket is closed.
                Err(_) => {}
            };
        }
        self.give(shard, stream, address, None);
    }

    fn give(&self, shard: &Handle, stream: std::net::TcpStream, address: SocketAddr, read: Option<Bytes>) {
        let is_bare = read.is_some() || !self.speaks_tls;
        let connection = Command::Connection { stream, address, seat: shard.load.seat(), read: read.map(Box::new) };
        // The shard is gone, or about to be.
        if let Err(Command::Connection { stream, .. }) = shard.tell(connection) {
            self.metrics.connection_refused(RefusedConnection::Limit);
            turn_away(&stream, is_bare);
        }
    }

    fn too_many(&self, address: SocketAddr) {
        self.metrics.turned_away(RefusedConnection::Limit, "limits.connections", Some(Caller::Address(address.ip())));
        self.journal.turned_away("limits.connections", address, self.clock.now().unix_ms);
    }

    /// The living shard with the fewest connections.
    fn least_loaded(&self) -> Option<&Arc<Handle>> {
        let living = self.shards.iter().filter(|shard| shard.load.is_alive());
        living.min_by_key(|shard| shard.load.connections())
    }

    /// Connections at once over all shards.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    fn has_room(&self, shard: &Handle) -> bool {
        let connections: usize = self.everyone.iter().map(|shard| shard.load.connections()).sum();
        connections < self.connections_max() && shard.load.connections() < self.shard_connections_max
    }
}

fn turn_away(stream: &std::net::TcpStream, is_bare: bool) {
    if is_bare { refuse_at_once(stream) } else { refuse_handshake(stream) }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn everyone_who_knocked_before_the_door_closed_is_let_in() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = Config::default();
        let listener = Listener::new(socket.listen(1024).unwrap().into_std().unwrap(), &config).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting: Vec<std::net::TcpStream> = (0..500).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let stop = CancellationToken::new();
        stop.cancel();
        // Without a shard each is let in and dropped: an end. One that is left in the queue gets a reset.
        let (clock, journal) = (Clock::start(), Journal::new(1));
        let metrics = Metrics::new(1, clock);
        let (shards, everyone) = (Vec::new(), Arc::default());
        let speaks_tls = false;
        let connections_max = Arc::new(AtomicUsize::new(1));
        let shard_connections_max = 1;
        let acceptor = Acceptor { shards, everyone, connections_max, shard_connections_max, speaks_tls, config, metrics, journal, clock };
        accept(listener, acceptor, stop).await;
        let ends = waiting.into_iter().map(|mut stream| stream.read(&mut [0; 1]).is_ok_and(|count| count == 0));
        assert_eq!(ends.filter(|ended| *ended).count(), 500);
    }
}
