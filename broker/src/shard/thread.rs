//! A shard's thread: its runtime, what it is told from outside, how many connections it carries, and that it is noticed
//! when it dies.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::state::TICK;
use super::tally::Tally;
use super::{Bounds, Opening, Shard};
use crate::close::CloseReason;
use crate::control::Register;
use crate::hub::Hub;
use crate::journal::Journal;
use crate::limits::{UserPlace, Visit};
use crate::message::ChannelName;
use crate::metrics::Metrics;

/// Commands that may wait for a shard. New connections beyond it are refused by the acceptor.
pub const COMMANDS_MAX: usize = 4096;

/// Something to be done on a shard's own thread, inside its runtime.
pub struct Errand(Box<dyn FnOnce(&Shard) + Send>);

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Errand")
    }
}

/// What a shard is told from outside.
#[derive(Debug)]
pub enum Command {
    /// A freshly accepted socket, non-blocking, not yet in any runtime. With what was already read from it when another
    /// program accepted it, and then it is bare whatever the listener speaks.
    Connection {
        /// The socket.
        stream: std::net::TcpStream,
        /// The peer's address.
        address: SocketAddr,
        /// Its place on the shard.
        seat: Seat,
        /// What was read of it. Boxed, since hardly any has it.
        read: Option<Box<Bytes>>,
    },
    /// A socket that has said all it has to say in HTTP, non-blocking, for a session.
    Session(std::net::TcpStream, Seat, Box<Opening>),
    /// The stays of one wave end; `done` hears when the farewells are written or waiting.
    EndWave {
        /// Which wave.
        wave: usize,
        /// Of how many.
        waves: usize,
        /// Why.
        reason: CloseReason,
        /// Answered when it is done.
        done: oneshot::Sender<()>,
    },
    /// Do this between two other things.
    Errand(Errand),
    /// Leave the thread; every socket is closed.
    Stop,
}

/// What is done when the shard of this number dies: ends without having been told to.
pub type OnDeath = Arc<dyn Fn(usize) + Send + Sync>;

/// How many connections a shard carries.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicUsize,
    gone: AtomicBool,
}

impl Load {
    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the shard still turns.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }

    /// Takes a place; given back when the seat is dropped.
    #[must_use]
    pub fn seat(self: &Arc<Self>) -> Seat {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Seat { load: self.clone(), visits: [None, None], user: None }
    }
}

/// One connection's place on its shard, for as long as it lives.
#[derive(Debug)]
pub struct Seat {
    load: Arc<Load>,
    /// Whose it is: the peer's, and of the one for whom it asks.
    visits: [Option<Visit>; 2],
    user: Option<UserPlace>,
}

impl Seat {
    /// Keeps the visit for as long as the connection lives.
    pub fn keep(&mut self, visit: Option<Visit>) {
        let [peer, client] = &mut self.visits;
        *(if peer.is_none() { peer } else { client }) = visit;
    }

    /// The same for its place among the connections of its user.
    pub fn keep_user(&mut self, place: Option<UserPlace>) {
        self.user = place;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a shard does with a new socket ([`Command::Connection`]) of this address. Given by whoever knows HTTP.
pub type OnConnection =
    Arc<dyn Fn(Shard, tokio::net::TcpStream, SocketAddr, Seat, Option<Bytes>) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// A shard as seen from other threads.
#[derive(Debug)]
pub struct Handle {
    /// Its number.
    pub number: usize,
    /// What it carries.
    pub load: Arc<Load>,
    /// Its runtime, for what is `Send` and yet best done on its thread.
    pub runtime: tokio::runtime::Handle,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Tells the shard something without waiting. Gives the command back when too many wait already.
    pub fn tell(&self, command: Command) -> Result<(), Command> {
        self.commands.try_send(command).map_err(|full| match full {
            mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command) => command,
        })
    }

    /// How many commands wait for it: new sockets and errands.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    /// Does something on the shard's thread and waits for what came of it. `None` when the shard has stopped.
    pub async fn perform<T: Send + 'static>(&self, act: impl FnOnce(&Shard) -> T + Send + 'static) -> Option<T> {
        let (done, outcome) = oneshot::channel();
        let errand = Errand(Box::new(move |shard: &Shard| {
            // Whoever asked may have gone away.
            let _ = done.send(act(shard));
        }));
        self.commands.send(Command::Errand(errand)).await.ok()?;
        outcome.await.ok()
    }

    /// Ends the stays of one wave and waits until the farewells are on their way.
    pub async fn end_wave(&self, wave: usize, waves: usize, reason: CloseReason) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::EndWave { wave, waves, reason, done }).await.is_ok() {
            // A shard that stopped meanwhile has ended them all.
            let _ = ended.await;
        }
    }

    /// Listens to a channel on the shard. Resolves when it listens, with what resolves when something came through its
    /// inbox and its walk; `None`, or an error there, when the shard is gone. The caller bounds the wait.
    pub async fn listen(&self, channel: &ChannelName) -> Option<oneshot::Receiver<()>> {
        let channel = channel.clone();
        self.perform(|shard| listen(shard, channel)).await?
    }

    /// Does something on the shard's thread without waiting for it.
    #[cfg(test)]
    pub(crate) fn inflict(&self, act: impl FnOnce(&Shard) + Send + 'static) {
        self.tell(Command::Errand(Errand(Box::new(act)))).expect("the shard still listens");
    }

    /// Stops the thread and waits for it. The caller bounds the wait: a shard that is stuck never hears of it.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// What a shard has of the node.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Where entries come from.
    pub hub: Arc<Hub>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Where it is told what happens to clients.
    pub journal: Journal,
    /// Where orders of backends find who is here.
    pub register: Register,
    /// Cancelled when the node begins to leave.
    pub draining: CancellationToken,
}

