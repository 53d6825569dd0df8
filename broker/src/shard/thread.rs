//! A shard's thread: its runtime, what it is told from outside, and how many connections it carries.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::state::TICK;
use super::tally::Tally;
use super::{Bounds, Shard};
use crate::close::CloseReason;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Commands that may wait for a shard. New connections beyond it are refused by the acceptor.
const COMMANDS_MAX: usize = 4096;

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
    /// A freshly accepted socket, non-blocking, not yet in any runtime.
    Connection(std::net::TcpStream, Seat),
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

/// How many connections a shard carries.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicUsize,
}

impl Load {
    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes a place; given back when the seat is dropped.
    #[must_use]
    pub fn seat(self: &Arc<Self>) -> Seat {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Seat { load: self.clone() }
    }
}

/// One connection's place on its shard, for as long as it lives.
#[derive(Debug)]
pub struct Seat {
    load: Arc<Load>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a shard does with a new socket. Given by whoever knows HTTP.
pub type OnConnection = Arc<dyn Fn(Shard, tokio::net::TcpStream, Seat) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// A shard as seen from other threads.
#[derive(Debug)]
pub struct Handle {
    /// Its number.
    pub number: usize,
    /// What it carries.
    pub load: Arc<Load>,
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

    /// Stops the thread and waits for it.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Starts a shard's thread.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn spawn(
    number: usize,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    draining: CancellationToken,
    on_connection: OnConnection,
) -> std::io::Result<Handle> {
    let (commands, inbound) = mpsc::channel(COMMANDS_MAX);
    let load = Arc::new(Load::default());
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
        let _ = made.send(Ok(()));
        let shard = Shard::new(number, hub, metrics, bounds, draining);
        runtime.spawn_local(deliver(shard.clone()));
        runtime.spawn_local(tick(shard.clone()));
        // Dropping the runtime afterwards drops every connection and session with it.
        runtime.block_on(obey(shard, inbound, on_connection));
    })?;
    is_made.recv().map_err(|_| std::io::Error::other("the shard's thread ended before it began"))??;
    Ok(Handle { number, load, commands, thread: Mutex::new(Some(thread)) })
}

/// Does what it is told until it is told to stop.
async fn obey(shard: Shard, mut inbound: mpsc::Receiver<Command>, on_connection: OnConnection) {
    while let Some(command) = inbound.recv().await {
        match command {
            Command::Connection(stream, seat) => match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => {
                    tokio::task::spawn_local(on_connection(shard.clone(), stream, seat));
                }
                Err(error) => tracing::warn!(%error, "a connection could not be registered and was closed"),
            },
            Command::EndWave { wave, waves, reason, done } => {
                let mut tally = Tally::default();
                shard.cell.with(|state| state.end_wave(wave, waves, reason, &mut tally));
                let _ = done.send(());
            }
            Command::Errand(Errand(act)) => act(&shard),
            Command::Stop => return,
        }
    }
}

/// Walks as long as there is something to deliver, then sleeps until the inbox says so.
async fn deliver(shard: Shard) {
    let inbox = shard.hub.inbox(shard.number).clone();
    let mut tally = Tally::default();
    loop {
        let more = shard.cell.with(|state| state.turn(&mut tally));
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
        shard.cell.with(|state| state.tick(&mut tally));
        shard.metrics().worked(tokio::runtime::Handle::current().metrics().worker_total_busy_duration(0));
        tally.book(shard.metrics(), shard.clock().mono());
    }
}
