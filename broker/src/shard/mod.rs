//! Threads that own sockets. A shard is one thread with a single-threaded runtime; nobody else touches the sockets and
//! sessions it accepted, so delivering to them needs no lock, no reference count and no wake-up per subscriber.
//!
//! It takes committed entries from its inbox, lays them into one ring per channel, and walks round the listeners of each
//! channel that has news (`walk`); who cannot take more reads the log (`serve`). It knows no HTTP: fronts bring an
//! [`Encoder`] and the first bytes.

mod attend;
mod behind;
mod cache;
pub mod config;
mod converse;
mod echo;
mod encoder;
mod inbound;
mod inspect;
mod obey;
mod pipe;
mod ring;
mod serve;
mod session;
mod state;
mod tally;
mod thread;
mod unsent;
mod walk;
mod watch;
mod wheel;
mod write;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio_util::sync::CancellationToken;

pub(crate) use cache::encode;
pub use encoder::{Encoder, Form};
pub use inbound::{Answer, Hands, Inbound, Later, Teller};
pub use inspect::{CHANNELS_SHOWN, Listening, Present};
pub use pipe::Pipe;
pub use thread::{COMMANDS_MAX, Command, Handle, Load, OnConnection, OnDeath, Rooms, Seat, spawn};
pub use watch::{Watcher, Woken};

use crate::auth::Identity;
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::control::Register;
use crate::error::Result;
use crate::hub::Hub;
use crate::journal::{Journal, SessionId, What};
use crate::limits::{Caller, UserPlace, Visit};
use crate::log::Entry;
use crate::message::ChannelName;
use crate::metrics::{Metrics, ProtocolError, RefusedConnection, ShardMetrics};
use crate::session::{Joined, Presence, Starts, Subscription};
use inbound::Conversation;
use session::{Listener, Session, Touch};
use state::{Cell, State};
use tally::Tally;

/// Most bytes of one read from a client.
const INPUT_BYTES: usize = 16 << 10;

/// The bounds of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes in one write, and in one page of the log.
    pub page_bytes: usize,
    /// Bytes of messages in all rings together.
    pub ring_bytes: usize,
    /// Bytes of the unsent rests of all sessions together.
    pub unsent_bytes: usize,
    /// A stream that was silent for a time drawn between these two gets a heartbeat.
    pub heartbeat_min: Duration,
    /// The other end.
    pub heartbeat_max: Duration,
    /// Clients released by a drain are told to wait for a time drawn between these two.
    pub retry_min: Duration,
    /// The other end.
    pub retry_max: Duration,
}

/// What a front hands to a shard when it has taken a socket over.
pub struct Opening {
    /// Whose stay it is.
    pub session: SessionId,
    /// The first bytes: response head, greeting.
    pub head: Vec<u8>,
    /// How news looks.
    pub encoder: &'static dyn Encoder,
    /// The channels, opened and not yet joined.
    pub subscription: Subscription,
    /// From where.
    pub starts: Starts,
    /// How long the stay may last; none for as long as it likes.
    pub stay: Option<Duration>,
    /// Whether the client wants to be told how the cluster is.
    pub tells_cluster: bool,
    /// Who listens to the client, where it has something to say: then it begins with the first words behind the head.
    pub inbound: Option<Box<dyn Inbound>>,
    /// What the client said behind its request and was read with it.
    pub early: Bytes,
    /// Of whom a proxy asked for, if that is bounded.
    pub visit: Option<Visit>,
    /// Its place among the connections of its user, if these are bounded.
    pub user: Option<UserPlace>,
    /// Where it is seen, and what it is told of others.
    pub presence: Option<Box<Presence>>,
    /// By what orders of backends find it.
    pub identity: Option<Identity>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("encoder", &self.encoder).field("starts", &self.starts).finish_non_exhaustive()
    }
}

/// One shard, as seen from its own thread. A cheap handle: whoever connects takes several on the way.
#[derive(Clone)]
pub struct Shard(Rc<Parts>);

struct Parts {
    cell: Rc<Cell>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    journal: Journal,
    register: Register,
    number: usize,
    draining: CancellationToken,
}

impl Shard {
    fn new(number: usize, rooms: Rooms, bounds: Bounds) -> Self {
        let cell = Rc::new(Cell::new(State::new(number, rooms.clone(), bounds)));
        let Rooms { hub, metrics, journal, register, draining } = rooms;
        Self(Rc::new(Parts { cell, hub, metrics, journal, register, number, draining }))
    }

    /// The hub behind it.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    /// This shard's own counters.
    #[must_use]
    pub fn metrics(&self) -> &ShardMetrics {
        self.0.metrics.shard(self.0.number)
    }

    /// Where it is told what happens to clients.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Where orders of backends find who is here.
    #[must_use]
    pub fn register(&self) -> &Register {
        &self.0.register
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.hub.clock()
    }