/// Starts a shard's thread.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn spawn(number: usize, rooms: Rooms, bounds: Bounds, on_connection: OnConnection, on_death: OnDeath) -> std::io::Result<Handle> {
    let (commands, inbound) = mpsc::channel(COMMANDS_MAX);
    let load = Arc::new(Load::default());
    let carried = load.clone();
    // The runtime cannot leave its thread, so whether it could be made must be told from there.
    let (made, is_made) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("tidings-shard-{number}")).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = made.send(Err(error));
                return;
            }
        };
        let _ = made.send(Ok(runtime.handle().clone()));
        // Dropped before the runtime, also by a panic: nobody is sent here any more when the connections begin to end.
        let mut life = Life { number, load: carried, hub: rooms.hub.clone(), on_death, ended_well: false };
        let shard = Shard::new(number, rooms, bounds);
        let torn = shard.0.cell.torn().clone();
        let delivering = runtime.spawn_local(deliver(shard.clone()));
        let ticking = runtime.spawn_local(tick(shard.clone()));
        // Dropping the runtime afterwards drops every connection and session with it.
        life.ended_well = runtime.block_on(async {
            tokio::select! {
                () = obey(shard, inbound, on_connection) => true,
                // These two never end by themselves.
                _ = delivering => false,
                _ = ticking => false,
                () = torn.cancelled() => false,
            }
        });
    })?;
    let runtime = is_made.recv().map_err(|_| std::io::Error::other("the shard's thread ended before it began"))??;
    Ok(Handle { number, load, runtime, commands, thread: Mutex::new(Some(thread)) })
}

/// As long as this is here, the shard turns.
struct Life {
    number: usize,
    load: Arc<Load>,
    hub: Arc<Hub>,
    on_death: OnDeath,
    ended_well: bool,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.load.gone.store(true, Ordering::Relaxed);
        // Publishers must not wait for somebody who is gone.
        self.hub.inbox(self.number).close();
        if !self.ended_well {
            (self.on_death)(self.number);
        }
    }
}

/// Does what it is told until it is told to stop.
async fn obey(shard: Shard, mut inbound: mpsc::Receiver<Command>, on_connection: OnConnection) {
    while let Some(command) = inbound.recv().await {
        match command {
            Command::Connection { stream, address, seat, read } => match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => {
                    tokio::task::spawn_local(on_connection(shard.clone(), stream, address, seat, read.map(|read| *read)));
                }
                Err(error) => tracing::warn!(event = "connection_lost", %error, "a connection could not be registered and was closed"),
            },
            Command::Session(stream, seat, opening) => match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => {
                    shard.metrics().connection_accepted();
                    let address = stream.peer_addr().ok();
                    if let Err((_, error)) = shard.start(stream.into(), address, seat, *opening) {
                        tracing::debug!(event = "connection_lost", %error, "a session could not begin");
                        shard.metrics().connection_closed();
                    }
                }
                Err(error) => tracing::warn!(event = "connection_lost", %error, "a connection could not be registered and was closed"),
            },
            Command::EndWave { wave, waves, reason, done } => {
                let mut tally = Tally::default();
                shard.0.cell.with(|state| state.end_wave(wave, waves, reason, &mut tally));
                let _ = done.send(());
            }
            Command::Errand(Errand(act)) => act(&shard),
            Command::Stop => return,
        }
    }
}

/// Begins to listen, until something is heard or nobody wants to know any more. `None` when the shard cannot.
fn listen(shard: &Shard, channel: ChannelName) -> Option<oneshot::Receiver<()>> {
    let (mut heard, hears) = oneshot::channel();
    let mut watcher = shard.watch_poll(&[channel]).ok()?;
    tokio::task::spawn_local(async move {
        tokio::select! {
            _ = watcher.woken() => drop(heard.send(())),
            () = heard.closed() => {}
        }
    });
    Some(hears)
}

/// Walks as long as there is something to deliver, then sleeps until the inbox says so.
async fn deliver(shard: Shard) {
    let inbox = shard.0.hub.inbox(shard.0.number).clone();
    let mut tally = Tally::default();
    loop {
        let more = shard.0.cell.with(|state| state.turn(&mut tally));
        if more {
            // Sockets, timers and new connections get their turn between two slices.
            tokio::task::yield_now().await;
        } else {
            inbox.told().await;
        }
    }
}

async fn tick(shard: Shard) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = Tally::default();
    loop {
        interval.tick().await;
        shard.0.cell.with(|state| state.tick(&mut tally));
        shard.metrics().worked(tokio::runtime::Handle::current().metrics().worker_total_busy_duration(0));
        tally.book(shard.metrics(), shard.clock().mono());
    }
}
