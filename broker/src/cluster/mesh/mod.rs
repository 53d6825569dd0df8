//! Connections to every other node, kept for as long as the node is known: for each purpose one, dialled again for ever, full
//! queues refused and not grown. What is said over them is not known here.
//!
//! Control connections live on the thread that starts the mesh, which should do little else; the others on the runtime
//! that is given for them, where those that come are greeted, too. So a node that has much to do, or that strangers knock at, still
//! answers in time whether it is there.

mod accept;
mod dial;
mod outbox;
mod pump;
mod renew;
mod roster;
mod socket;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{Greeter, Link, Peer, Purpose, Refusal};
use super::membership::{Members, NodeName, Record};
use crate::log::Tag;
use crate::metrics::Metrics;
pub use accept::GREETINGS_MAX;
pub use outbox::{Letter, OutboxBounds, Posted};
use outbox::{Outbox, Whom};
pub use roster::Id;
use roster::{Replaced, Roster, Standing};
use socket::Socket;
use tally::Strain;
pub use tally::{Links, Tally, Traffic};

/// Nodes whose connections are counted; where names change with every start, those that are gone are forgotten.
const MADE_MAX: usize = 256;

/// Who is told what happens on the connections. A connection has a number of its own, greater than those before it.
pub trait Ear: Send + Sync + 'static {
    /// A connection stands. Called before anything is heard over it, and after [`Ear::down`] for the one it takes the place of.
    fn up(&self, peer: &Peer, id: Id);
    /// A connection is gone.
    fn down(&self, name: &NodeName, tag: Tag, purpose: Purpose, id: Id);
    /// Nobody listens at the node's address though its host answers: its process is gone.
    fn gone(&self, name: &NodeName, tag: Tag);
    /// The other side refused this node, or this node the other.
    fn refused(&self, refusal: &Refusal, by_us: bool);
    /// Somebody who connected to this node did not greet in time, or made room for others who came.
    fn late(&self);
    /// A frame came. Frames of one connection come one after the other.
    ///
    /// # Errors
    /// What is wrong with the frame; the connection ends.
    fn heard(&self, peer: &Peer, id: Id, frame: Bytes) -> Result<(), String>;
    /// There is room again on a connection where posters were told to hold back.
    fn has_room(&self, peer: &Peer, id: Id);
    /// There is room for a state on a connection where [`Mesh::takes_state`] found none.
    fn has_room_for_states(&self, peer: &Peer, id: Id);
    /// Whether something was heard lately from this process.
    fn is_heard(&self, tag: Tag) -> bool;
}

/// What the mesh needs to know.
pub struct Setup<L> {
    /// This node's name.
    pub me: NodeName,
    /// Greets for it.
    pub greeter: Greeter,
    /// Where connections come in, watched by the runtime `data`.
    pub listener: TcpListener,
    /// The other nodes.
    pub members: watch::Receiver<Members>,
    /// Another process of this node's name, which had it first.
    pub namesake: watch::Receiver<Option<Record>>,
    /// How much may wait on one connection.
    pub bounds: OutboxBounds,
    /// Runs the connections that carry messages, and greets those that come.
    pub data: Handle,
    /// Is told.
    pub ear: Arc<dyn Ear>,
    /// Counts connections that could not be accepted.
    pub metrics: Arc<Metrics>,
    /// What counts.
    pub mesh: Mesh<L>,
}

/// One connection as the roster holds it.
struct Connection<L> {
    outbox: Arc<Outbox<L>>,
    stop: CancellationToken,
}

type Outboxes<L> = [Option<(Id, Arc<Outbox<L>>)>; Purpose::ALL.len()];

struct Shared<L> {
    /// By process, for those who post. Follows the roster.
    routes: RwLock<HashMap<Tag, Outboxes<L>>>,
    tally: Arc<Tally>,
    /// Connections that were made to each node, however often it came back, and what they cost.
    made: Mutex<BTreeMap<NodeName, (u64, Arc<Strain>)>>,
    /// Connections that came in and have not greeted yet.
    greetings: Arc<AtomicU64>,
}

/// The connections, for those who have something to say. A cheap handle; usable before the mesh is started, when nobody is
/// connected yet.
pub struct Mesh<L>(Arc<Shared<L>>);

impl<L> Clone for Mesh<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L> std::fmt::Debug for Mesh<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("processes", &self.0.routes.read().len()).finish_non_exhaustive()
    }
}

/// How full one connection's queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Bytes that wait, but for those of states.
    pub bytes: usize,
    /// Bytes of states that the other end asked for.
    pub states: usize,
    /// Whether posters were told to hold back.
    pub is_full: bool,
}