    /// Whether the node is leaving: nobody new is taken in.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Begins a session on a socket; `seat` is given up when it ends. Must run on the shard's thread.
    ///
    /// # Errors
    /// What joining the channels refuses; the socket is untouched then.
    pub fn start(
        &self,
        stream: Pipe,
        address: Option<SocketAddr>,
        mut seat: Seat,
        mut opening: Opening,
    ) -> Result<(), (Pipe, crate::error::Error)> {
        let (session, front) = (opening.session, opening.encoder.front());
        seat.keep(opening.visit.take());
        seat.keep_user(opening.user.take());
        let key = match self.0.cell.with(|state| state.start(stream, address, opening)) {
            Ok(key) => key,
            Err((stream, error)) => {
                let refused = What::refused(&error, address);
                self.0.journal.tell(session, front, refused, self.clock().now().unix_ms);
                return Err((stream, error));
            }
        };
        self.metrics().session_opened(front);
        let began = self.clock().mono();
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            let mut tally = Tally::default();
            let reason = std::future::poll_fn(|context| {
                let outcome = shard.0.cell.with(|state| state.attend(key, context, &mut tally));
                tally.book(shard.metrics(), shard.clock().mono());
                outcome
            })
            .await;
            shard.0.cell.with(|state| state.remove(key));
            let now = shard.clock().now();
            shard.0.journal.tell(session, front, What::Closed { reason, lasted: now.mono.saturating_sub(began) }, now.unix_ms);
            // Whoever sees in the metrics that it is gone finds its place free.
            drop(seat);
            shard.metrics().session_closed(front, reason);
            shard.metrics().connection_closed();
        });
        Ok(())
    }

    /// Listens without a socket, for one answer: the watcher is woken when something was committed on one of the
    /// channels, and at once when the node begins to leave.
    ///
    /// # Errors
    /// `overloaded` at the bound of channels.
    pub fn watch_poll(&self, channels: &[ChannelName]) -> Result<Watcher> {
        Watcher::new(self.0.cell.clone(), channels, true)
    }

    /// As [`Shard::watch_poll`], for a stream: it is released in the waves of a drain.
    ///
    /// # Errors
    /// `overloaded` at the bound of channels.
    pub fn watch_stream(&self, channels: &[ChannelName]) -> Result<Watcher> {
        Watcher::new(self.0.cell.clone(), channels, false)
    }

    /// A message in the encoder's form, shared with everyone else on the shard who reads the log.
    #[must_use]
    pub fn encoded(&self, encoder: &dyn Encoder, entry: &Entry) -> Bytes {
        self.0.cell.with(|state| state.cache.message(encoder, entry))
    }

    /// How long a client should wait before it comes back: each draws its own.
    #[must_use]
    pub fn retry_hint(&self) -> Duration {
        self.0.cell.with(|state| state.retry_hint())
    }

    /// How long a stream may be silent before its heartbeat: each draws its own.
    #[must_use]
    pub fn heartbeat_after(&self) -> Duration {
        self.0.cell.with(|state| rand::random_range(state.bounds.heartbeat_min..=state.bounds.heartbeat_max))
    }

    /// Resolves when the node begins to leave.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        self.0.draining.clone().cancelled_owned()
    }

    /// A second passes.
    #[cfg(test)]
    pub(crate) fn pass_second(&self) {
        self.0.cell.with(|state| state.tick(&mut Tally::default()));
    }

    /// How many clients were asked for a sign of life and have given none.
    #[cfg(test)]
    pub(crate) fn asked_count(&self) -> usize {
        let is_asked = |listener: &Listener| matches!(listener, Listener::Session(session) if session.conversation.as_ref().is_some_and(|it| it.is_asked));
        self.0.cell.with(|state| state.listeners.iter().filter(|(_, listener)| is_asked(listener)).count())
    }

    /// One slice of deliveries.
    #[cfg(test)]
    pub(crate) fn turn(&self) {
        self.0.cell.with(|state| state.turn(&mut Tally::default()));
    }

    /// Panics in the middle of a step.
    #[cfg(test)]
    pub(crate) fn tear(&self, why: &'static str) {
        self.0.cell.with(|_| panic!("{why}"));
    }

    /// Counts what a peer did wrong that did not get so far as to be a session, and keeps it where it is found by its address.
    pub fn protocol_error(&self, kind: ProtocolError, why: &str, address: SocketAddr) {
        self.0.metrics.protocol_error(kind);
        self.journal().broke_protocol(kind, why, address, self.hub().clock().now().unix_ms);
    }

    /// Counts a connection from this address that was turned away, says so, and keeps it where it is found by its address.
    pub fn refused(&self, reason: RefusedConnection, limit: &'static str, address: SocketAddr) {
        self.0.metrics.turned_away(reason, limit, Some(Caller::Address(address.ip())));
        // Who leaves unread what it asked for was let in, and what it asked for has a story of its own.
        if reason != RefusedConnection::Unread {
            self.journal().turned_away(limit, address, self.hub().clock().now().unix_ms);
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("number", &self.0.number).finish_non_exhaustive()
    }
}