impl Queued {
    /// All bytes that wait.
    #[must_use]
    pub fn all(&self) -> usize {
        self.bytes + self.states
    }
}

impl<L: Letter> Default for Mesh<L> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            routes: RwLock::new(HashMap::new()),
            tally: Arc::default(),
            made: Mutex::default(),
            greetings: Arc::default(),
        }))
    }
}

impl<L: Letter> Mesh<L> {
    /// Says something to a process, over whatever connection there is or, with a number, over that one only. Never waits; what
    /// is said over one connection arrives in order, and after what did not arrive nothing does.
    pub fn post(&self, to: Tag, purpose: Purpose, over: Option<Id>, letter: L) -> Posted {
        let routes = self.0.routes.read();
        match routes.get(&to).and_then(|outboxes| outboxes[purpose.index()].as_ref()) {
            Some((id, outbox)) if over.is_none_or(|over| over == *id) => outbox.post(letter),
            _ => Posted::Closed,
        }
    }

    /// Every process that is connected for this purpose, and the connection's number.
    #[must_use]
    pub fn connected(&self, purpose: Purpose) -> Vec<(Tag, Id)> {
        let routes = self.0.routes.read();
        routes.iter().filter_map(|(tag, outboxes)| Some((*tag, outboxes[purpose.index()].as_ref()?.0))).collect()
    }

    /// How full the queues to a process are, by purpose; `None` where there is no connection.
    #[must_use]
    pub fn queued(&self, to: Tag) -> [Option<Queued>; Purpose::ALL.len()] {
        let routes = self.0.routes.read();
        let queued = |(_, outbox): &(Id, Arc<Outbox<L>>)| {
            let booked = outbox.booked();
            Queued { bytes: booked.letters, states: booked.states, is_full: outbox.is_full() }
        };
        routes.get(&to).map_or([None; Purpose::ALL.len()], |outboxes| outboxes.each_ref().map(|outbox| outbox.as_ref().map(queued)))
    }

    /// Whether posters to a process are told to hold back.
    #[must_use]
    pub fn is_full(&self, to: Tag, purpose: Purpose) -> bool {
        let routes = self.0.routes.read();
        routes.get(&to).and_then(|outboxes| outboxes[purpose.index()].as_ref()).is_some_and(|(_, outbox)| outbox.is_full())
    }

    /// Whether a state may be said to a process over this connection now. When not, [`Ear::has_room_for_states`] says when, if it still
    /// stands by then.
    #[must_use]
    pub fn takes_state(&self, to: Tag, purpose: Purpose, over: Id) -> bool {
        let routes = self.0.routes.read();
        let outbox = routes.get(&to).and_then(|outboxes| outboxes[purpose.index()].as_ref()).filter(|(id, _)| *id == over);
        outbox.is_some_and(|(_, outbox)| outbox.takes_state())
    }

    /// What became of the connections to this node, since the start.
    #[must_use]
    pub fn links(&self, name: &NodeName) -> Links {
        let made = self.0.made.lock();
        let Some((made, strain)) = made.get(name) else { return Links::default() };
        let (filled, given_up) = strain.read();
        Links { made: *made, filled, given_up }
    }

    /// How many connections to this node have not greeted yet; [`GREETINGS_MAX`] at most, but for a moment.
    #[must_use]
    pub fn greetings(&self) -> u64 {
        self.0.greetings.load(Ordering::Relaxed)
    }

    /// What went over the connections.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }
}

/// The mesh as its own tasks see it.
struct Keeper<L> {
    me: NodeName,
    greeter: Greeter,
    roster: Mutex<Roster<Connection<L>>>,
    bounds: OutboxBounds,
    control: Handle,
    data: Handle,
    ear: Arc<dyn Ear>,
    metrics: Arc<Metrics>,
    mesh: Mesh<L>,
    /// Marked whenever a connection came or went.
    changed: watch::Sender<()>,
    refusals: accept::Refusals,
    stop: CancellationToken,
}

/// Keeps connections until `stop`. Runs on the thread that shall own the control connections.
pub async fn run<L: Letter>(setup: Setup<L>, stop: CancellationToken) {
    let Setup { me, greeter, listener, members, namesake, bounds, data, ear, metrics, mesh } = setup;
    let keeper = Arc::new(Keeper {
        roster: Mutex::new(Roster::new(me.clone())),
        me,
        greeter,
        bounds,
        control: Handle::current(),
        data,
        ear,
        metrics,
        mesh,
        changed: watch::Sender::new(()),
        refusals: accept::Refusals::default(),
        stop: stop.clone(),
    });
    tokio::join!(accept::run(keeper.clone(), listener), dial::run(keeper.clone(), members), dial::ask_namesake(keeper.clone(), namesake));
    keeper.close_all();
}