impl State {
    fn start(&mut self, stream: Pipe, address: Option<SocketAddr>, opening: Opening) -> Result<u32, (Pipe, crate::error::Error)> {
        let Opening {
            session: id,
            head,
            encoder,
            mut subscription,
            starts,
            stay,
            tells_cluster,
            inbound,
            early,
            visit: _,
            user: _,
            presence,
            identity,
        } = opening;
        let key = self.listeners.insert(Listener::Watch(session::Watch::default())) as u32;
        // Listen first, then join: what is committed in between comes by both ways and is told apart by its position.
        let names: SmallVec<[ChannelName; 1]> = subscription.channels().map(|channel| channel.name.clone()).collect();
        let joined = self.listen(key, &names).and_then(|()| {
            // The handles the shard listens with cannot die; those of the opening may have, since.
            subscription.renew(&self.hub)?;
            subscription.join(&self.hub, &starts)
        });
        let Joined { gaps, recovered } = match joined {
            Ok(joined) => joined,
            Err(error) => {
                self.remove(key);
                return Err((stream, error));
            }
        };
        let front = encoder.front();
        let shard = self.metrics.shard(self.number);
        if starts.has_cursor() {
            shard.resumed(front, recovered);
        }
        let opened = What::Opened { channels: names.iter().collect(), resumed: starts.has_cursor().then_some(recovered), address };
        self.tell(id, front, opened);
        let mut first = head;
        for (channel, gap) in &gaps {
            shard.gap(front, gap.reason);
            self.tell(id, front, What::Gap(channel.name.clone(), gap.reason));
            encoder.gap(channel.slot, &channel.name, gap, &mut first);
        }
        let cluster_told = tells_cluster.then(|| self.hub.is_degraded());
        if let Some(is_degraded) = cluster_told {
            encoder.cluster(is_degraded, &mut first);
        }
        // The shard listened before the join, so all that is committed since comes through the inbox: who joins live is
        // caught up, whatever was committed meanwhile. Reading the log instead would find that a channel without history
        // has lost it, and call the client too slow.
        let is_live = starts.is_live() || subscription.is_live(&self.hub);
        // A client that never got a message must be able to resume all the same.
        if let Some(cursor) = subscription.cursor().filter(|_| is_live) {
            encoder.heartbeat(Some(&cursor), &mut first);
        }
        let mut session = Session {
            id,
            stream,
            encoder,
            form: encoder.form(),
            subscription,
            stay: identity.map(|identity| Box::new(self.register.enter(id, identity))),
            presence,
            conversation: inbound.map(|inbound| Box::new(Conversation::new(inbound, &early))),
            places: SmallVec::new(),
            is_plain: false,
            echoes: None,
            unsent: self.unsent.clone(),
            rest: None,
            behind: !is_live,
            behind_since: None,
            touch: if is_live { Touch::Kept } else { Touch::Joining },
            replaying: !is_live,
            cursor_due: !is_live,
            is_ahead: false,
            cluster_told,
            ended: None,
            waker: None,
            wrote_at: self.tick,
            due: 0,
            ends_at: self.tick_after(stay),
        };
        let mut tally = Tally::default();
        let is_draining = self.draining.is_cancelled();
        let converses = session.conversation.is_some() && !is_draining;
        if !converses {
            session.write(&first, 0, None, self.tick, &mut tally);
        }
        let is_blocked = session.rest.is_some();
        if !is_live {
            // Who joins has nothing to fall from.
            let _ = self.late.enter(key, &mut session, self.tick, self.metrics.shard(self.number));
        }
        if let Some(place) = self.listeners.get_mut(key as usize) {
            session.places = std::mem::take(place.places());
            session.settle();
            *place = Listener::Session(session);
        }
        if is_draining {
            self.end_session(key, CloseReason::Draining, &mut tally);
        } else if converses {
            self.begin_conversation(key, &first, &mut tally);
        } else if !is_blocked && !is_live {
            self.serve(key, &mut tally);
            self.hub.inbox(self.number).rouse();
        }
        tally.book(self.metrics.shard(self.number), self.hub.clock().mono());
        self.schedule_heartbeat(key);
        Ok(key)
    }

    /// The tick at which a stay of this length ends: never before its time, and never without one.
    fn tick_after(&self, stay: Option<Duration>) -> u32 {
        let ticks = stay.map_or(u32::MAX, |stay| u32::try_from(stay.as_secs().saturating_add(1)).unwrap_or(u32::MAX));
        self.tick.saturating_add(ticks)
    }

    /// Gives a stay another length, from now on.
    fn stay_for(&mut self, key: u32, stay: Option<Duration>) {
        let ends_at = self.tick_after(stay);
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { return };
        session.ends_at = ends_at;
        self.schedule_heartbeat(key);
    }

    /// Draws when the session is looked at again: for its heartbeat, or because its time is over.
    fn schedule_heartbeat(&mut self, key: u32) {
        let (min, max) = (self.bounds.heartbeat_min.as_secs().max(1), self.bounds.heartbeat_max.as_secs().max(1));
        let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { return };
        let ticks = rand::random_range(min..=max.max(min)) as u32;
        let due = (session.wrote_at + ticks).min(session.ends_at).max(self.tick + 1);
        session.due = due;
        self.wheel.schedule(key, (due - self.tick) as usize);
    }

    /// One second on: heartbeats for streams that were silent long enough.
    fn tick(&mut self, tally: &mut Tally) {
        self.tick += 1;
        self.relieve();
        self.show();
        self.tell_cluster(tally);
        let min = self.bounds.heartbeat_min.as_secs().max(1) as u32;
        for key in self.wheel.tick() {
            let Some(Listener::Session(session)) = self.listeners.get_mut(key as usize) else { continue };
            // A key that was freed and given again comes up at a time that is not its own.
            if session.due != self.tick {
                continue;
            }
            if session.ended.is_some() {
                if session.give_up_work() {
                    self.finish_in_time(key);
                    continue;
                }
                // The farewell does not go out: a stopped client would keep its socket here for ever.
                session.conversation = None;
                session.cut();
                continue;
            }
            if session.ends_at <= self.tick {
                // So that it is looked at once more, if the client does not take its farewell.
                session.ends_at = u32::MAX;
                self.end_session(key, CloseReason::TokenExpired, tally);
                self.schedule_heartbeat(key);
                continue;
            }
            if session.conversation.is_some() {
                self.beat(key, tally);
                self.schedule_heartbeat(key);
                continue;
            }
            let is_silent = self.tick - session.wrote_at >= min;
            // A busy stream over several slots may still have a quiet one whose position grows old.
            if session.rest.is_none() && !session.behind && (is_silent || !session.subscription.is_plain()) {
                let moved = session.subscription.refresh(&self.hub) || session.is_ahead;
                session.is_ahead = false;
                let cursor = if moved { session.subscription.cursor() } else { None };
                let mut out = Vec::with_capacity(64);
                session.encoder.heartbeat(cursor.as_ref(), &mut out);
                session.write(&out, 0, None, self.tick, tally);
            }
            self.schedule_heartbeat(key);
        }
    }

    /// Tells sessions that asked for it how the cluster is, when that changed. Who cannot be told now is told with a later tick.
    fn tell_cluster(&mut self, tally: &mut Tally) {
        let is_degraded = self.hub.is_degraded();
        self.owes_cluster |= std::mem::replace(&mut self.is_degraded, is_degraded) != is_degraded;
        if !std::mem::take(&mut self.owes_cluster) {
            return;
        }
        let tick = self.tick;
        for (_, listener) in &mut self.listeners {
            let Listener::Session(session) = listener else { continue };
            if session.ended.is_some() || session.cluster_told.is_none_or(|told| told == is_degraded) {
                continue;
            }
            if session.rest.is_some() {
                self.owes_cluster = true;
                continue;
            }
            session.cluster_told = Some(is_degraded);
            let mut out = Vec::with_capacity(64);
            session.encoder.cluster(is_degraded, &mut out);
            session.write(&out, 0, None, tick, tally);
        }
    }

    /// What only this thread knows, for whoever asks: once a second, so that no delivery pays for it.
    fn show(&self) {
        let shard = self.metrics.shard(self.number);
        shard.holds(self.ring_bytes as u64, self.cache.bytes() as u64, self.unsent.bytes() as u64);
        shard.behind_longest(u64::from(self.late.longest(self.tick)));
        shard.lacked_most(self.lacked_most());
    }

    /// Ends every `waves`-th stay, beginning with the `wave`-th; all held polls with the first wave.
    fn end_wave(&mut self, wave: usize, waves: usize, reason: CloseReason, tally: &mut Tally) {
        let keys: Vec<u32> = self.listeners.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            match self.listeners.get_mut(key as usize) {
                Some(Listener::Watch(watch)) if watch.is_poll || key as usize % waves.max(1) == wave => {
                    watch.ended.get_or_insert(reason);
                    state::raise(watch);
                }
                Some(Listener::Session(_)) if key as usize % waves.max(1) == wave => self.end_session(key, reason, tally),
                _ => {}
            }
        }
    }
}