impl<L: Letter> Keeper<L> {
    fn judge(&self, peer: &Peer, dialled: bool) -> Result<(), Refusal> {
        self.roster.lock().judge(peer, dialled, |tag| self.ear.is_heard(tag))
    }

    /// Whether a node that is known by gossip only would be let in. Asked before it is dialled: a connection that this end closes behind the
    /// greeting looks to the other end as one that broke.
    fn judge_known(&self, record: &Record) -> Result<(), Refusal> {
        self.roster.lock().judge_release(&record.name, record.release(), |tag| self.ear.is_heard(tag))
    }

    /// Lets a connection in that greeted well, and serves it from now on.
    ///
    /// # Errors
    /// When another one, which came meanwhile, is preferred.
    fn enter(self: &Arc<Self>, link: Link<Socket>, dialled: bool) -> Result<(), Refusal> {
        let peer = link.peer.clone();
        let stop = self.stop.child_token();
        let (id, outbox) = {
            // Under one lock: what the ear and the posters see follows the roster, in its order.
            let mut roster = self.roster.lock();
            roster.judge(&peer, dialled, |tag| self.ear.is_heard(tag))?;
            let strain = self.count_made(&peer.name, |name| Purpose::ALL.iter().any(|purpose| roster.holds(name, *purpose)));
            let whom = Whom { name: peer.name.clone(), purpose: peer.purpose, strain };
            let outbox = Arc::new(Outbox::new(self.bounds, whom));
            let (id, replaced) = roster.enter(&peer, dialled, Connection { outbox: outbox.clone(), stop: stop.clone() });
            for Replaced { id, tag, purpose, connection } in replaced {
                self.let_go(&peer.name, tag, purpose, id, &connection);
            }
            self.mesh.0.routes.write().entry(peer.tag).or_default()[peer.purpose.index()] = Some((id, outbox.clone()));
            self.ear.up(&peer, id);
            (id, outbox)
        };
        let _ = self.changed.send(());
        tracing::debug!(event = "node_link_up", node = %peer.name, purpose = peer.purpose.as_str(), dialled, "connected");
        let runtime = if peer.purpose == Purpose::Control { &self.control } else { &self.data };
        let (keeper, ear, tally) = (self.clone(), self.ear.clone(), self.mesh.0.tally.clone());
        runtime.spawn(async move {
            let why = pump::run(link, id, outbox, ear, tally, stop).await;
            keeper.leave(&peer, id, &why);
        });
        Ok(())
    }

    /// One more connection to this node. Where there are too many names, those are forgotten that nobody has a connection to.
    fn count_made(&self, name: &NodeName, is_held: impl Fn(&NodeName) -> bool) -> Arc<Strain> {
        let mut counted = self.mesh.0.made.lock();
        if counted.len() >= MADE_MAX {
            counted.retain(|known, _| known == name || is_held(known));
        }
        let (made, strain) = counted.entry(name.clone()).or_default();
        *made += 1;
        strain.clone()
    }

    fn leave(&self, peer: &Peer, id: Id, why: &str) {
        {
            let mut roster = self.roster.lock();
            let Some(connection) = roster.leave(peer, id) else { return };
            self.let_go(&peer.name, peer.tag, peer.purpose, id, &connection);
        }
        tracing::info!(event = "node_link_down", node = %peer.name, purpose = peer.purpose.as_str(), why, "a connection to a node ended");
        let _ = self.changed.send(());
    }

    /// Under the roster's lock.
    fn let_go(&self, name: &NodeName, tag: Tag, purpose: Purpose, id: Id, connection: &Connection<L>) {
        connection.stop.cancel();
        connection.outbox.close();
        let mut routes = self.mesh.0.routes.write();
        if let Some(outboxes) = routes.get_mut(&tag) {
            outboxes[purpose.index()].take_if(|(known, _)| *known == id);
            if outboxes.iter().all(Option::is_none) {
                routes.remove(&tag);
            }
        }
        drop(routes);
        self.ear.down(name, tag, purpose, id);
    }

    /// The node stops. What waits is still said, as far as it goes at once.
    fn close_all(&self) {
        self.mesh.0.routes.write().clear();
        let _ = self.changed.send(());
    }

    fn standing(&self, name: &NodeName, purpose: Purpose) -> Option<Standing> {
        self.roster.lock().standing(name, purpose)
    }

    fn holds(&self, name: &NodeName, purpose: Purpose) -> bool {
        self.roster.lock().holds(name, purpose)
    }

    /// How many connections there are to this node.
    fn count(&self, name: &NodeName) -> usize {
        let roster = self.roster.lock();
        Purpose::ALL.into_iter().filter(|purpose| roster.holds(name, *purpose)).count()
    }
}
